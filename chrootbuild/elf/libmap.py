"""FreeBSD's libmap.conf(5): replacements for libraries, for all or for some objects."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chrootbuild.host import Host, Unreadable

__all__ = ["Libmap", "read"]

_EVERYONE = "$DEFAULT$"
_LIMIT = 1 << 20  # bytes of one file
_FILES = 256
_PATH = 1024  # PATH_MAX of FreeBSD
_CONSTRAINT = re.compile(r"\[\s*([^\s\]#]+)\s*\]\s*(?:#.*)?")


@dataclass(slots=True)
class _Group:
    """Mappings of one constraint: library to replacement and file."""

    number: int  # of the constraint, in file order: the latest is tried first
    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)


class Libmap:
    """Mappings of one program; a constrained one, once used, holds for all objects."""

    def __init__(self) -> None:
        self.files: list[str] = []  # read, in order: the first includes the others
        self._groups: dict[str, _Group] = {}  # by constraint

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, constraint: str, old: str, new: str, file: str) -> None:
        """Add a mapping; a later one wins."""
        group = self._group(constraint)
        if group is None:
            group = self._groups[constraint] = _Group(len(self._groups))
        found = group.pairs.get(old)
        if found is None or found[0] != new:
            group.pairs[old] = (new, file)

    def find(self, path: str, name: str) -> tuple[str, str] | None:
        """Return the replacement of ``name`` for the object at ``path``, and the file that maps it."""
        group = self._group(path)
        found = group.pairs.get(name) if group is not None else None
        if found is not None:
            self.add(_EVERYONE, name, *found)
            return found
        group = self._group(_EVERYONE)
        return group.pairs.get(name) if group is not None else None

    def _group(self, path: str) -> _Group | None:
        """Return the newest group for a path, a directory above it, or its base name."""
        above = [path[: at + 1] for at, mark in enumerate(path[:_PATH]) if mark == "/"]
        matching = [
            self._groups[one] for one in {path, path.rpartition("/")[2], *above} if one in self._groups
        ]
        return max(matching, key=lambda group: group.number, default=None)


def read(host: Host, file: str) -> Libmap:
    """Read libmap.conf and its includes; an absent or unreadable file counts as empty."""
    found = Libmap()
    _file(host, file, found)
    return found


def _file(host: Host, file: str, found: Libmap) -> None:
    if not file.startswith("/") or len(found.files) >= _FILES or not host.isfile(file):
        return
    try:
        canonical = host.canonical(file)
        if canonical in found.files:
            return
        text = host.read(file, _LIMIT).decode(errors="surrogateescape")
    except Unreadable:
        return
    found.files.append(canonical)
    constraint = _EVERYONE
    for line in text.split("\n"):
        line = line.split("\0", 1)[0].strip(" \t\r\f\v")
        if line.startswith("["):
            match = _CONSTRAINT.fullmatch(line)
            constraint = match[1] if match else constraint
            continue
        words = line.split("#", 1)[0].split()
        if len(words) != 2:
            continue
        if words[0] == "include":
            _file(host, words[1], found)
        elif words[0] == "includedir":
            _directory(host, words[1], found)
        else:
            found.add(constraint, words[0], words[1], file)


def _directory(host: Host, directory: str, found: Libmap) -> None:
    """Read the *.conf files of a directory, sorted: rtld reads them in directory order."""
    if directory.startswith("/") and host.isdir(directory):
        for name in host.listdir(directory):
            if name.endswith(".conf"):
                _file(host, f"{directory.rstrip('/')}/{name}", found)
