"""Processes of a root, from /proc: their users, capabilities and open files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace

from chrootbuild.audit.facts import Mount, Process
from chrootbuild.system.mounts import Mounted, mounts_below, read_mounts, source_of
from chrootbuild.system.processes import processes_in
from chrootbuild.text import printable

_MANY = 4096  # open files examined of one process


def processes(root: str) -> tuple[Process, ...]:
    """Return the visible processes of a root; none without /proc."""
    try:
        found = processes_in(root)
    except OSError:
        return ()
    return tuple(filter(None, (_process(pid, name, root) for pid, name in found)))


def _process(pid: int, name: str, root: str) -> Process | None:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        uid = int(status["Uid"].split()[1])
        groups = frozenset(map(int, (status["Gid"].split()[1], *status["Groups"].split())))
        capabilities = int(status["CapPrm"], 16) | int(status["CapEff"], 16)
    except (OSError, ValueError, KeyError, IndexError):
        return None  # it has ended
    if not _same_namespace(pid, "user"):
        capabilities = 0
    program = _link(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    shares = _same_namespace(pid, "mnt")
    if shares and not _is_in(program, root):
        program = ""
    return Process(
        pid,
        name,
        uid,
        capabilities,
        program[len(root) :] if shares else program,
        groups,
        tuple(_outside(pid, root)) if shares else (),
    )


def _outside(pid: int, root: str) -> Iterator[str]:
    """Yield a process's directories outside the root; its paths are valid only in our mount namespace."""
    here = _link(f"/proc/{pid}/cwd")
    if here and not _is_in(here, root):
        yield f"its working directory is {printable(here)}"
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")[:_MANY]
    except OSError:
        return
    for number in numbers:
        path = _link(f"/proc/{pid}/fd/{number}")
        if not path.startswith("/") or _is_in(path, root):
            continue
        try:
            mode = os.stat(f"/proc/{pid}/fd/{number}").st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            yield f"it has {printable(path)} open"


def mounts_in(root: str, found: tuple[Process, ...]) -> tuple[Mount, ...]:
    """Return the mounts in a root, in our mount namespace and in those of its processes."""
    ours = tuple(read_mounts(_text("/proc/self/mountinfo")))
    mounts = {mount.path: mount for mount in _mounts(ours, root, ours, root)}
    seen = set()
    for process in found:
        view = _link(f"/proc/{process.pid}/ns/mnt")
        if view and view not in seen and view != _link("/proc/self/ns/mnt"):
            seen.add(view)
            text = _text(f"/proc/{process.pid}/mountinfo")
            for mount in _mounts(tuple(read_mounts(text)), "/", ours, root):
                mounts.setdefault(mount.path, replace(mount, private=True))
    return tuple(mounts.values())


def _mounts(mounts: tuple[Mounted, ...], top: str, ours: tuple[Mounted, ...], root: str) -> list[Mount]:
    """Return the mounts below ``top``, with paths in the root, and the host's directory that each shows."""
    start = len(top.rstrip("/"))
    outside = [mount for mount in ours if not _is_in(mount.path, root)]
    found = []
    for path, mount in mounts_below(mounts, top).items():
        source = source_of(outside, mount)
        if _is_in(source, root):
            source = ""  # a directory of the root itself
        found.append(Mount(path[start:], mount.type, mount.writable, source=source))
    return found


def _same_namespace(pid: int, kind: str) -> bool:
    return _link(f"/proc/{pid}/ns/{kind}") == _link(f"/proc/self/ns/{kind}")


def _is_in(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/") or path == f"{root} (deleted)"


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
