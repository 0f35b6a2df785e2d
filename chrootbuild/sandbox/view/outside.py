"""Commands of the host in a box (prepare, ready, probe): what they see, and what they may do.

They read and write below ROOT, where a daemon may have put anything, also while they run. So each
has a mount namespace of its own in which nothing that a path leads to is more than a file: no device
but the harmless ones of a small /dev, /proc and /sys read-only, and no link in ROOT is followed (the kernel says
ELOOP), for the kernel resolves a link by the root of the *process*: a planted one, absolute or
of enough "..", ends at the host's file, FIFO or socket of that name, and where it does not hurt it proves the wrong
thing. What a tree is made of is followed all the same, inside ROOT: links to directories, of before the
first command, at the top or one level below (/bin, /lib64, /var/run), in directories that only root can write.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chrootbuild.sandbox.privileges import cut_capabilities
from chrootbuild.sandbox.view.overlay import BELOW, open_directory
from chrootbuild.sandbox.view.views import DEV_LINKS, HARMLESS, View, mount_own
from chrootbuild.system import syscalls
from chrootbuild.system.rights.user import OUTSIDE

_NODEV, _NO_LINKS = syscalls.MOUNT_ATTR_NODEV, syscalls.MOUNT_ATTR_NOSYMFOLLOW
_READ_ONLY = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


@dataclass(frozen=True, slots=True)
class Outside:
    """The places of the host view where the root is, and the links there that are followed."""

    roots: tuple[str, ...]
    links: tuple[tuple[str, str], ...]  # a path below each, and a link of the same meaning inside the root


def outside(view: View, lower: str) -> Outside:
    """Look at a root before anything of it runs; raises OSError."""
    links = []
    store = f"{view.scratch}/.links"
    os.mkdir(store)
    for number, (path, text) in enumerate(_frame(view.root)):
        os.symlink(text, f"{store}/{number}")
        links.append((path, f"{store}/{number}"))
    also = (lower,) if lower != "/" and os.path.isdir(lower) else ()
    return Outside((view.root, *also), tuple(links))


def confine_command(place: Outside) -> None:
    """Give this process, which becomes a command of the host, its mounts and capabilities; raises OSError."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    nodes = [
        (path, syscalls.clone_mount(path)) for path in map("/dev/{}".format, HARMLESS) if _is_node(path)
    ]
    shm = [("/dev/shm", syscalls.clone_mount("/dev/shm"))] if os.path.isdir("/dev/shm") else []  # noqa: S108
    mount_own("/", "/dev")
    syscalls.mount_setattr("/", syscalls.AT_RECURSIVE, _NODEV, 0)
    mount_own("/", "/dev/pts")
    for path, mount in nodes:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        syscalls.attach_mount(mount, path)
    for path, mount in shm:
        syscalls.attach_mount(mount, path)
    for name, text in DEV_LINKS.items():
        os.symlink(text, f"/dev/{name}")
    syscalls.mount("", "/proc", "", syscalls.MS_BIND | syscalls.MS_REMOUNT | _READ_ONLY)
    for root in place.roots:
        _follow_no_link(root)
        for path, link in place.links:
            with contextlib.suppress(OSError):  # the root is another by now
                syscalls.attach_mount(syscalls.clone_mount(link, follow=False), root + path)
    cut_capabilities(OUTSIDE)


def _follow_no_link(root: str) -> None:
    """Forbid devices, setuid programs and links in the root and all that is mounted in it."""
    attributes = syscalls.MOUNT_ATTR_NOSUID | _NODEV
    try:
        syscalls.mount_setattr(root, syscalls.AT_RECURSIVE, attributes | _NO_LINKS, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Linux 5.12 and 5.13 know this of mount(2) alone: the mount at the top, the only one but in a whole system.
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOSYMFOLLOW
        syscalls.mount("", root, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | flags)


def _frame(root: str) -> Iterator[tuple[str, str]]:
    """Yield the links to directories of a root's two upper levels, and where each leads, relative and canonical."""
    top = [name for name in _names(root) if _is_roots(f"{root}/{name}")]
    for parent in ("", *(f"/{name}" for name in top)):
        for name in _names(root + parent):
            path = f"{parent}/{name}"
            if not os.path.islink(root + path):
                continue
            with contextlib.suppress(OSError):  # it dangles, or leads to a file
                yield path, os.path.relpath(_leads_to(root, path), parent or "/")


def _leads_to(root: str, path: str) -> str:
    """Return the canonical path in a root of the directory that a path there leads to; raises OSError."""
    top = open_directory(root)
    try:
        found = syscalls.openat2(top, path, os.O_PATH | os.O_DIRECTORY, BELOW)
    finally:
        os.close(top)
    try:
        real = os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)
    if real != root and not real.startswith(f"{root}/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return real[len(root) :] or "/"


def _names(directory: str) -> Sequence[str]:
    """Return what is in a directory that only root can write; else nothing."""
    try:
        return sorted(os.listdir(directory)) if _is_roots(directory) else ()
    except OSError:
        return ()


def _is_roots(path: str) -> bool:
    info = os.lstat(path)
    return stat.S_ISDIR(info.st_mode) and info.st_uid == 0 and not info.st_mode & 0o022


def _is_node(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.lstat(path).st_mode)
    except OSError:
        return False
