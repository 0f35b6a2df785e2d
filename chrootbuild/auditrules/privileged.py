"""Setuid, setgid and capability programs, and setgid directories."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from chrootbuild.auditrules.facts import Entry, Facts
from chrootbuild.auditrules.rule import Rule
from chrootbuild.findings import Finding

__all__ = ["DIRECTORY", "FILE", "setgid_directory", "setuid_file"]

FILE = Rule(
    "setuid-file",
    "error; note where `setuid` names it",
    "A setuid or setgid program, or one with capabilities, gives its rights to whoever was let in, and so a way up.",
    "remove it, or chmod u-s,g-s and setcap -r; where the service needs it, name it in setuid",
)
DIRECTORY = Rule(
    "setgid-directory",
    "note",
    "What is made in a setgid directory belongs to its group, whoever makes it.",
    "declare it in [directories], where that is meant",
)


def setuid_file(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge setuid, setgid (only with group execute permission: inode(7)), capabilities."""
    if not entry.is_file:
        return
    mode = entry.info.st_mode
    has = []
    if mode & stat.S_ISUID:
        has.append(f"setuid, of uid {entry.info.st_uid}")
    if mode & stat.S_ISGID and mode & stat.S_IXGRP:
        has.append(f"setgid, of gid {entry.info.st_gid}")
    if entry.capability:
        has.append("with capabilities")
    if not has:
        return
    fact = f"a program that is {' and '.join(has)}"
    if entry.path in facts.setuid:
        yield FILE.note(entry.path, f"{fact}, as the target says")
    else:
        yield FILE.error(entry.path, fact)


def setgid_directory(entry: Entry, _facts: Facts) -> Iterator[Finding]:
    """Judge setgid directories that are not declared."""
    if entry.is_directory and entry.info.st_mode & stat.S_ISGID and not entry.free and entry.info.st_gid:
        yield DIRECTORY.note(entry.path, f"a setgid directory of gid {entry.info.st_gid}")
