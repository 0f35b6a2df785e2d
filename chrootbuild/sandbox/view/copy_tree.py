"""Copies a tree with all its attributes, where no overlay can be mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field

from chrootbuild.root.copy import copy as copy_content

LIMIT = 4 << 30  # bytes; a root with more is not copied into memory

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Copy:
    """State of one copy."""

    top: int  # the directory that is copied to
    device: int
    left: int
    links: dict[int, str] = field(default_factory=dict)  # inode: its first name, below top


def copy_tree(source: int, target: str, limit: int = LIMIT) -> None:
    """Copy everything below the directory ``source`` (a descriptor) into an empty directory.

    Owners, modes, times, extended attributes, hard links, holes, FIFOs and nodes are kept
    where the caller may set them; sockets are not, and mount points stay empty directories.
    No link is followed on either side. Raises OSError: EFBIG above ``limit`` bytes.
    """
    top = os.open(".", _DIRECTORY, dir_fd=source)
    into = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        info = os.fstat(top)
        _directory(_Copy(into, info.st_dev, limit), top, into, "")
        _attributes(top, into, info)
    finally:
        os.close(top)
        os.close(into)


def _directory(copy: _Copy, source: int, target: int, where: str) -> None:
    for name in sorted(os.listdir(source)):
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        path = f"{where}/{name}" if where else name
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            _open_both(copy, source, target, name, path)
        elif stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            with contextlib.suppress(OSError):
                os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISREG(info.st_mode):
            if info.st_ino in copy.links:
                os.link(copy.links[info.st_ino], name, src_dir_fd=copy.top, dst_dir_fd=target)
            else:
                copy.links[info.st_ino] = path
                _open_both(copy, source, target, name, path)
        elif not stat.S_ISSOCK(info.st_mode):
            with contextlib.suppress(PermissionError):
                os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
                os.chown(name, info.st_uid, info.st_gid, dir_fd=target)
                os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target)


def _open_both(copy: _Copy, source: int, target: int, name: str, path: str) -> None:
    """Copy a file or directory by descriptors: its present type counts, not an earlier lstat's."""
    here = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    there = -1
    try:
        info = os.fstat(here)
        if stat.S_ISDIR(info.st_mode):
            there = os.open(name, _DIRECTORY, dir_fd=target)
            if info.st_dev == copy.device:
                _directory(copy, here, there, path)
        elif stat.S_ISREG(info.st_mode):
            there = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
            copy.left -= min(info.st_size, 512 * info.st_blocks)
            if copy.left < 0:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            copy_content(here, there, info.st_size)
        else:
            return
        _attributes(here, there, info)
    finally:
        os.close(here)
        if there >= 0:
            os.close(there)


def _attributes(source: int, target: int, info: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):
        os.chown(target, info.st_uid, info.st_gid)
    os.chmod(target, stat.S_IMODE(info.st_mode))  # after chown, which clears setuid
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
