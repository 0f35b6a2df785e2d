"""What tells whether a file is unchanged: its signature, by lstat(2) alone, else its content and attributes."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass

# ino, ctime_ns, size, mode: equal means unchanged (mtime is no proof, dpkg sets it).
Signature = tuple[int, int, int, int]
RACY: Signature = (0, 0, 0, 0)  # in place of a signature: look closely
# The kernel stamps files with a clock that ticks every 4 or 10 ms: what was written as
# lately as this before the copy may be written again without a new ctime.
TICK_NS = 20_000_000
# Attributes that the system sets by itself are no drift.
_SYSTEM_XATTRS = {"security.selinux", "security.ima", "security.evm", "security.apparmor"}


@dataclass(frozen=True, slots=True)
class Observed:
    """A regular file of a root as read: its content's digest and its extended attributes.

    ``stat`` is taken after the read: equal to one from before, the file did not change meanwhile.
    """

    stat: os.stat_result
    sha256: str
    xattrs: tuple[tuple[str, bytes], ...]


def signature(info: os.stat_result) -> Signature:
    """Return the signature of a file, link or directory: equal means unchanged."""
    return (info.st_ino, info.st_ctime_ns, info.st_size, info.st_mode)


def root_signature(info: os.stat_result) -> Signature:
    """Return the signature of an installed path; of a directory without times, which the daemon changes."""
    if stat.S_ISDIR(info.st_mode):
        return (info.st_ino, 0, 0, info.st_mode)
    return signature(info)


def settled_signature(info: os.stat_result) -> Signature:
    """Return ``root_signature``, or zeros where it is racy.

    Two writes within one tick of the kernel's clock leave the same ctime: a path
    that others may write, and that has just changed, is compared again.
    """
    ours = info.st_uid == os.geteuid() and not info.st_mode & 0o022
    if ours or not stat.S_ISREG(info.st_mode) or info.st_ctime_ns < time.time_ns() - TICK_NS:
        return root_signature(info)
    return RACY


def xattrs_of(fd: int) -> tuple[tuple[str, bytes], ...]:
    """Return a file's extended attributes, without those that the system sets by itself."""
    try:
        names = os.listxattr(fd)
    except (OSError, AttributeError):  # a filesystem, or a system, without them
        return ()
    return tuple((name, os.getxattr(fd, name)) for name in sorted(names) if name not in _SYSTEM_XATTRS)
