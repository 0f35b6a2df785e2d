"""Shared by the commands host and schedule: print, install or remove snippets, and name the next step."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence

from chrootbuild.console import table
from chrootbuild.hostside.installer import Change
from chrootbuild.hostside.snippet import Owner, Snippet, shown
from chrootbuild.text import printable


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Add --install and --uninstall, of which one may be given."""
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--install", action="store_true", help="write it to this host")
    actions.add_argument(
        "--uninstall", action="store_true", help="remove from this host what --install wrote"
    )


def printed(snippets: Sequence[Snippet], owner: Owner) -> str:
    """Return the snippets as text to read or to copy, the next steps as comments."""
    texts = [shown(snippet, owner) for snippet in snippets]
    steps = "".join(f"# then: {step}\n" for snippet in snippets for step in snippet.note.splitlines())
    separator = "\n" if any(text.count("\n") > 1 for text in texts) else ""
    texts += [steps] if steps else []
    text = separator.join(texts).removesuffix("\n")
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def done(changes: Iterable[Change], snippets: Sequence[Snippet], *, removed: bool) -> Iterator[str]:
    """Yield a line for each change, then the user's next steps; nothing where nothing changed."""
    changed = False
    for change in changes:
        yield from table([(change.action, change.path, change.reason)], indent="")
        changed = changed or change.action != "stays"
    if changed:
        for snippet in snippets:
            for step in (snippet.undo if removed else snippet.note).splitlines():
                yield f"then: {printable(step)}"
