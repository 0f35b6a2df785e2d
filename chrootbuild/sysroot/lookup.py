"""Looks up paths of a sysroot: links are resolved inside it, and every path looked at is noted.

An absolute link in a sysroot means a path in it, and ``..`` cannot leave it. Stats
and directories are remembered, for a closure asks thousands of times.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from chrootbuild.errors import Failure
from chrootbuild.paths import MAX_LINKS, components, join, split
from chrootbuild.system.signature import Signature, signature

_UNKNOWN = os.stat_result((0,) * 10)
_MANY = 4096  # looks that are remembered; one takes as much memory as an artifact


class Unreadable(Failure):
    """A path of the sysroot that cannot be read; ``errno`` and, for people, ``why``."""

    def __init__(self, path: str, error: int, *, why: str = "", hint: str = "") -> None:
        self.why = why or os.strerror(error)
        super().__init__(f"cannot read {path}: {self.why}", hint=hint)
        self.path = path
        self.errno = error

    def __reduce__(self) -> tuple[object, ...]:
        return (Unreadable, (self.path, self.errno))


class Link(NamedTuple):
    """A symlink met on the way: its canonical path and its text."""

    path: str
    text: str


class _Place(NamedTuple):  # made by the ten thousand: a tuple is three times as fast
    """A resolved path: its canonical form, the links on the way, its stat."""

    path: str
    links: tuple[Link, ...]
    stat: os.stat_result | None  # None: nothing there


class Lookup:
    """Resolves and looks at paths of one sysroot, and notes all that an answer depended on.

    Notes are by real path. ``seen``: signatures of files, links, and directories whose
    names mattered. ``listed``: the names in each directory listed; ``missing``: names
    absent from a directory. ``inputs``: files read whole. ``owners``: (ino, uid, gid,
    mode) of every directory.
    """

    def __init__(self, sysroot: str = "/") -> None:
        self.sysroot = os.path.realpath(sysroot)
        self._prefix = "" if self.sysroot == "/" else self.sysroot
        self.seen: dict[str, Signature] = {}
        self.listed: dict[str, list[str]] = {}
        self.missing: dict[str, set[str]] = {}
        self.inputs: set[str] = set()
        self.owners: dict[str, Signature] = {}
        self._directories: dict[str, _Place] = {}
        self._folders: dict[str, str] = {}  # those that exist: canonical, with a slash at the end
        self._stats: dict[str, os.stat_result | None] = {}

    def real(self, path: str) -> str:
        """Return the real path of a path in the sysroot (no link resolved)."""
        return self._prefix + path if path != "/" else self.sysroot

    def forget(self) -> None:
        """Drop the lookup caches, and keep the notes: the plan is made, and the build needs only them."""
        self._stats.clear()
        self._directories.clear()
        self._folders.clear()

    # -- looking ---------------------------------------------------------------------------

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the stat of ``path`` itself, its parents resolved; None if absent."""
        parent, name = split(path)
        if not name:
            return self._directory("/").stat
        place = self._directory(parent)
        if place.stat is None or not stat.S_ISDIR(place.stat.st_mode):
            return None
        return self._lstat_canonical(join(place.path, name))

    def stat(self, path: str) -> os.stat_result | None:
        """Return the stat of ``path``, links followed; None if absent or dangling."""
        try:
            return self._resolve(path).stat
        except Unreadable:
            return None

    def resolve(self, path: str) -> tuple[str, tuple[Link, ...]]:
        """Return the canonical form of ``path`` and every link met on the way, in order.

        Raises Unreadable: ENOENT, or ELOOP where links loop.
        """
        place = self._resolve(path)
        if place.stat is None:
            raise Unreadable(path, errno.ENOENT)
        return place.path, place.links

    def find(self, path: str) -> tuple[str, os.stat_result] | None:
        """Return the canonical form of ``path`` and its stat, in one walk; None if absent."""
        parent, _, name = path.rpartition("/")
        folder = self._folders.get(parent)
        try:
            if folder is not None and name not in ("", ".", "..") and "\0" not in name:
                # A closure asks this of thousands of files in a few directories.
                child = folder + name
                info = self._lstat_canonical(child)
                if info is None or not stat.S_ISLNK(info.st_mode):
                    return None if info is None else (child, info)
            place = self._resolve(path)
        except Unreadable:
            return None
        above = self._directories.get(parent)
        if above is not None and above.stat is not None and stat.S_ISDIR(above.stat.st_mode):
            self._folders[parent] = join(above.path, "")
        return None if place.stat is None else (place.path, place.stat)

    def canonical(self, path: str) -> str:
        """Return the canonical form of ``path``; raises Unreadable as resolve does."""
        return self.resolve(path)[0]

    def exists(self, path: str) -> bool:
        """Return whether ``path`` exists, links followed."""
        return self.stat(path) is not None

    def isdir(self, path: str) -> bool:
        """Return whether ``path`` leads to a directory."""
        info = self.stat(path)
        return info is not None and stat.S_ISDIR(info.st_mode)

    def isfile(self, path: str) -> bool:
        """Return whether ``path`` is a regular file, links followed."""
        info = self.stat(path)
        return info is not None and stat.S_ISREG(info.st_mode)

    def readlink(self, path: str) -> str:
        """Return the text of the link at ``path``; raises Unreadable where there is none."""
        parent, name = split(path)
        where = join(self._directory(parent).path, name)
        return self._readlink(where)

    # -- the walk --------------------------------------------------------------------------

    def _lstat_canonical(self, path: str) -> os.stat_result | None:
        info = self._stats.get(path, _UNKNOWN)
        if info is not _UNKNOWN:
            return info
        real = self.real(path)
        try:
            info = os.lstat(real)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG):
                raise Unreadable(path, error.errno or errno.EIO) from None
            info = None
            self._note_missing(path)
        else:
            # The first signature counts: an answer may depend on it.
            if stat.S_ISDIR(info.st_mode):
                self.owners.setdefault(real, (info.st_ino, info.st_uid, info.st_gid, info.st_mode))
            else:
                self.seen.setdefault(real, signature(info))
        if len(self._stats) >= _MANY:
            self._stats.clear()
        self._stats[path] = info
        return info

    def _note_directory(self, canonical: str) -> None:
        """Note a directory whose names an answer depended on."""
        real = self.real(canonical)
        if real not in self.seen:
            try:
                self.seen[real] = signature(os.lstat(real))
            except OSError:
                if canonical != "/":
                    self._note_missing(canonical)

    def _note_missing(self, canonical: str) -> None:
        """Note the directory that a name is absent from, or its nearest existing ancestor."""
        parent, name = split(canonical)
        self._note_directory(parent)
        self.missing.setdefault(self.real(parent), set()).add(name)

    def _readlink(self, canonical: str) -> str:
        self._lstat_canonical(canonical)
        try:
            return os.readlink(self.real(canonical))
        except OSError as error:
            raise Unreadable(canonical, error.errno or errno.EIO) from None

    def _directory(self, path: str) -> _Place:
        place = self._directories.get(path)
        if place is None:
            if path == "/":
                place = _Place("/", (), self._top())
            else:
                place = self._resolve(path)
            self._directories[path] = place
        return place

    def _top(self) -> os.stat_result:
        try:
            return os.stat(self.sysroot)
        except OSError as error:
            raise Unreadable(self.sysroot, error.errno or errno.EIO, hint="it is the sysroot") from None

    def _resolve(self, path: str) -> _Place:
        if "\0" in path:
            raise Unreadable(path, errno.EINVAL)
        parent, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            return self._walk(path, self._directory("/"), components(path))
        above = self._directories.get(parent or "/")
        if above is None:  # most paths share their parent with others: walk to it once
            above = self._walk(parent, self._directory("/"), components(parent))
            self._directories[parent or "/"] = above
        if above.stat is not None and stat.S_ISDIR(above.stat.st_mode):
            child = join(above.path, name)
            info = self._lstat_canonical(child)
            if info is None or not stat.S_ISLNK(info.st_mode):
                return _Place(child, above.links, info)
        return self._walk(path, above, [name])

    def _walk(self, path: str, start: _Place, parts: list[str]) -> _Place:
        """Go from a place along the parts, last first, through every link.

        Not by ``paths.walk``: here each step has to be a directory, and its stat is remembered.
        """
        links = list(start.links)
        here = start
        while parts:
            part = parts.pop()
            if here.stat is None or not stat.S_ISDIR(here.stat.st_mode):
                return _Place(join(here.path, "/".join([part, *reversed(parts)])), tuple(links), None)
            if part == "..":
                here = self._directory(split(here.path)[0])
                continue
            child = join(here.path, part)
            info = self._lstat_canonical(child)
            if info is not None and stat.S_ISLNK(info.st_mode):
                if len(links) >= MAX_LINKS:
                    raise Unreadable(path, errno.ELOOP)
                text = self._readlink(child)
                links.append(Link(child, text))
                parts.extend(components(text))
                if text.startswith("/"):
                    here = self._directory("/")
                continue
            here = _Place(child, (), info)
        return _Place(here.path, tuple(links), here.stat)
