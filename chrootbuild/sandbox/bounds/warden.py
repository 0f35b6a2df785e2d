"""The warden of a box: a process that looks at what the box takes, and kills all of it where that is too much.

It lives in the pid namespace of the host view, which shows every process of the box. With root's
rights it has a real-time priority, so that a swarm does not keep it from looking.
Sources: proc_pid_statm(5), proc_pid_smaps(5), proc_meminfo(5), kill(2).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NoReturn

from chrootbuild.sandbox.view.overlay import below
from chrootbuild.target.model import Limits

_TICK = 0.02  # seconds between two looks at the number of processes
_SHARE = 5  # the other looks take one part in so many of the time
_PAGE = os.sysconf("SC_PAGESIZE")
_SHM = "/dev/shm"  # noqa: S108 - the box's own


@dataclass(frozen=True, slots=True)
class Places:
    """What a box can fill, open (O_PATH)."""

    scratch: int  # the tmpfs of all upper layers, outputs and traces
    logs: int
    others: tuple[int, ...]  # file systems of limits.files bytes each
    holder: str  # the pid of the root's first process


def open_places(scratch: str, root: str, holder: int, *, shm: bool) -> Places:
    """Open what a box can fill; ``shm``: the inside view has a /dev/shm of its own."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    others = [os.open(root, flags)]
    if os.path.ismount(_SHM):
        others.append(os.open(_SHM, flags))
    if shm:
        others.append(os.open(below(f"/proc/{holder}/root/.", _SHM), flags))
    return Places(os.open(scratch, flags), os.open(f"{scratch}/log", flags), tuple(others), str(holder))


def start_warden(limits: Limits, places: Places) -> int:
    """Start the warden in this pid namespace; return the pipe in which it names the key of the limit that was hit."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    first = os.getpid()
    if os.fork() == 0:
        try:
            keep = (tell, places.scratch, places.logs, *places.others)
            _close_all_but(keep)
            _watch(limits, places, tell, first)
        finally:
            os._exit(1)
    os.close(tell)
    os.set_blocking(told, False)
    return told


def full(limits: Limits, places: Places) -> str:
    """Return the key of the limit that the box's files exceed, else nothing."""
    trace = _traces(places.logs)
    if trace > limits.trace:
        return "trace"
    usage = os.fstatvfs(places.scratch)
    if (usage.f_blocks - usage.f_bfree) * usage.f_frsize - trace > limits.files:
        return "files"
    used_up = any(_is_full(fd) for fd in (places.scratch, *places.others))
    return "files" if used_up else ""


def _watch(limits: Limits, places: Places, tell: int, first: int) -> NoReturn:
    with contextlib.suppress(OSError):  # needs CAP_SYS_NICE
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    ours = {str(first), str(os.getpid()), places.holder}
    start = _meminfo("Shmem")
    due, hit = 0.0, ""
    while not hit:
        with contextlib.suppress(
            OSError, ValueError
        ):  # out of descriptors: what the kernel bounds stays bounded
            pids = {name for name in os.listdir("/proc") if name.isdigit()} - ours
            begun = time.monotonic()
            if len(pids) > limits.processes:
                hit = "processes"
            elif begun >= due:
                hit = full(limits, places) or _crowded(limits, pids) or _greedy(limits, pids, start)
                due = begun + _SHARE * (time.monotonic() - begun)
        if not hit:
            time.sleep(_TICK)
    os.write(tell, hit.encode())
    while os.getppid() == first:  # until the box is ended: nothing is to be started any more
        with contextlib.suppress(ProcessLookupError):  # nobody is left at this moment
            # All but the first process and this one; the root's first one takes all inside.
            os.kill(-1, signal.SIGKILL)
        time.sleep(_TICK)
    os._exit(0)


def _crowded(limits: Limits, pids: Collection[str]) -> str:
    """Count the threads."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            count += os.stat(f"/proc/{pid}/task").st_nlink - 2
    return "processes" if count > limits.processes else ""


def _greedy(limits: Limits, pids: Collection[str], start: int) -> str:
    """Add up the memory: quickly, what is shared as often as it is used; exactly only where that is too much."""
    quick = sum(_resident(pid) for pid in pids)
    if (
        quick > limits.memory
        and sum(_proportional(pid) for pid in pids if not _is_fork(pid)) > limits.memory
    ):
        return "memory"
    if _meminfo("Shmem") - start > limits.memory and _unmapped(pids) > limits.memory:
        return "memory"
    return ""


def _is_fork(pid: str) -> bool:
    """Return whether a process is a fork of chrootbuild that becomes a program in a moment: its memory is ours.

    No program of the root can pass for one: its executable is another file.
    """
    try:
        mine, other = os.stat("/proc/self/exe"), os.stat(f"/proc/{pid}/exe")
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino) and _text(
        f"/proc/{pid}/cmdline"
    ) == _text("/proc/self/cmdline")


def _resident(pid: str) -> int:
    return int(_text(f"/proc/{pid}/statm").partition(" ")[2].partition(" ")[0] or 0) * _PAGE


def _proportional(pid: str) -> int:
    """Return the bytes of a process, of what it shares its part; where that cannot be read, all of it."""
    text = _text(f"/proc/{pid}/smaps_rollup")
    fields = dict(line.split(":", 1) for line in text.splitlines()[1:] if ":" in line)
    if "Pss" not in fields:
        return _resident(pid)
    return sum(int(fields[key].split()[0]) << 10 for key in ("Pss", "SwapPss") if key in fields)


def _unmapped(pids: Collection[str]) -> int:
    """Return the bytes in files without a name that processes hold open: memfd_create(2)."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{name}"
                if os.readlink(path).startswith("/memfd:"):
                    info = os.stat(path)
                    found[info.st_dev, info.st_ino] = info.st_blocks * 512
    return sum(found.values())


def _traces(logs: int) -> int:
    """Return the bytes of all traces."""
    total = 0
    for name in os.listdir(f"/proc/self/fd/{logs}"):
        if name.endswith(".strace"):
            with contextlib.suppress(OSError):
                total += os.stat(name, dir_fd=logs, follow_symlinks=False).st_blocks * 512
    return total


def _is_full(fd: int) -> bool:
    usage = os.fstatvfs(fd)
    return bool(usage.f_blocks and usage.f_files) and (usage.f_bfree == 0 or usage.f_ffree == 0)


def _meminfo(key: str) -> int:
    """Return a line of /proc/meminfo in bytes."""
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    return 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # it has ended


def _close_all_but(keep: Iterable[int]) -> None:
    low = 0
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 20)
