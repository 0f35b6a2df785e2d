"""libmap.conf(5) of FreeBSD: which library is loaded in place of another, and for whom."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chrootbuild.host import Host, Unreadable

__all__ = ["Libmap", "read"]

_EVERYONE = "$DEFAULT$"
_LIMIT = 1 << 20  # bytes of one file
_FILES = 256
_CONSTRAINT = re.compile(r"\[\s*([^\s\]#]+)\s*\]\s*(?:#.*)?")


@dataclass(slots=True)
class _Group:
    """The mappings of one constraint, newest first."""

    constraint: str
    pairs: list[tuple[str, str, str]] = field(default_factory=list)  # from, to, file that says so

    def matches(self, path: str) -> bool:
        if self.constraint.endswith("/"):
            return path.startswith(self.constraint)
        if "/" not in self.constraint:
            return path.rpartition("/")[2] == self.constraint
        return path == self.constraint

    def find(self, name: str) -> tuple[str, str] | None:
        return next(((to, file) for old, to, file in self.pairs if old == name), None)


class Libmap:
    """The mappings of one program. A constrained one that was used holds for all from then on."""

    def __init__(self) -> None:
        self.files: list[str] = []  # that were read, in order: the first includes the others
        self._groups: list[_Group] = []  # newest first

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, constraint: str, old: str, new: str, file: str) -> None:
        """Add a mapping; a later one wins."""
        group = self._group(constraint)
        if group is None:
            group = _Group(constraint)
            self._groups.insert(0, group)
        found = group.find(old)
        if found is None or found[0] != new:
            group.pairs.insert(0, (old, new, file))

    def find(self, path: str, name: str) -> tuple[str, str] | None:
        """Return what the object at ``path`` gets for ``name``, and the file that says so."""
        group = self._group(path)
        found = group.find(name) if group is not None else None
        if found is not None:
            self.add(_EVERYONE, name, *found)
            return found
        group = self._group(_EVERYONE)
        return group.find(name) if group is not None else None

    def _group(self, path: str) -> _Group | None:
        return next((group for group in self._groups if group.matches(path)), None)


def read(host: Host, file: str) -> Libmap:
    """Read libmap.conf and what it includes; a file that is absent or unreadable says nothing."""
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
    """Read the *.conf files of a directory, by name: rtld takes them as they come."""
    if directory.startswith("/") and host.isdir(directory):
        for name in host.listdir(directory):
            if name.endswith(".conf"):
                _file(host, f"{directory.rstrip('/')}/{name}", found)
