"""The signature of a file: what has to be equal for a path to count as unchanged, by lstat(2) alone."""

from __future__ import annotations

import os

# ino, ctime_ns, size, mode: equal means unchanged (mtime is no proof, dpkg sets it).
Signature = tuple[int, int, int, int]
RACY: Signature = (0, 0, 0, 0)  # in place of a signature: look closely
# The kernel stamps files with a clock that ticks every 4 or 10 ms: what was written as
# lately as this before the copy may be written again without a new ctime.
TICK_NS = 20_000_000


def signature(info: os.stat_result) -> Signature:
    """Return the signature of a file, link or directory: equal means unchanged."""
    return (info.st_ino, info.st_ctime_ns, info.st_size, info.st_mode)
