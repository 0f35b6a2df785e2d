"""The only reader of a sysroot: lists its directories and reads its files.

A sysroot is ``/`` or an untrusted tree of another system: paths are looked up
inside it (``lookup``), and only regular files are ever opened.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO

from chrootbuild.paths import join
from chrootbuild.sysroot.lookup import Lookup, Unreadable
from chrootbuild.system.signature import signature

READ_LIMIT = 256 << 20  # bytes; no text, cache or account file is larger


class Sysroot(Lookup):
    """Reads one sysroot, and notes all paths that an answer depended on (see Lookup)."""

    def __init__(self, sysroot: str = "/") -> None:
        super().__init__(sysroot)
        self._globs: dict[str, re.Pattern[str]] = {}

    # -- listing ---------------------------------------------------------------------------

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory; raises Unreadable."""
        canonical = self.canonical(path)
        try:
            names = os.listdir(self.real(canonical))
        except OSError as error:
            raise Unreadable(path, error.errno or errno.EIO) from None
        self._note_directory(canonical)
        names.sort()
        self.listed[self.real(canonical)] = names
        return names

    def glob(self, pattern: str) -> list[str]:
        """Return the sorted paths that match; ``*`` ``?`` ``[`` stay within one component.

        As in the shell a leading dot is only matched by a dot. Links among the
        parents are followed, and stay in the answer as written.
        """
        found = [""]
        for part in pattern.strip("/").split("/"):
            found = [match for base in found for match in self._glob_part(base, part)]
        return sorted(found)

    def walk(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (path, stat) of all below a directory, sorted, parents first, no link followed."""
        canonical = self.canonical(path)
        stack = [canonical]
        while stack:
            here = stack.pop()
            deeper = []
            for name in self.listdir(here):
                child = join(here, name)
                info = self._lstat_canonical(child)
                if info is None:
                    continue
                yield child, info
                if stat.S_ISDIR(info.st_mode):
                    deeper.append(child)
            stack.extend(reversed(deeper))

    # -- reading ---------------------------------------------------------------------------

    def open(self, path: str) -> BinaryIO:
        """Open the regular file that ``path`` resolves to; raises Unreadable.

        Never blocks on a FIFO and never opens a device, even one put there meanwhile.
        """
        canonical = self.canonical(path)
        fd = self._open_canonical(path, canonical)
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise Unreadable(path, errno.EINVAL, why="it is not a regular file")
        self.seen[self.real(canonical)] = signature(info)
        return os.fdopen(fd, "rb")

    def read(self, path: str, limit: int = READ_LIMIT) -> bytes:
        """Return a regular file's content; raises Unreadable, also above ``limit`` bytes."""
        with self.open(path) as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise Unreadable(path, errno.EFBIG, why=f"it is larger than {limit} bytes")
            self.inputs.add(self.real(self.canonical(path)))
            try:
                return file.read(limit)
            except OSError as error:
                raise Unreadable(path, error.errno or errno.EIO) from None

    def content(self, path: str, limit: int = READ_LIMIT) -> bytes:
        """Return a regular file's content; empty where there is none, or it cannot be read."""
        try:
            return self.read(path, limit) if self.isfile(path) else b""
        except Unreadable:
            return b""

    def _open_canonical(self, path: str, canonical: str) -> int:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            if not self._prefix:
                return os.open(canonical, flags)
            # By components: another process may own this tree, and replace a directory by a link.
            step = os.O_PATH if hasattr(os, "O_PATH") else os.O_RDONLY
            here = os.open(self.sysroot, step | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                *parents, name = canonical.strip("/").split("/")
                for part in parents:
                    deeper = os.open(part, step | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                    os.close(here)
                    here = deeper
                return os.open(name, flags, dir_fd=here)
            finally:
                os.close(here)
        except OSError as error:
            raise Unreadable(path, error.errno or errno.EIO) from None

    def _glob_part(self, base: str, part: str) -> list[str]:
        if not any(mark in part for mark in "*?["):
            path = f"{base}/{part}"
            return [path] if self.lstat(path) is not None else []
        if base and not self.isdir(base):
            return []
        pattern = self._globs.get(part)
        if pattern is None:
            pattern = self._globs[part] = re.compile(fnmatch.translate(part))
        return [
            f"{base}/{name}"
            for name in self.listdir(base or "/")
            if pattern.match(name) and (not name.startswith(".") or part.startswith("."))
        ]
