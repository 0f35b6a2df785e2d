"""Obstacles to a publish, found before it begins: another user's root, mounts and immutable files."""

from __future__ import annotations

import array
import os
import stat
import struct
from collections.abc import Iterable

from chrootbuild.errors import Failure
from chrootbuild.paths import split
from chrootbuild.root.tree import Root
from chrootbuild.system.rights.provenance import sudo_caller
from chrootbuild.system.rights.trust import user_words

# ioctl_iflags(2): _IOR('f', 1, long), and the flags of linux/fs.h.
_FS_IOC_GETFLAGS = 0x80006601 | struct.calcsize("l") << 16
_IMMUTABLE, _APPEND = 0x10, 0x20


def refuse_foreign(name: str, root: Root, owner: int) -> None:
    """Raise Failure where another user made a root directory: it is neither root's, the caller's nor ``owner``'s."""
    uid = os.fstat(root.fd).st_uid
    if uid not in (0, os.geteuid(), sudo_caller(), owner):
        raise Failure(
            f"cannot build {name}: {root.path} belongs to {user_words(uid)}",
            hint=f"look at what is in it, and remove it; or, if it is to be the root: chown root {root.path}",
        )


def refuse_obstacles(root: Root, paths: Iterable[str]) -> None:
    """Raise Failure where one of the paths could not be replaced or removed; nothing is changed yet."""
    seen: set[str] = set()
    for path in paths:
        for here in (split(path)[0], path):
            if here in seen:
                continue
            seen.add(here)
            info = root.lstat(here)
            if info is None:
                continue
            if here != "/" and root.is_mount(here):
                raise Failure(
                    f"cannot replace {root.real(path)}: another filesystem is mounted there",
                    hint="unmount it, or leave the path out of the target; nothing was changed",
                )
            if (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)) and _is_fixed(root, here):
                raise Failure(
                    f"cannot replace {root.real(path)}: {root.real(here)} is immutable or append-only",
                    hint=f"chattr -i -a {root.real(here)}; nothing was changed",
                )


def _is_fixed(root: Root, path: str) -> bool:
    import fcntl

    info = root.lstat(path)
    is_directory = info is not None and stat.S_ISDIR(info.st_mode)
    fd = root.directory(path) if is_directory else root.open(path)
    if fd is None:
        return False
    flags = array.array("l", [0])
    try:
        fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
    except OSError:
        return False  # a filesystem without inode flags
    finally:
        if not is_directory:
            os.close(fd)
    return bool(flags[0] & (_IMMUTABLE | _APPEND))
