"""Reads and writes single files of the host: atomically, and no planted link is followed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from chrootbuild.errors import Failure
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.rights.trust import refuse_untrusted

_LIMIT = 4 << 20  # bytes; no configuration file is larger


@dataclass(frozen=True, slots=True)
class Found:
    """The inode at a place: a regular file or a link, each with its text, or something else."""

    info: os.stat_result
    text: str = ""  # surrogateescape

    @property
    def is_file(self) -> bool:
        """Return whether the inode is a regular file."""
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_link(self) -> bool:
        """Return whether the inode is a symlink."""
        return stat.S_ISLNK(self.info.st_mode)


@dataclass(frozen=True, slots=True)
class Place:
    """A name in an open directory that nobody else can write."""

    path: str  # for messages
    directory: int  # a file descriptor
    name: str

    def look(self) -> Found | None:
        """Return the inode there, None if absent; raises Failure where it cannot be read."""
        try:
            info = os.lstat(self.name, dir_fd=self.directory)
            if stat.S_ISLNK(info.st_mode):
                return Found(info, os.readlink(self.name, dir_fd=self.directory))
            if not stat.S_ISREG(info.st_mode):
                return Found(info)
            if info.st_size > _LIMIT:  # it would be written back cut off
                raise Failure(f"cannot read {self.path}: it is larger than {_LIMIT} bytes")
            fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory)
            with open(fd, "rb") as file:
                return Found(os.fstat(fd), os.fsdecode(file.read(_LIMIT)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.failure("read", error) from None

    def write(self, text: str, mode: int, like: Found | None = None) -> None:
        """Write a file there by a temporary name and a rename; ``like`` gives owner, mode and attributes.

        Raises Failure, also where ``like`` was replaced meanwhile.
        """
        fresh = f".{self.name}.{os.getpid()}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._forget(fresh)  # left by a killed process of the same pid
            fd = os.open(fresh, flags, 0o600, dir_fd=self.directory)
            try:
                with open(fd, "wb", closefd=False) as file:
                    file.write(os.fsencode(text))
                if like is not None:
                    _copy_attributes(self, fd, like.info)
                os.fchmod(fd, mode if like is None else stat.S_IMODE(like.info.st_mode))
                os.fsync(fd)
                if like is not None and not self._unchanged(like.info):
                    raise Failure(f"cannot write {self.path}: it has changed meanwhile", hint="try again")
                os.rename(fresh, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
                os.fsync(self.directory)
            except BaseException:
                self._forget(fresh)
                raise
            finally:
                os.close(fd)
        except OSError as error:
            raise self.failure("write", error) from None

    def link(self, text: str, replace: bool) -> None:
        """Make a symlink there, over an existing name only if ``replace``; raises Failure."""
        name = f".{self.name}.{os.getpid()}.new" if replace else self.name
        try:
            if replace:
                self._forget(name)
            os.symlink(text, name, dir_fd=self.directory)
            if replace:
                os.rename(name, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
            os.fsync(self.directory)
        except OSError as error:
            raise self.failure("write", error) from None

    def remove(self) -> None:
        """Remove the file or link there; raises Failure."""
        try:
            os.unlink(self.name, dir_fd=self.directory)
            os.fsync(self.directory)
        except OSError as error:
            raise self.failure("remove", error) from None

    def failure(self, verb: str, error: OSError) -> Failure:
        """Return the Failure of an OSError."""
        refused = error.errno in (errno.EACCES, errno.EPERM)
        return Failure(
            f"cannot {verb} {self.path}: {error.strerror}", hint="run it as root" if refused else ""
        )

    def _forget(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.directory)

    def _unchanged(self, info: os.stat_result) -> bool:
        now = os.lstat(self.name, dir_fd=self.directory)
        return (now.st_ino, now.st_ctime_ns, now.st_size) == (info.st_ino, info.st_ctime_ns, info.st_size)


@contextlib.contextmanager
def opened(path: str, prefix: str = "", *, follow: bool = False) -> Iterator[Place | None]:
    """Hold open the directory of ``path``; yield None where it does not exist.

    ``prefix`` is the host's tree, "" for / itself; links are resolved inside
    it, the last component's only with ``follow``. Raises Failure where
    somebody else could write that directory, even a sticky one, or one of
    its parents.
    """
    sysroot = Sysroot(prefix or "/")
    where = path
    try:
        if follow and sysroot.lstat(path) is not None:
            where = sysroot.canonical(path)
        parent, name = os.path.split(where)
        refuse_untrusted([sysroot.real(parent)], what="the place of")
        canonical = sysroot.canonical(parent)
    except Unreadable as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            yield None
            return
        raise
    fd = _descend(sysroot, canonical)
    try:
        info = os.fstat(fd)
        # A sticky directory is safe to pass through; in it somebody may create our name first.
        if info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_ISVTX and info.st_mode & stat.S_IWGRP):
            raise Failure(
                f"cannot write {path}: others can write the directory {parent}",
                hint="choose a directory that only root can write",
            )
        yield Place(path, fd, name)
    finally:
        os.close(fd)


def _descend(sysroot: Sysroot, canonical: str) -> int:
    """Open a directory by components, refusing links."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open(sysroot.sysroot, flags)
    try:
        for part in canonical.strip("/").split("/"):
            if part:
                deeper = os.open(part, flags, dir_fd=here)
                os.close(here)
                here = deeper
    except OSError as error:
        os.close(here)
        raise Failure(f"cannot open {canonical}: {error.strerror}") from None
    return here


def _copy_attributes(place: Place, fd: int, info: os.stat_result) -> None:
    """Give a shared file's new copy its owner, and its label and ACL where the system has them."""
    os.fchown(fd, info.st_uid, info.st_gid)
    if not hasattr(os, "listxattr"):
        return
    old = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.directory)
    try:
        for name in os.listxattr(old):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(old, name))
    finally:
        os.close(old)
