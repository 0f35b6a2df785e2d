"""The root of a mount namespace, made what this process sees as /, where it runs in a chroot(2).

A process that joins a mount namespace by setns(2) stands at the root of that namespace, whatever chroot(2) or
pivot_root(2) the others in it had: in a rescue system, schroot(1) or an installer that would be the
outer system. Sources: setns(2), mount_namespaces(7), open_tree(2), move_mount(2).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from chrootbuild.errors import Failure
from chrootbuild.system import syscalls


class Place(NamedTuple):
    """A directory, told from every other one of this machine; a bind mount of it counts as another."""

    device: int
    inode: int
    mount: int  # its mount's id: statx(2), STATX_MNT_ID


def place_of(path: str) -> Place:
    """Return the place of a directory; raises OSError."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _place(fd)
    finally:
        os.close(fd)


def own_root(task: str) -> None:
    """Make / the root of the caller's mount namespace, which has to be a private copy: unshare(2).

    Out of a chroot(2) nothing is changed. In one, its tree is copied and mounted over the namespace's root:
    from then on setns(2) leads there. Raises Failure, "cannot TASK", where that cannot be.
    """
    top = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        wanted = _place(top)
        _join_own_namespace()
        if place_of("/") == wanted:
            return
        syscalls.mount_setattr("/", syscalls.AT_RECURSIVE, 0, syscalls.MS_PRIVATE)
        tree = syscalls.clone_tree(top)
        try:
            syscalls.attach_mount(tree, "/")
            os.fchdir(tree)
            os.chroot(".")
            os.chdir("/")
        finally:
            os.close(tree)
        _join_own_namespace()
        if place_of("/")[:2] != wanted[:2]:
            raise Failure(
                f"cannot {task}: this process is in a chroot(2), and / is not what it was", hint=HINT
            )
    except OSError as error:
        raise chrooted(task, error.strerror or "") from None
    finally:
        os.close(top)


HINT = "run it outside of the chroot, or enter that by pivot_root(2), as systemd-nspawn(1) and podman(1) do"


def chrooted(task: str, why: str) -> Failure:
    """Return the failure of a task that a chroot(2) stands in the way of."""
    return Failure(
        f"cannot {task}: this process is in a chroot(2), and its root cannot be moved: {why}", hint=HINT
    )


def may_be_chrooted() -> bool:
    """Return whether no mount is seen at /: a process in a chroot(2) below a mount point sees none.

    proc_pid_mountinfo(5). A chroot(2) into a mount point itself cannot be told from outside.
    """
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return not any(line.split(b" ")[4] == b"/" for line in file)
    except (OSError, IndexError):
        return False


def _join_own_namespace() -> None:
    """Go to the root of the mount namespace that this process is in: setns(2) sets root and working directory."""
    me = os.pidfd_open(os.getpid())
    try:
        syscalls.setns(me, syscalls.CLONE_NEWNS)
    finally:
        os.close(me)


def _place(fd: int) -> Place:
    info = os.fstat(fd)
    return Place(info.st_dev, info.st_ino, syscalls.mount_id(fd))
