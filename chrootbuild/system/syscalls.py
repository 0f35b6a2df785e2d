"""Linux system calls that Python's os module lacks, as functions that raise OSError.

ctypes is imported by the first call, so that importing this module costs nothing. Where the
C library has a function it is used; the others go through syscall(2) by the numbers that all
architectures but Alpha share (include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from chrootbuild.system.libc import call_by_number, encoded, errno_of_thread, error, function, libc, syscall

# For openat2(2): include/uapi/linux/openat2.h.
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# For renameat2(2): include/uapi/linux/fs.h.
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

# For unshare(2): include/uapi/linux/sched.h.
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# For the mount calls: include/uapi/linux/mount.h.
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOSYMFOLLOW = 256
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000
AT_RECURSIVE = 0x8000

_AT_FDCWD, _AT_SYMLINK_NOFOLLOW = -100, 0x100  # include/uapi/linux/fcntl.h
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_EMPTY_PATH = 0x1000
# struct statx of include/uapi/linux/stat.h: its size, and the offset of stx_mnt_id.
_STATX_SIZE, _STX_MNT_ID, _STATX_MNT_ID = 256, 0x90, 0x1000

# For prctl(2): include/uapi/linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24

_CAPABILITY_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
_FUNCTIONS = (
    "renameat2",
    "syncfs",
    "unshare",
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "prctl",
    "capset",
    "statx",
)


def available(name: str) -> bool:
    """Return whether the kernel has the system call ``name`` (else ENOSYS)."""
    if not sys.platform.startswith("linux"):
        return False
    if name in _FUNCTIONS:
        return hasattr(libc(), name)
    # Invalid arguments: a kernel that has the call returns EINVAL or EFAULT.
    syscall(name, -1, None, None, 0)
    return errno_of_thread() not in (errno.ENOSYS, errno.EPERM)


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` below a directory descriptor and return a new close-on-exec descriptor.

    ``resolve`` is made of RESOLVE_*: see openat2(2). ``mode`` only counts with O_CREAT or
    O_TMPFILE. Raises OSError: ELOOP for a forbidden link, EXDEV for an escape,
    ENOSYS before Linux 5.6.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    name = encoded(path)
    while True:
        result = syscall("openat2", dir_fd, name, how, len(how))
        if result >= 0:
            return result
        # EAGAIN: a concurrent rename or mount kept the kernel from being sure.
        if errno_of_thread() not in (errno.EAGAIN, errno.EINTR):
            raise error(path)


def renameat2(old_fd: int, old: str, new_fd: int, new: str, flags: int) -> None:
    """Rename with RENAME_EXCHANGE or RENAME_NOREPLACE, see rename(2).

    Raises OSError: EINVAL where the filesystem knows no such flag, EEXIST for NOREPLACE,
    ENOENT for EXCHANGE when either is absent.
    """
    if function("renameat2")(old_fd, encoded(old), new_fd, encoded(new), flags):
        raise error(old, new)


def syncfs(fd: int) -> None:
    """Sync the filesystem of ``fd`` to disk. Raises OSError: EIO, ENOSPC, EDQUOT."""
    if function("syncfs")(fd):
        raise error()


def unshare(flags: int) -> None:
    """Move the caller into new namespaces (CLONE_NEW*), see namespaces(7). Raises OSError: EPERM, ENOSPC."""
    if function("unshare")(flags):
        raise error()


def setns(fd: int, kind: int) -> None:
    """Join the namespace that ``fd`` refers to; ``kind`` is its CLONE_NEW*. Raises OSError."""
    if function("setns")(fd, kind):
        raise error()


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a filesystem, bind a tree, or change a mount. Raises OSError naming ``target``."""
    if function("mount")(encoded(source), encoded(target), encoded(kind), flags, encoded(options)):
        raise error(target)


def umount2(target: str, flags: int) -> None:
    """Unmount ``target``. Raises OSError naming it."""
    if function("umount2")(encoded(target), flags):
        raise error(target)


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root of this mount namespace, and move the old one to ``old``. Raises OSError."""
    if function("pivot_root")(encoded(new), encoded(old)):
        raise error(new)


def mount_setattr(path: str, flags: int, attributes: int, propagation: int) -> None:
    """Set MOUNT_ATTR_* and the propagation (MS_PRIVATE) of a mount.

    With AT_RECURSIVE all mounts below it change too, or none. Raises OSError: ENOSYS before
    Linux 5.12.
    """
    attributes_set = struct.pack("=QQQQ", attributes, 0, propagation, 0)
    if syscall("mount_setattr", _AT_FDCWD, encoded(path), flags, attributes_set, len(attributes_set)) < 0:
        raise error(path)


def clone_mount(path: str, *, follow: bool = True) -> int:
    """Return a descriptor of a detached bind mount of ``path``: open_tree(2).

    ``path`` may be a file, and without ``follow`` a link itself. Raises OSError: ENOSYS before Linux 5.2.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (0 if follow else _AT_SYMLINK_NOFOLLOW)
    result = syscall("open_tree", _AT_FDCWD, encoded(path), flags)
    if result < 0:
        raise error(path)
    return result


def clone_tree(fd: int) -> int:
    """Return a descriptor of a copy of the directory ``fd`` with all that is mounted below it: open_tree(2).

    Raises OSError.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE | _AT_EMPTY_PATH
    result = syscall("open_tree", fd, b"", flags)
    if result < 0:
        raise error()
    return result


def mount_id(fd: int) -> int:
    """Return the id of the mount that a descriptor's file is on: statx(2). Raises OSError."""
    import ctypes

    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    if function("statx")(fd, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, buffer):
        raise error()
    return int(struct.unpack_from("=Q", buffer, _STX_MNT_ID)[0])


def attach_mount(fd: int, path: str) -> None:
    """Attach a mount of :func:`clone_mount` at ``path``, a link at its end not followed: move_mount(2)."""
    if syscall("move_mount", fd, b"", _AT_FDCWD, encoded(path), _MOVE_MOUNT_F_EMPTY_PATH) < 0:
        raise error(path)


def prctl(option: int, argument: int) -> int:
    """Control an attribute of the calling thread, by one argument. Raises OSError."""
    result = int(function("prctl")(option, argument, 0, 0, 0))
    if result < 0:
        raise error()
    return result


def set_filter(program: bytes) -> None:
    """Set a seccomp(2) filter, instructions of classic BPF, for this thread and its children.

    Raises OSError: EACCES without CAP_SYS_ADMIN in the user namespace and no_new_privs.
    """
    import ctypes

    steps = ctypes.create_string_buffer(program, len(program))
    code = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))  # struct sock_fprog
    text = ctypes.create_string_buffer(code, len(code))
    if function("prctl")(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(text), 0, 0):
        raise error()


def by_number(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call by the machine's own number, and return its result. Raises OSError."""
    result = call_by_number(number, *arguments)
    if result < 0:
        raise error()
    return result


def capset(permitted: int, inheritable: int) -> None:
    """Set this thread's capabilities from bit sets, effective as permitted. Raises OSError."""
    low, high = 0xFFFFFFFF, 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    words = (permitted & low, permitted & low, inheritable & low)
    more = (permitted >> high, permitted >> high, inheritable >> high)
    if function("capset")(header, struct.pack("=6I", *words, *more)):
        raise error()
