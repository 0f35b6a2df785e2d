"""The bounds that the kernel keeps for a box: tasks, tmpfs, System V shared memory.

None has a name on the host that a killed check would leave behind, as a cgroup has, and none needs
more rights than the box itself. What they cannot bound, or not on this kernel, warden.py watches.
Sources: pid_namespaces(7), sysctl kernel.pid_max (one a pid namespace since Linux 6.14),
ipc_namespaces(7), tmpfs(5), getrlimit(2).
"""

from __future__ import annotations

import contextlib
import os
import resource

from chrootbuild.system import syscalls
from chrootbuild.target.model import Limits

_RESERVED = 300  # RESERVED_PIDS of the kernel: numbers below are given once, and then never again
_OWN_PID_MAX, _OWN_NPROC = (6, 14), (5, 14)  # the kernels whose namespaces count for themselves
_OURS = 16  # tasks of the box itself, of the caller's user as well
_PAGE = 4096
_PROC = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


_HIT = {
    "processes": "the check made more than {} processes and threads",
    "memory": "the check took more than {} of memory",
    "files": "the check wrote more than {} of files",
    "trace": "the check's trace grew beyond {}",
}


def hit(limits: Limits, key: str) -> str:
    """Return what is the matter when the limit of this key was hit, and what to do."""
    value = getattr(limits, key)
    shown = f"{value:,}" if key == "processes" else _size(value)
    return f"{_HIT[key].format(shown)}: raise limits.{key} in [check]"


def _size(value: int) -> str:
    """Return bytes as the target file has them: 2G."""
    unit = 0
    while unit < 4 and value % 1024 == 0:
        value, unit = value // 1024, unit + 1
    return f"{value}{['', 'K', 'M', 'G', 'T'][unit]}" if unit else f"{value:,} bytes"


def room(size: int) -> str:
    """Return the mount options of a tmpfs of so many bytes, and of one inode a page: tmpfs(5)."""
    return f"size={size},nr_inodes={max(1024, size // _PAGE)}"


def bound_pids(limits: Limits) -> None:
    """Bound the tasks of this pid namespace; to be called by its first process.

    Before Linux 6.14 kernel.pid_max is that of the whole machine: it is left as it is.
    """
    if _release() >= _OWN_PID_MAX:
        _set("pid_max", limits.processes + _RESERVED + 2)


def bound_shared_memory(limits: Limits) -> None:
    """Bound the System V shared memory of this IPC namespace, all segments together."""
    _set("shmall", max(1, limits.files // _PAGE))


def bound_user(limits: Limits) -> None:
    """Bound the tasks of this user in this user namespace, for this process and its children.

    Before Linux 5.14 the limit counts the user's tasks on the whole machine: it is left as it is.
    """
    if _release() < _OWN_NPROC:
        return
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = limits.processes + _OURS
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _set(name: str, value: int) -> None:
    """Write a sysctl of this process's own namespaces, through a /proc that only lasts as long; or leave it."""
    with contextlib.suppress(OSError):
        syscalls.mount("proc", "/proc", "proc", _PROC)
        try:
            with open(f"/proc/sys/kernel/{name}", "w", encoding="ascii") as file:
                file.write(str(value))
        finally:
            syscalls.umount2("/proc", syscalls.MNT_DETACH)


def _release() -> tuple[int, ...]:
    numbers = os.uname().release.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())
