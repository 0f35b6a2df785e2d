"""Results of programs in a sandbox: the paths they wrote, and their strace(1) text."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator

from chrootbuild.inside import MARK

__all__ = ["cut_trace", "written"]

_INNER_PID = re.compile(rb"\d+ /\* (\d+) in strace's PID NS \*/")


def written(upper: str, prefix: str, lower: str) -> Iterator[str]:
    """Yield the paths of a root in an overlay's upper directory, without whiteouts.

    ``prefix`` is the overlay's path in the root, ``lower`` the real path of the root. Directories
    are left out where ``lower`` has them. Paths longer than PATH_MAX are skipped.
    """
    stack = [""]
    while stack:
        here = stack.pop()
        for name in _entries(upper + here):
            path = f"{here}/{name}"
            if _is_directory(upper + path):
                stack.append(path)
                if _is_directory(lower + prefix + path):
                    continue
            if not _is_whiteout(upper + path):
                yield prefix + path


def cut_trace(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the program's own lines of a trace, without the calls before its exec.

    Pids are those of strace's pid namespace throughout, also in arguments and results.
    """
    before: set[bytes] = set()
    program, resumes, mark = b"", False, MARK.encode()
    for line in lines:
        pid, _, text = line.partition(b" ")
        if not program:
            before.add(pid)
            if mark in text:
                program, resumes = pid, b"<unfinished" in text
        elif pid == program and resumes:
            resumes = False  # the other half of the mark
        elif pid == program or pid not in before:
            yield _INNER_PID.sub(rb"\1", line)


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _mode(path: str) -> tuple[int, int]:
    """Return the mode and device numbers of a path; zeros where lstat(2) fails."""
    try:
        info = os.lstat(path)
    except OSError:
        return 0, 0
    return info.st_mode, info.st_rdev


def _is_directory(path: str) -> bool:
    return stat.S_ISDIR(_mode(path)[0])


def _is_whiteout(path: str) -> bool:
    """Return whether a path of an upper layer is a whiteout: overlayfs.rst."""
    mode, device = _mode(path)
    return stat.S_ISCHR(mode) and device == 0
