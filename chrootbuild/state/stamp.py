"""Stamps: prove within milliseconds that a target is up to date, without doit, TOML or ELF.

A stamp is written when a target was found up to date, or was built. It holds
the signature of every path that the answer depended on: target files, sources,
searched directories, and the root's paths. While all of them are
unchanged the answer is, too. Importing this module must stay cheap.
"""

from __future__ import annotations

import os
import sys
from array import array

from chrootbuild import RECIPE, STATE_GROUP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from chrootbuild.state.project import Project

_VERSION = b"chrootbuild stamp 1"
_MANY = 1000  # changed paths; with more a build has to compare everything anyway
_FORK_FROM = 4000  # paths; below, a second process costs more than it saves
_Group = tuple[bytes, bytes, list[bytes], int]  # kind, directory, names, where their numbers begin
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


def _header(root: str) -> bytes:
    # Up to date also depends on the user and on the chrootbuild that builds.
    place = os.path.dirname(os.path.abspath(__file__))
    me = f"{RECIPE}:{os.geteuid()}".encode()
    return b"\0".join([_VERSION, os.fsencode(root), me, os.fsencode(place), b""])


def _file(state: str, target: str) -> str:
    return f"{state}/{target}.stamp"


class Look:
    """The result of checking a target's stamp: its root, and the changed paths."""

    __slots__ = ("_groups", "changed", "root", "stamp")

    def __init__(
        self, root: str, changed: frozenset[str], stamp: tuple[int, int], groups: list[_Group]
    ) -> None:
        self.root = root
        self.changed = changed  # real paths
        self.stamp = stamp  # inode and ctime of the stamp itself
        self._groups = groups

    def covers(self, path: str) -> bool:
        """Return whether a file is in the stamp."""
        directory, _, name = os.fsencode(path).rpartition(b"/")
        return any(
            kind == b"f" and place == directory and name in names for kind, place, names, _ in self._groups
        )


def is_fresh(state: str, target: str) -> str | None:
    """Return the root of a target whose stamp is still valid, else None."""
    found = look(state, target)
    return None if found is None or found.changed else found.root


def look(state: str, target: str) -> Look | None:
    """Check all paths of a target's stamp; None where there is none, or too much changed.

    A stamp that somebody else could have written is not used.
    """
    try:
        if not _believed(state):
            return None
        fd = os.open(_file(state, target), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            return None
        data = bytearray(info.st_size)
        size = os.readv(fd, [data])
    finally:
        os.close(fd)
    read = _read(bytes(data[:size]))
    if read is None:
        return None
    root, groups, numbers = read
    changed = _changed(groups, numbers)
    if changed is None:
        return None
    return Look(root, frozenset(map(os.fsdecode, changed)), (info.st_ino, info.st_ctime_ns), groups)


def _believed(state: str) -> bool:
    """Return what ``provenance.believed`` does, which is imported where that is not plain; raises OSError."""
    if os.geteuid() != 0:
        return True
    info = os.stat(state)
    if info.st_uid == 0 and info.st_gid == STATE_GROUP and not info.st_mode & 0o022:
        return True
    from chrootbuild.system.rights.provenance import believed

    return believed(state)


def is_stamp(state: str, target: str, stamp: tuple[int, int]) -> bool:
    """Return whether a target's stamp is still the one that was checked."""
    try:
        info = os.lstat(_file(state, target))
    except OSError:
        return False
    return (info.st_ino, info.st_ctime_ns) == stamp


def _read(data: bytes) -> tuple[str, list[_Group], array[int]] | None:
    """Parse a stamp: header, counts and strings separated by NUL, an empty line, then u64 numbers."""
    try:
        length = int(data[:16], 16)
        text, numbers = data[16 : 16 + length], array("Q")
        numbers.frombytes(data[16 + length :])
        fields = text.split(b"\0")
        root = os.fsdecode(fields[1])
        if b"\0".join(fields[:4]) + b"\0" != _header(root):
            return None
        groups, at = [], 4
        offset = 0
        while at < len(fields) - 1:
            kind, directory, count = fields[at], fields[at + 1], int(fields[at + 2])
            names = fields[at + 3 : at + 3 + count]
            if len(names) != count:
                return None
            groups.append((kind, directory, names, offset))
            offset += 4 * count
            at += 3 + count
    except (ValueError, IndexError):
        return None
    return (root, groups, numbers) if offset == len(numbers) else None


def _changed(groups: list[_Group], numbers: array[int]) -> list[bytes] | None:
    """Return the changed paths; None where there are too many."""
    total = len(numbers) // 4
    if total < _FORK_FROM or (os.cpu_count() or 1) < 2 or not hasattr(os, "fork"):
        return _check(groups, numbers)
    half, count = 0, 0
    while count < total // 2:
        count += len(groups[half][2])
        half += 1
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Only system calls happen here, and no exception may propagate.
        code = 1
        try:
            found = _check(groups[half:], numbers)
            if found is not None:
                with open(writer, "wb") as file:
                    file.write(b"\0".join(found))
                code = 0
        finally:
            os._exit(code)
    os.close(writer)
    mine = _check(groups[:half], numbers)
    with open(reader, "rb") as file:
        theirs = file.read()
    _, status = os.waitpid(child, 0)
    if mine is None or status != 0:
        return None
    return mine + theirs.split(b"\0") if theirs else mine


def _check(groups: list[_Group], numbers: array[int]) -> list[bytes] | None:
    look = os.stat
    changed: list[bytes] = []
    for kind, directory, names, at in groups:
        try:
            fd = os.open(directory, _DIRECTORY)
        except OSError:
            return None
        try:
            for name in names:
                info = look(name, dir_fd=fd, follow_symlinks=False)
                if kind == b"d":  # a directory of the root: the daemon changes its times
                    same = (
                        info.st_uid == numbers[at + 1]
                        and info.st_ino == numbers[at]
                        and info.st_gid == numbers[at + 2]
                        and info.st_mode == numbers[at + 3]
                    )
                else:
                    same = (
                        info.st_ctime_ns == numbers[at + 1]
                        and info.st_ino == numbers[at]
                        and info.st_size == numbers[at + 2]
                        and info.st_mode == numbers[at + 3]
                    )
                if not same:
                    changed.append(directory.rstrip(b"/") + b"/" + name)
                at += 4
        except OSError:
            return None
        finally:
            os.close(fd)
        if len(changed) > _MANY:
            return None
    return changed


def write_stamp(
    project: Project,
    target: str,
    root: str,
    files: Mapping[str, tuple[int, int, int, int]],
    directories: Mapping[str, tuple[int, int, int, int]],
) -> None:
    """Write a target's stamp: ``files`` are real paths with their signatures.

    Of ``directories`` only inode, owner and mode count.
    """
    from chrootbuild.system.files import write_atomically

    groups: dict[tuple[str, str], list[str]] = {}
    for kind, entries in (("f", files), ("d", directories)):
        for path in entries:
            parent, _, name = path.rpartition("/")
            groups.setdefault((kind, parent or "/"), []).append(name or ".")
    fields, numbers = [], array("Q")
    for (kind, directory), names in sorted(groups.items()):
        fields += [kind, directory, str(len(names)), *names]
        entries = files if kind == "f" else directories
        start = directory.rstrip("/") + "/"
        for name in names:
            numbers.extend(entries[start + name] if name != "." else entries["/"])
    head = _header(root) + os.fsencode("\0".join([*fields, ""]))
    write_atomically(_file(project.state, target), f"{len(head):016x}".encode() + head + numbers.tobytes())


def drop_stamp(project: Project, target: str) -> None:
    """Remove a target's stamp, so that the next build compares everything."""
    try:
        os.unlink(_file(project.state, target))
    except FileNotFoundError:
        return
    except OSError as error:
        sys.stderr.write(f"warning: cannot remove the stamp of {target}: {error.strerror}\n")
