"""Phases of a publish, such that any program can be started at any moment.

New files precede their users, and removals come last. No installed file needs a new
name, so new names precede all replacements, but for new programs: those
need the new libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.compare.change import Comparison
from chrootbuild.paths import LinkLoopError, walk
from chrootbuild.publish.step import Operation

# By which a run-time linker finds libraries.
_INDEXES = frozenset({"/etc/ld.so.cache", "/var/run/ld-elf.so.hints", "/var/run/ld-elf32.so.hints"})


class Phase(IntEnum):
    """The phases of a publish, in their order."""

    NEW_LIBRARY = 0
    NEW_DATA = 1
    NEW_LINK = 2
    INDEX = 3
    LIBRARIES = 4  # swap of a directory with libraries
    LIBRARY = 5
    LINK = 6
    NEW_PROGRAM = 7
    NEW_SCRIPT = 8
    PROGRAMS = 9  # swap of a directory with programs and their libraries
    LINK_TO_PROGRAM = 10
    DATA = 11
    PROGRAM = 12
    SCRIPT = 13
    LAST = 14  # removals


_PROGRAMS = frozenset({Phase.NEW_PROGRAM, Phase.NEW_SCRIPT, Phase.PROGRAM, Phase.SCRIPT})
_LIBRARIES = frozenset({Phase.NEW_LIBRARY, Phase.LIBRARY})


def is_executable(artifact: Artifact) -> bool:
    """Return whether an artifact is a library, a program, or an executable script."""
    return bool(artifact.elf) or (
        artifact.kind not in (Kind.LINK, Kind.DIRECTORY, Kind.NODE) and bool(artifact.mode & 0o111)
    )


def phase_of(comparison: Comparison, artifact: Artifact, there: str) -> Phase:
    """Return the phase of an artifact; ``there`` is the present kind of its path: "", "file" or "directory"."""
    new = not there
    if artifact.kind is Kind.LINK:
        change = comparison.changes.get(end_of(comparison, artifact.path))
        end = None if change is None else change.artifact
        starts = end is not None and is_executable(end) and end.elf != "library"
        # In place of a directory it leads to the programs that were in it.
        if starts or there == "directory":
            return Phase.LINK_TO_PROGRAM
        return Phase.NEW_LINK if new else Phase.LINK
    if artifact.elf == "library":
        return Phase.NEW_LIBRARY if new else Phase.LIBRARY
    if artifact.elf == "program":
        return Phase.NEW_PROGRAM if new else Phase.PROGRAM
    if artifact.path in _INDEXES:
        return Phase.INDEX
    if is_executable(artifact):
        return Phase.NEW_SCRIPT if new else Phase.SCRIPT
    return Phase.NEW_DATA if new else Phase.DATA


def phase_of_exchange(op: Operation, phases: Mapping[str, Phase]) -> Phase:
    """Return the phase of a directory's swap; ``phases`` are those of the staged paths."""
    inner = {phases[path] for path in op.staged}
    if not inner:
        return Phase.LAST
    if inner & _PROGRAMS:
        alone = inner <= {Phase.PROGRAM, Phase.SCRIPT}
        return Phase.PROGRAM if alone else Phase.PROGRAMS
    if Phase.INDEX in inner:
        return Phase.INDEX
    return Phase.LIBRARIES if inner & _LIBRARIES else max(inner)


def end_of(comparison: Comparison, path: str) -> str:
    """Return the path that a path of the root leads to, over the links that are planned there.

    Links that loop lead nowhere: then it is ``path``.
    """

    def readlink(where: str) -> str | None:
        change = comparison.changes.get(where)
        artifact = None if change is None else change.artifact
        return None if artifact is None or artifact.kind is not Kind.LINK else artifact.link

    try:
        return walk(path, readlink)
    except LinkLoopError:
        return path
