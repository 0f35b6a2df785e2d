"""Tells within milliseconds that nothing is stale: no doit, no TOML and no ELF is read for it.

A stamp is written when a target was found fresh, or was built. It holds the
signature of every path that the answer depended on: target files, sources,
directories that were searched, and what is in the root. While all of them
are unchanged the answer is, too. Importing this module must stay cheap.
"""

from __future__ import annotations

import os
import sys
from array import array

from chrootbuild import RECIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from chrootbuild.project import Project

__all__ = ["is_fresh", "write_stamp"]

_VERSION = b"chrootbuild stamp 1"
_FORK_FROM = 4000  # paths; below that a second process costs more than it saves
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


def _header(root: str) -> bytes:
    # Whoever runs it, with which chrootbuild, decides what a fresh root is.
    place = os.path.dirname(os.path.abspath(__file__))
    me = f"{RECIPE}:{os.geteuid()}".encode()
    return b"\0".join([_VERSION, os.fsencode(root), me, os.fsencode(place), b""])


def _file(state: str, target: str) -> str:
    return f"{state}/{target}.stamp"


def is_fresh(state: str, target: str) -> str | None:
    """Return the root of a target whose stamp still holds; None where it does not.

    The stamp is only believed where nobody else could have written it.
    """
    try:
        fd = os.open(_file(state, target), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
    return _holds(bytes(data[:size]))


def _holds(data: bytes) -> str | None:
    """Layout: header, counts and strings separated by NUL, an empty line, then u64 numbers."""
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
        if offset != len(numbers):
            return None
    except (ValueError, IndexError):
        return None
    return root if _unchanged(groups, numbers) else None


_Group = tuple[bytes, bytes, list[bytes], int]


def _unchanged(groups: list[_Group], numbers: array[int]) -> bool:
    total = len(numbers) // 4
    if total < _FORK_FROM or (os.cpu_count() or 1) < 2 or not hasattr(os, "fork"):
        return _check(groups, numbers)
    half, count = 0, 0
    while count < total // 2:
        count += len(groups[half][2])
        half += 1
    child = os.fork()
    if child == 0:
        # Nothing but system calls happens here, and no exception may climb up.
        code = 1
        try:
            code = 0 if _check(groups[half:], numbers) else 1
        finally:
            os._exit(code)
    mine = _check(groups[:half], numbers)
    _, status = os.waitpid(child, 0)
    return mine and status == 0


def _check(groups: list[_Group], numbers: array[int]) -> bool:
    look = os.stat
    try:
        for kind, directory, names, at in groups:
            fd = os.open(directory, _DIRECTORY)
            try:
                if kind == b"d":  # a directory of the root: its times are the daemon's
                    for name in names:
                        info = look(name, dir_fd=fd, follow_symlinks=False)
                        if (info.st_ino, info.st_uid, info.st_gid, info.st_mode) != tuple(
                            numbers[at : at + 4]
                        ):
                            return False
                        at += 4
                    continue
                for name in names:
                    info = look(name, dir_fd=fd, follow_symlinks=False)
                    if (
                        info.st_ctime_ns != numbers[at + 1]
                        or info.st_ino != numbers[at]
                        or info.st_size != numbers[at + 2]
                        or info.st_mode != numbers[at + 3]
                    ):
                        return False
                    at += 4
            finally:
                os.close(fd)
    except OSError:
        return False
    return True


def write_stamp(
    project: Project,
    target: str,
    root: str,
    files: Mapping[str, tuple[int, int, int, int]],
    directories: Mapping[str, tuple[int, int, int, int]],
) -> None:
    """Write a target's stamp: ``files`` are real paths with their signatures.

    ``directories`` are those of which only inode, owner and mode count.
    """
    from chrootbuild.record import write_atomically

    groups: dict[tuple[bytes, bytes], list[tuple[bytes, tuple[int, int, int, int]]]] = {}
    for kind, entries in ((b"f", files), (b"d", directories)):
        for path, signature in entries.items():
            parent, _, name = os.fsencode(path).rpartition(b"/")
            groups.setdefault((kind, parent or b"/"), []).append((name or b".", signature))
    text, numbers = [_header(root)], array("Q")
    for (kind, directory), group in sorted(groups.items()):
        text.append(
            b"\0".join([kind, directory, str(len(group)).encode(), *(name for name, _ in group), b""])
        )
        for _, entry in group:
            numbers.extend(entry)
    head = b"".join(text)
    write_atomically(_file(project.state, target), f"{len(head):016x}".encode() + head + numbers.tobytes())


def drop_stamp(project: Project, target: str) -> None:
    """Remove a target's stamp, so that the next build looks at everything."""
    try:
        os.unlink(_file(project.state, target))
    except FileNotFoundError:
        return
    except OSError as error:
        sys.stderr.write(f"warning: cannot remove the stamp of {target}: {error.strerror}\n")
