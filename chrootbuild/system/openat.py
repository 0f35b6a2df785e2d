"""Opening and removing below a directory descriptor: no link is followed and no mount crossed.

A mount is told by its mount ID, not its device number: a bind mount of the same
filesystem has the same one, and its content belongs to somebody else.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat

from chrootbuild.system import syscalls

STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = (
    syscalls.RESOLVE_BENEATH
    | syscalls.RESOLVE_NO_SYMLINKS
    | syscalls.RESOLVE_NO_XDEV
    | syscalls.RESOLVE_NO_MAGICLINKS
)
# Linux before 5.6, a seccomp filter that does not know openat2, a path longer than PATH_MAX.
_BY_STEPS = (errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG)
_TRIES = 100  # for a directory in which somebody creates names while it is removed


def open_beneath(top: int, path: str, flags: int = STEP) -> int:
    """Open a relative path below a directory descriptor: openat2(2), else one component at a time.

    Raises OSError: ELOOP or ENOTDIR for a link on the way, EXDEV where something is mounted.
    """
    try:
        return syscalls.openat2(top, path, flags | os.O_NOFOLLOW, _RESOLVE)
    except OSError as error:
        if error.errno not in _BY_STEPS:
            raise
    return _step_by_step(top, path, flags)


def _step_by_step(top: int, path: str, flags: int) -> int:
    mount = _mount_of(top)
    *parents, name = path.split("/")
    here = os.dup(top)
    try:
        for part, how in [*((part, STEP) for part in parents), (name, flags | os.O_NOFOLLOW)]:
            deeper = os.open(part, how | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = deeper
            if _mount_of(here) != mount:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    except BaseException:
        os.close(here)
        raise
    return here


def _mount_of(fd: int) -> object:
    """Return the mount ID of a descriptor (proc_pid_fdinfo(5)), else its device number."""
    with contextlib.suppress(OSError), open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return line
    return os.fstat(fd).st_dev


def remove_tree(directory: int, name: str) -> None:
    """Remove a name and all below it; raises OSError, EXDEV or EBUSY where something is mounted in it.

    Deeper directories are moved up before they are removed: three descriptors
    and short paths suffice at any depth.
    """
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=directory)
        return
    top = open_beneath(directory, name)
    try:
        _remove_below(top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=directory)


def _remove_below(top: int) -> None:
    numbers, tries = itertools.count(), 0
    # A directory moved up may take the name of an empty one already queued: a dict keeps one.
    waiting = dict.fromkeys(_remove_files(top))
    while waiting:
        child, _ = waiting.popitem()
        fd = open_beneath(top, child)
        try:
            for deeper in _remove_files(fd):
                waiting[_move_up(fd, deeper, top, numbers)] = None
        finally:
            os.close(fd)
        try:
            os.rmdir(child, dir_fd=top)
        except OSError as error:
            tries += 1
            if error.errno != errno.ENOTEMPTY or tries > _TRIES:
                raise
            waiting[child] = None


def _remove_files(fd: int) -> list[str]:
    """Remove all names but directories, and return the directories."""
    if os.geteuid() != 0:
        os.fchmod(fd, 0o700)  # without root a directory may forbid it to its owner
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
    return [name for name, is_directory in found if is_directory]


def _move_up(fd: int, name: str, top: int, numbers: itertools.count[int]) -> str:
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=fd)  # its ".." is going to change
    while True:
        new = f".{next(numbers)}"
        try:
            os.rename(name, new, src_dir_fd=fd, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return new
