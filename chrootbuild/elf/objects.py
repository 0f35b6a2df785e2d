"""Objects of closures: every file examined, opened once."""

from __future__ import annotations

import errno
import os
import stat

from chrootbuild.elf.facts import Facts
from chrootbuild.elf.memo import Memo
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot


class Object:
    """A file under the path by which it is opened; one per path, compared by identity."""

    __slots__ = ("facts", "identity", "main", "path", "real")

    def __init__(self, path: str, real: str, info: os.stat_result, facts: Facts, *, main: bool) -> None:
        self.path = path
        self.real = real  # canonical, in the sysroot
        self.facts = facts
        self.identity = (info.st_dev, info.st_ino)
        self.main = main

    @property
    def origin(self) -> str:
        """Return $ORIGIN: the kernel resolves a program's path, the linker leaves a library's as it is."""
        return (self.real if self.main else self.path).rpartition("/")[0] or "/"


class Objects:
    """Cache of the objects and directories of one sysroot."""

    def __init__(self, sysroot: Sysroot, memo: Memo) -> None:
        self.sysroot = sysroot
        self._memo = memo
        self._found: dict[str, Object | None] = {}
        self._mains: dict[str, Object] = {}
        self._facts: dict[str, Facts] = {}
        self._directories: dict[str, bool] = {}

    def get(self, path: str) -> Object | None:
        """Return the object at ``path``; None for none.

        Raises Unreadable where it is not a regular file, or cannot be read.
        """
        try:
            return self._found[path]
        except KeyError:
            pass
        place = self.sysroot.find(path)
        found = None
        if place is not None:
            real, info = place
            if not stat.S_ISREG(info.st_mode):
                raise Unreadable(path, errno.EINVAL, why="it is not a regular file")
            found = Object(path, real, info, self._read(real, info), main=False)
        self._found[path] = found
        return found

    def program(self, path: str) -> Object:
        """Return the object at ``path`` as a main program; raises Unreadable, also for ENOENT."""
        main = self._mains.get(path)
        if main is None:
            place = self.sysroot.find(path)
            if place is None:
                raise Unreadable(path, errno.ENOENT)
            real, info = place
            if not stat.S_ISREG(info.st_mode):
                raise Unreadable(path, errno.EINVAL, why="it is not a regular file")
            main = self._mains[path] = Object(path, real, info, self._read(real, info), main=True)
        return main

    def _read(self, canonical: str, info: os.stat_result) -> Facts:
        facts = self._facts.get(canonical)
        if facts is not None:
            return facts
        real = self.sysroot.real(canonical)
        facts = self._memo.get(real, info)
        if facts is None:
            from chrootbuild.elf import reader

            with self.sysroot.open(canonical) as file:
                fd = file.fileno()
                opened = os.fstat(fd)
                try:
                    facts = reader.read(fd, opened.st_size)
                except OSError as error:
                    raise Unreadable(canonical, error.errno or errno.EIO) from None
            self._memo.put(real, opened, facts)
        self._facts[canonical] = facts
        return facts

    def isdir(self, path: str) -> bool:
        """Return whether ``path`` leads to a directory."""
        known = self._directories.get(path)
        if known is None:
            known = self._directories[path] = self.sysroot.isdir(path)
        return known
