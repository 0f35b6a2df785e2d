"""Installs snippets on the host and removes exactly those: never a file, link or line that it did not write.

A file is known as ours by the line that says who wrote it, lines by the two
around them. A link can say nothing: what we made is noted in the project's
state (PROJECT/.chrootbuild/installed/), and so is all that was installed, for
the day when the target no longer asks for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from chrootbuild.errors import Failure
from chrootbuild.hostfile import Found, Place, opened
from chrootbuild.project import Project
from chrootbuild.record import write_atomically
from chrootbuild.snippet import Form, Owner, Snippet, block, bounds, marker, whole
from chrootbuild.trust import refuse_untrusted

__all__ = ["Change", "install", "uninstall"]


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to a path of the host: install, replace, remove, or stays (with the reason)."""

    action: str
    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was installed once: enough to find it again, and to know it as ours."""

    path: str
    form: str
    comment: str = "#"
    text: str = ""  # a link's
    created: bool = False  # the shared file was not there before


def install(
    project: Project, snippets: Sequence[Snippet], owner: Owner, prefix: str = ""
) -> tuple[Change, ...]:
    """Put the snippets on the host, and remove what this owner installed once and no longer asks for.

    ``prefix`` is the host's tree, "" for / itself. All are looked at before the
    first is written. Nothing to do: no change. Raises Failure where something
    that is not ours is in the way, or somebody else could write there.
    """
    memory = _memory(project, owner)
    before = _remembered(memory)
    wanted = [_entry(snippet, before, prefix) for snippet in snippets]
    jobs = [
        _examine(snippet, owner, before.get((snippet.path, snippet.form)), prefix) for snippet in snippets
    ]
    kept = [entry for entry, change in zip(wanted, jobs, strict=True) if change is None or change.action != "stays"]
    orphans = [
        entry for key, entry in before.items() if key not in {(item.path, item.form) for item in wanted}
    ]
    if {*kept, *orphans} - set(before.values()):
        _remember(memory, [*kept, *orphans])  # first: what is made is known as ours even if we are killed
    changes = [change for change in jobs if change is not None]
    for snippet, change in zip(snippets, jobs, strict=True):
        if change is not None and change.action != "stays":
            _put(snippet, owner, prefix, replace=change.action == "replace")
    changes += [_take_away(entry, owner, prefix) for entry in orphans]
    if [*before.values()] != kept:
        _remember(memory, kept)
    return tuple(changes)


def uninstall(
    project: Project, snippets: Sequence[Snippet], owner: Owner, prefix: str = ""
) -> tuple[Change, ...]:
    """Remove what this owner installed; nothing there: no change.

    ``snippets`` help where the project's memory is lost. A path that is no
    longer ours stays. Raises Failure.
    """
    memory = _memory(project, owner)
    entries = _remembered(memory)
    for snippet in snippets:
        if snippet.form is not Form.LINK:
            entries.setdefault(
                (snippet.path, snippet.form), _Entry(snippet.path, snippet.form, snippet.comment)
            )
    changes = [_take_away(entry, owner, prefix) for entry in reversed(list(entries.values()))]
    if os.path.lexists(memory):
        os.unlink(memory)
    return tuple(change for change in changes if change.action != "absent")


# -- the memory -------------------------------------------------------------------------------


def _memory(project: Project, owner: Owner) -> str:
    path = f"{project.state}/installed/{owner.command.replace(' ', '.')}.json"
    refuse_untrusted([path], what="the memory of what was installed,")
    return path


def _remembered(memory: str) -> dict[tuple[str, str], _Entry]:
    try:
        with open(memory, encoding="utf-8", errors="surrogateescape") as file:
            entries = [_Entry(**item) for item in json.load(file)]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise Failure(
            f"cannot read {memory}: {error}", hint="remove it; links installed before are then yours to remove"
        ) from None
    return {(entry.path, entry.form): entry for entry in entries}


def _remember(memory: str, entries: Sequence[_Entry]) -> None:
    text = json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False) + "\n"
    write_atomically(memory, text.encode("utf-8", "surrogateescape"), 0o644)


# -- one path ---------------------------------------------------------------------------------


def _entry(snippet: Snippet, before: dict[tuple[str, str], _Entry], prefix: str) -> _Entry:
    old = before.get((snippet.path, snippet.form))
    created = old.created if old else False
    if snippet.form is Form.LINES and old is None:
        with opened(snippet.path, prefix, follow=True) as place:
            created = place is not None and place.look() is None
    text = snippet.content if snippet.form is Form.LINK else ""
    return _Entry(snippet.path, snippet.form, snippet.comment, text, created)


def _examine(snippet: Snippet, owner: Owner, old: _Entry | None, prefix: str) -> Change | None:
    """Return what has to be done for a snippet, None for nothing; raises Failure."""
    with opened(snippet.path, prefix, follow=snippet.form is Form.LINES) as place:
        if place is None:
            raise Failure(
                f"cannot write {snippet.path}: there is no directory {os.path.dirname(snippet.path)}",
                hint="install the program that reads it, or make the directory",
            )
        found = place.look()
        if found is None:
            return Change("install", snippet.path)
        if snippet.form is Form.LINK:
            return _examine_link(snippet, found, old)
        if not found.is_file:
            raise _in_the_way(snippet.path, found)
        if snippet.form is Form.LINES:
            return _examine_lines(snippet, found, owner)
        if not _is_ours(found.text, snippet.comment, owner):
            raise _in_the_way(snippet.path, found)
        if found.text == whole(snippet, owner) and found.info.st_mode & 0o7777 == snippet.mode:
            return None
        return Change("replace", snippet.path)


def _examine_link(snippet: Snippet, found: Found, old: _Entry | None) -> Change | None:
    if not found.is_link:
        raise _in_the_way(snippet.path, found)
    ours = old is not None and old.text == found.text
    if found.text == snippet.content:
        return None if ours else Change("stays", snippet.path, "the link was there before")
    if not ours:
        raise _in_the_way(snippet.path, found)
    return Change("replace", snippet.path)


def _examine_lines(snippet: Snippet, found: Found, owner: Owner) -> Change | None:
    where = _find(snippet.path, found.text, snippet.comment, owner)
    if where is None:
        return Change("install", snippet.path)
    start, stop = where
    return None if found.text[start:stop] == block(snippet, owner) else Change("replace", snippet.path)


def _put(snippet: Snippet, owner: Owner, prefix: str, *, replace: bool) -> None:
    with opened(snippet.path, prefix, follow=snippet.form is Form.LINES) as place:
        assert place is not None
        if snippet.form is Form.LINK:
            place.link(snippet.content, replace)
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
            ours = found.is_link and found.text == entry.text
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
    """Return where our lines begin and end in a shared file; raises Failure where they are damaged."""
    begin, end = bounds(comment, owner)
    starts, stops, at = [], [], 0
    for line in text.splitlines(keepends=True):
        if line.rstrip("\r\n") == begin:
            starts.append(at)
        at += len(line)
        if line.rstrip("\r\n") == end:
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
