"""FreeBSD's ld-elf.so.hints: the directories that rtld(1) searches, as ldconfig(8) writes them.

Format (FreeBSD, elf-hints.h): a header of 32 numbers, the directories joined
by ":", a NUL. Written in the target's byte order, which is little endian on
all but a few machines.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot

_MAGIC = 0x746E6845
_HEADER = 128  # bytes
_LIMIT = 1 << 20  # bytes of a list of directories
# rc.d/ldconfig and the default of ldconfig_paths in rc.conf.
_STANDARD = ("/lib", "/usr/lib", "/usr/lib/compat", "/usr/local/lib", "/usr/local/lib/compat/pkg")
_STANDARD_32 = ("/usr/lib32", "/usr/lib32/compat")


class HintsError(ValueError):
    """The bytes are not a hints file; the text gives the reason."""


def hints_path(*, compat32: bool = False) -> str:
    """Return the hints file's path; ``compat32``: for 32-bit programs on a 64-bit system."""
    return "/var/run/ld-elf32.so.hints" if compat32 else "/var/run/ld-elf.so.hints"


def parse_hints(data: bytes) -> tuple[str, ...]:
    """Return the directories in order; either byte order is read. Raises HintsError."""
    if len(data) < _HEADER:
        raise HintsError("it is cut off in its header")
    order = next((order for order in "<>" if struct.unpack_from(order + "I", data)[0] == _MAGIC), "")
    if not order:
        raise HintsError("it does not start with the magic number of ELF hints")
    _, version, strings, _, offset, length = struct.unpack_from(order + "6I", data)
    if version != 1:
        raise HintsError(f"it has version {version}")
    start = strings + offset
    if start + length >= len(data) or data[start + length]:
        raise HintsError("its list of directories lies outside the file")
    text = os.fsdecode(data[start : start + length].split(b"\0", 1)[0])
    return tuple(name for name in text.split(":") if name)


def render_hints(directories: Iterable[str], *, little: bool = True) -> bytes:
    """Return a hints file, byte for byte as ldconfig writes it; repeated directories are dropped."""
    text = os.fsencode(":".join(dict.fromkeys(directories)))
    numbers = (_MAGIC, 1, _HEADER, len(text) + 1, 0, len(text))
    head = struct.pack(("<" if little else ">") + "6I", *numbers)
    return head.ljust(_HEADER, b"\0") + text + b"\0"


def default_hints(sysroot: Sysroot, *, compat32: bool = False) -> tuple[str, ...]:
    """Return the existing directories that rc.d/ldconfig would list at boot.

    For a sysroot without a hints file: a base that never booted has none.
    """
    named = list(_STANDARD_32 if compat32 else _STANDARD)
    suffix = "32" if compat32 else ""
    lists = sysroot.glob(f"/usr/local/libdata/ldconfig{suffix}/*")
    for file in [*lists, *([] if compat32 else ["/etc/ld-elf.so.conf"])]:
        named.extend(_directories(sysroot, file))
    return tuple(name for name in dict.fromkeys(named) if name.startswith("/") and sysroot.isdir(name))


def _directories(sysroot: Sysroot, file: str) -> list[str]:
    """Return the directories that a file lists, one per line."""
    text = sysroot.content(file, _LIMIT).decode(errors="surrogateescape")
    return [words[0] for line in text.splitlines() if (words := line.split("#", 1)[0].split())]


_EVERYONE = "$DEFAULT$"
_LIBMAP_LIMIT = 1 << 20  # bytes of one file
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


def read_libmap(sysroot: Sysroot, file: str) -> Libmap:
    """Read libmap.conf and its includes; an absent or unreadable file counts as empty."""
    found = Libmap()
    _file(sysroot, file, found)
    return found


def _file(sysroot: Sysroot, file: str, found: Libmap) -> None:
    if not file.startswith("/") or len(found.files) >= _FILES or not sysroot.isfile(file):
        return
    try:
        canonical = sysroot.canonical(file)
        if canonical in found.files:
            return
        text = sysroot.read(file, _LIBMAP_LIMIT).decode(errors="surrogateescape")
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
            _file(sysroot, words[1], found)
        elif words[0] == "includedir":
            _directory(sysroot, words[1], found)
        else:
            found.add(constraint, words[0], words[1], file)


def _directory(sysroot: Sysroot, directory: str, found: Libmap) -> None:
    """Read the *.conf files of a directory, sorted: rtld reads them in directory order."""
    if directory.startswith("/") and sysroot.isdir(directory):
        for name in sysroot.listdir(directory):
            if name.endswith(".conf"):
                _file(sysroot, f"{directory.rstrip('/')}/{name}", found)
