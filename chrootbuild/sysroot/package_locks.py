"""Locks of the package managers on a sysroot: tested, never taken.

A lock held by us for a moment could make the package manager fail. Locks of fcntl(2) are
tested with F_GETLK; those of flock(2), and those that we may not open, are looked up in
/proc/locks (proc(5)). pkg(8) stores the holder's pid in its database; it waits while that is read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import sys
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from chrootbuild.errors import TryAgain
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.signature import Signature, signature

_PAUSE = 0.1  # seconds between two looks


@dataclass(frozen=True, slots=True)
class _Lock:
    program: str
    path: str
    how: str  # fcntl, flock, exists: the file exists only while locked, or table: of pkg's database


# dpkg(1) and apt-get(8): the frontend's lock is held for a whole run of apt, also between two of dpkg.
# rpm: lib/rpmlock.c. pacman: db.lck of libalpm. apk: src/database.c, its place before and since 3.0.
# pkg: libpkg/pkgdb.c, pkgdb_upgrade_lock.
_LOCKS = (
    _Lock("dpkg", "/var/lib/dpkg/lock-frontend", "fcntl"),
    _Lock("dpkg", "/var/lib/dpkg/lock", "fcntl"),
    _Lock("rpm", "/var/lib/rpm/.rpm.lock", "fcntl"),
    _Lock("rpm", "/usr/lib/sysimage/rpm/.rpm.lock", "fcntl"),
    _Lock("pacman", "/var/lib/pacman/db.lck", "exists"),
    _Lock("apk", "/lib/apk/db/lock", "flock"),
    _Lock("apk", "/run/apk/db.lock", "flock"),
    _Lock("pkg", "/var/db/pkg/local.sqlite", "table"),
)
# Replaced or rewritten by each run.
_DATABASES = (
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/Packages",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/pacman/local",
    "/lib/apk/db/installed",
    "/var/db/pkg/local.sqlite",
)
# struct flock of fcntl(2) on Linux with 64-bit offsets: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


def at_work(top: str = "/") -> str:
    """Return the package manager at work on a sysroot, "dpkg (process 4711)"; empty when none is."""
    sysroot = Sysroot(top)
    for lock in _LOCKS:
        found = sysroot.find(lock.path)
        if found is None or not stat.S_ISREG(found[1].st_mode):
            continue
        holder = _holder(sysroot, lock, *found)
        if holder is not None:
            return f"{lock.program} (process {holder})" if holder > 0 else lock.program
    return ""


def databases(top: str = "/") -> list[str]:
    """Return the real paths of the package managers' databases that exist."""
    sysroot = Sysroot(top)
    return [sysroot.real(found[0]) for path in _DATABASES if (found := sysroot.find(path)) is not None]


def state_of(top: str = "/") -> tuple[Signature | None, ...]:
    """Return signatures that change with every run of a package manager."""
    sysroot = Sysroot(top)
    found = [sysroot.stat(path) for path in _DATABASES]
    return tuple(None if info is None else signature(info) for info in found)


def wait_until_idle(
    top: str, until: float, *, name: str = "", stopped: Callable[[], bool] = lambda: False
) -> None:
    """Wait until no package manager is at work, at most until ``until`` on time.monotonic().

    Returns early once ``stopped`` is true. Raises TryAgain, naming the package manager; ``name``
    is the waiting target.
    """
    while (who := at_work(top)) and not stopped():
        if time.monotonic() >= until:
            raise TryAgain(
                f"refresh {name or 'now'}",
                f"{who} is at work",
                holder=who,
                hint="wait until it is done, or wait longer: chrootbuild refresh --wait SECONDS",
            )
        time.sleep(_PAUSE)


def _holder(sysroot: Sysroot, lock: _Lock, path: str, info: os.stat_result) -> int | None:
    """Return the pid of a lock's holder, 0 where it is unknown, None where the lock is free."""
    if lock.how == "exists":
        return 0
    if lock.how == "table":
        return _written_down(sysroot.real(path))
    if lock.how == "fcntl" and sys.platform.startswith("linux"):
        try:
            with sysroot.open(path) as file:
                return _asked(file.fileno())
        except (Unreadable, OSError, ValueError):
            pass
    return _listed(info, "POSIX" if lock.how == "fcntl" else "FLOCK")


def _written_down(path: str) -> int | None:
    """Return the pid with pkg's exclusive lock, from its database; 0: unknown, None: free.

    As for pkg itself, a dead process holds nothing.
    """
    import sqlite3

    place = f"file:{urllib.parse.quote(os.fsencode(path))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=0)) as database:
            if database.execute("SELECT max(exclusive) FROM pkg_lock").fetchone() != (1,):
                return None
            pids = [pid for (pid,) in database.execute("SELECT pid FROM pkg_lock_pid")]
    except sqlite3.Error as error:
        return 0 if error.sqlite_errorcode == sqlite3.SQLITE_BUSY else None
    return next((pid for pid in pids if isinstance(pid, int) and _lives(pid)), None)


def _lives(pid: int) -> bool:
    try:
        os.kill(max(pid, 1), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return pid > 0


def _asked(fd: int) -> int | None:
    """Return the pid that blocks a read lock (F_GETLK): read locks, of mere queries, do not."""
    question = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    try:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, question)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOLCK, errno.ENOSYS):
            return None  # a filesystem without locks
        raise
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def _listed(info: os.stat_result, kind: str) -> int | None:
    """Look a write lock up in /proc/locks: "1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 0 EOF".

    Only the inode is compared: the device there is not that of stat(2) on overlayfs and btrfs.
    """
    inode = f":{info.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            for line in file:
                fields = line.split()
                if (
                    len(fields) > 5
                    and fields[1] == kind
                    and fields[3] == "WRITE"
                    and fields[5].endswith(inode)
                ):
                    return max(int(fields[4]), 0)
    except (OSError, ValueError):
        pass
    return None
