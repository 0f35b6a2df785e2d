"""Installs snippets on the host and removes exactly those: never a file, link or line that it did not write.

Our file is recognized by a line naming its owner, our lines by the two
around them. A link holds no such line: links, and all else that was
installed, are listed in the project's state (PROJECT/.chrootbuild/installed/),
so that they can be removed once the target no longer asks for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from chrootbuild.errors import Failure
from chrootbuild.hostside.host_file import Found, Place, opened
from chrootbuild.hostside.snippet import Form, Owner, Snippet, block, bounds, marker, whole
from chrootbuild.state.claim import claim
from chrootbuild.state.project import Project
from chrootbuild.system.files import read_file, write_atomically
from chrootbuild.system.rights.trust import refuse_untrusted


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a path of the host: install, replace, remove, or stays (with the reason)."""

    action: str
    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An installed snippet: enough to find it again, and to recognize it as ours."""

    path: str
    form: str
    comment: str = "#"
    texts: tuple[str, ...] = ()  # a link's: two while it is being replaced
    created: bool = False  # we created the shared file


_Memory = dict[tuple[str, str], _Entry]  # by path and form


def install(
    project: Project, snippets: Sequence[Snippet], owner: Owner, prefix: str = ""
) -> tuple[Change, ...]:
    """Put the snippets on the host, and remove this owner's earlier ones that are not among them.

    ``prefix`` is the host's tree, "" for / itself. All are examined before the
    first is written. Nothing to do: no change. Raises Failure where something
    that is not ours is in the way, or somebody else could write there.
    """
    memory = _memory(project, owner)
    before = _remembered(memory)
    after: _Memory = {}
    changes: list[Change] = []
    for snippet in snippets:
        key = (snippet.path, snippet.form)
        change, entry = _examine(snippet, owner, before.get(key, _new(snippet)), prefix)
        if entry is not None:
            after[key] = entry
        if change is not None:
            changes.append(change)
    if after != before:
        # First, so that our files are recognized even after a kill.
        _remember(memory, {**before, **{key: _both(after[key], before.get(key)) for key in after}})
    todo = {change.path: change.action for change in changes}
    for snippet in snippets:
        if todo.get(snippet.path) in ("install", "replace"):
            _put(snippet, owner, prefix, over=todo[snippet.path] == "replace")
    orphans = [entry for key, entry in before.items() if key not in after]
    changes += [_take_away(entry, owner, prefix) for entry in orphans]
    if after != before:
        _remember(memory, after)
    return tuple(change for change in changes if change.action != "absent")


def uninstall(
    project: Project, snippets: Sequence[Snippet], owner: Owner, prefix: str = ""
) -> tuple[Change, ...]:
    """Remove this owner's installed snippets; none there: no change.

    ``snippets`` help where the project's list is lost. A path that is no
    longer ours stays. Raises Failure.
    """
    memory = _memory(project, owner)
    entries = {(item.path, str(item.form)): _new(item) for item in snippets if item.form is not Form.LINK}
    entries |= _remembered(memory)
    changes = [_take_away(entry, owner, prefix) for entry in reversed(entries.values())]
    if os.path.lexists(memory):
        os.unlink(memory)
    return tuple(change for change in changes if change.action != "absent")


# -- the list of installed snippets -----------------------------------------------------------


def _memory(project: Project, owner: Owner) -> str:
    path = f"{project.state}/installed/{owner.command.replace(' ', '.')}.json"
    refuse_untrusted([path], what="the memory of what was installed,", remedy=f"remove it: rm {path}")
    if os.path.isdir(os.path.dirname(path)):
        claim(os.path.dirname(path))
    return path


def _remembered(memory: str) -> _Memory:
    try:
        entries = list(map(_entry, json.loads(read_file(memory).decode("utf-8", "surrogateescape"))))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise Failure(
            f"cannot read {memory}: {error}",
            hint="remove it; links installed before are then yours to remove",
        ) from None
    return {(entry.path, entry.form): entry for entry in entries}


def _entry(item: dict[str, Any]) -> _Entry:
    entry = _Entry(**{**item, "texts": tuple(item["texts"])})
    if not all(isinstance(text, str) for text in (entry.path, entry.form, entry.comment, *entry.texts)):
        raise ValueError("an entry is not of our making")
    return entry


def _remember(memory: str, entries: _Memory) -> None:
    text = json.dumps([asdict(entry) for entry in entries.values()], indent=1, ensure_ascii=False)
    write_atomically(memory, f"{text}\n".encode("utf-8", "surrogateescape"), 0o644)


def _new(snippet: Snippet) -> _Entry:
    return _Entry(snippet.path, str(snippet.form), snippet.comment)


def _both(entry: _Entry, old: _Entry | None) -> _Entry:
    texts = (*entry.texts, *(old.texts if old is not None else ()))
    return replace(entry, texts=tuple(dict.fromkeys(texts)))


# -- one path ---------------------------------------------------------------------------------


def _examine(
    snippet: Snippet, owner: Owner, known: _Entry, prefix: str
) -> tuple[Change | None, _Entry | None]:
    """Return a snippet's change, None if there is none, and its entry for the list."""
    with opened(snippet.path, prefix, follow=snippet.form is Form.LINES) as place:
        if place is None:
            raise Failure(
                f"cannot write {snippet.path}: there is no directory {os.path.dirname(snippet.path)}",
                hint="install the program that reads it, or make the directory",
            )
        found = place.look()
    if snippet.form is Form.LINK:
        return _examine_link(snippet, found, known)
    if snippet.form is Form.LINES and found is None:
        known = replace(known, created=True)
    return _examine_file(snippet, found, owner), known


def _examine_link(
    snippet: Snippet, found: Found | None, known: _Entry
) -> tuple[Change | None, _Entry | None]:
    entry = replace(known, texts=(snippet.content,))
    if found is None:
        return Change("install", snippet.path), entry
    ours = found.is_link and found.text in known.texts
    if found.is_link and found.text == snippet.content:
        return (None, entry) if ours else (Change("stays", snippet.path, "the link was there before"), None)
    if not ours:
        raise _in_the_way(snippet.path, found)
    return Change("replace", snippet.path), entry


def _examine_file(snippet: Snippet, found: Found | None, owner: Owner) -> Change | None:
    if found is None:
        return Change("install", snippet.path)
    if not found.is_file:
        raise _in_the_way(snippet.path, found)
    if snippet.form is Form.LINES:
        where = _find(snippet.path, found.text, snippet.comment, owner)
        if where is None:
            return Change("install", snippet.path, "our lines")
        same = found.text[where[0] : where[1]] == block(snippet, owner)
        return None if same else Change("replace", snippet.path, "our lines")
    if not _is_ours(found.text, snippet.comment, owner):
        raise _in_the_way(snippet.path, found)
    same = found.text == whole(snippet, owner) and found.info.st_mode & 0o7777 == snippet.mode
    return None if same else Change("replace", snippet.path)


def _put(snippet: Snippet, owner: Owner, prefix: str, *, over: bool) -> None:
    with opened(snippet.path, prefix, follow=snippet.form is Form.LINES) as place:
        assert place is not None
        if snippet.form is Form.LINK:
            place.link(snippet.content, over)
        elif snippet.form is Form.FILE:
            place.write(whole(snippet, owner), snippet.mode)
        else:
            found = place.look()
            text = found.text if found is not None else ""
            start, stop = _find(snippet.path, text, snippet.comment, owner) or (len(text), len(text))
            before = text[:start]
            if before and not before.endswith("\n"):
                before += "\n"
            place.write(before + block(snippet, owner) + text[stop:], snippet.mode, found)


def _take_away(entry: _Entry, owner: Owner, prefix: str) -> Change:
    with opened(entry.path, prefix, follow=entry.form == Form.LINES) as place:
        found = None if place is None else place.look()
        if place is None or found is None:
            return Change("absent", entry.path)
        if entry.form == Form.LINES:
            return _take_lines_away(entry, owner, place, found)
        if entry.form == Form.LINK:
            ours = found.is_link and found.text in entry.texts
        else:
            ours = found.is_file and _is_ours(found.text, entry.comment, owner)
        if not ours:
            return Change("stays", entry.path, "it is not what was installed")
        place.remove()
    return Change("remove", entry.path)


def _take_lines_away(entry: _Entry, owner: Owner, place: Place, found: Found) -> Change:
    where = _find(entry.path, found.text, entry.comment, owner) if found.is_file else None
    if where is None:
        return Change("absent", entry.path)
    rest = found.text[: where[0]] + found.text[where[1] :]
    if entry.created and not rest.strip():
        place.remove()
    else:
        place.write(rest, 0o644, found)
    return Change("remove", entry.path, "our lines")


def _is_ours(text: str, comment: str, owner: Owner) -> bool:
    return marker(comment, owner) in text.split("\n", 2)[:2]


def _find(path: str, text: str, comment: str, owner: Owner) -> tuple[int, int] | None:
    """Return the offsets of our lines in a shared file; raises Failure where they are damaged."""
    begin, end = bounds(comment, owner)
    starts, stops, at = [], [], 0
    for line in text.split("\n"):
        if line == begin:
            starts.append(at)
        at += len(line) + 1
        if line == end:
            stops.append(at)
    if not starts and not stops:
        return None
    if len(starts) != 1 or len(stops) != 1 or stops[0] <= starts[0]:
        raise Failure(
            f"cannot find our lines in {path}: they begin {len(starts)} times and end {len(stops)} times",
            details=(begin, end),
            hint="leave one of each, or remove these lines by hand",
        )
    return starts[0], stops[0]


def _in_the_way(path: str, found: Found) -> Failure:
    what = f"a link to {found.text}" if found.is_link else "a file" if found.is_file else "something else"
    line = next((line for line in found.text.split("\n", 2)[:2] if " Written by chrootbuild " in line), "")
    if line and found.is_file:
        return Failure(
            f"cannot install {path}: it was written for something else",
            details=(line,),
            hint="uninstall that first, or give one of the two another name",
        )
    return Failure(
        f"cannot install {path}: {what} is there that was not written by chrootbuild", hint="move it away"
    )
