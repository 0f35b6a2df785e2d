"""Processes that live in a root: found by /proc/PID/root and their maps, never by name."""

from __future__ import annotations

import os
from collections.abc import Iterable

from chrootbuild.report import printable

__all__ = ["processes_in", "running_on"]


def processes_in(root: str) -> list[tuple[int, str]]:
    """Return (pid, name) of every process whose root directory is ``root``; those we may not see are left out."""
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
    """Return the inode numbers of the files that a process has mapped: proc_pid_maps(5)."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return {fields[4] for line in file if len(fields := line.split(maxsplit=5)) > 4}
    except OSError:
        return set()
