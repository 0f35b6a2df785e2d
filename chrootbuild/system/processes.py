"""Processes of a root: found by /proc/PID/root and their maps, never by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from chrootbuild.text import printable


def processes_in(root: str) -> list[tuple[int, str]]:
    """Return (pid, name) of every visible process whose root directory is ``root``."""
    try:
        wanted = os.stat(root)
    except OSError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            here = os.stat(f"/proc/{entry}/root")
            if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino):
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                    found.append((int(entry), printable(file.read().strip())))
        except OSError:
            continue
    return sorted(found)


def running_on(root: str, paths: Iterable[str]) -> list[tuple[int, str]]:
    """Return the processes of a root that have one of ``paths`` (in the root) mapped."""
    inodes = set()
    for path in paths:
        try:
            info = os.stat(root + path, follow_symlinks=False)
        except OSError:
            continue
        inodes.add(str(info.st_ino))
    if not inodes:
        return []
    return [(pid, name) for pid, name in processes_in(root) if _maps(pid) & inodes]


def _maps(pid: int) -> set[str]:
    """Return the inode numbers of a process's mapped files: proc_pid_maps(5)."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return {fields[4] for line in file if len(fields := line.split(maxsplit=5)) > 4}
    except OSError:
        return set()


# Mapped files without a name, and a program's own temporary ones.
_NO_FILES = ("/memfd:", "/dev/", "/SYSV", "/[")


def running_outdated(
    root: str, paths: Iterable[str], in_place: Callable[[], Iterable[int]]
) -> list[tuple[int, str]]:
    """Return the processes of a root that map a replaced or removed file.

    ``paths`` are those in the root; any other deleted program or library counts as well.
    ``in_place`` returns the inodes of the installed files: one linked into a new
    directory lost its old name, but is the same file. The maps of a process in a mount
    namespace of its own show paths in the root: proc_pid_maps(5).
    """
    known = set(paths)
    place = os.path.realpath(root)
    found = {(pid, name): _deleted(pid) for pid, name in processes_in(root)}
    if not any(found.values()):
        return []
    there = set(map(str, in_place()))
    return [
        process
        for process, files in found.items()
        if any(
            inode not in there and _is_outdated(place, known, path, rights) for path, rights, inode in files
        )
    ]


def _is_outdated(root: str, known: set[str], path: str, rights: str) -> bool:
    if path.startswith(_NO_FILES):
        return False
    return "x" in rights or ".chrootbuild/" in path or path.removeprefix(root) in known


def _deleted(pid: int) -> list[tuple[str, str, str]]:
    """Return (path, permissions, inode) of a process's mapped files that are deleted."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(maxsplit=5) for line in file if line.endswith(" (deleted)\n")]
    except OSError:
        return []
    return [(line[5].removesuffix(" (deleted)"), line[1], line[4]) for line in lines if len(line) > 5]


def tracer_of(pid: int) -> int:
    """Return the pid of a process's tracer (proc_pid_status(5)); 0 if it has none, or is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("TracerPid:"))
    except (OSError, StopIteration):
        return 0
