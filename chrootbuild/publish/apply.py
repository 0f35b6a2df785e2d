"""Applies one step of a publish, idempotently: a build may be killed between any two calls.

A replaced directory ends in the staging under the same name, and is examined
there: with a foreign file in it, it is moved back.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from chrootbuild.errors import Failure
from chrootbuild.publish.step import Operation
from chrootbuild.publish.swap import bring_back, foreign_in
from chrootbuild.root.stage import Stage
from chrootbuild.root.tree import Root
from chrootbuild.system import syscalls
from chrootbuild.system.rights.user import privileged
from chrootbuild.text import kind_of

_PAUSE = 0.2  # seconds, from execve(2) to the opening of the last library
_BUSY = "something in the root changes it; stop it and build again"


def apply(root: Root, stage: Stage, op: Operation) -> bool:
    """Apply one step; return False where a directory stays, because it is not empty. Raises Failure."""
    match op.kind:
        case "directory":
            info = root.lstat(op.path)
            if info is not None and stat.S_ISDIR(info.st_mode):
                root.set_directory(op.path, op.mode, (op.uid, op.gid) if privileged() else None)
            else:
                _put(root, stage, op)
        case "put":
            _put(root, stage, op)
        case "exchange":
            _exchange(root, stage, op)
        case "seed":
            _plant(root, stage, op)
        case "pause":
            time.sleep(_PAUSE)
        case "unlink":
            info = root.lstat(op.path)
            if info is not None and (info.st_ino, info.st_ctime_ns) == (op.ino, op.ctime):
                root.unlink(op.path)
        case _:
            info = root.lstat(op.path)
            return info is None or info.st_ino != op.ino or root.rmdir(op.path)
    return True


def staged_as(stage: Stage, name: str) -> os.stat_result | None:
    """Return the stat of a staged name; None if absent (by now)."""
    try:
        return os.stat(name, dir_fd=stage.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _put(root: Root, stage: Stage, op: Operation) -> None:
    """Rename a staged artifact to its place, over any existing one."""
    mine = staged_as(stage, op.name)
    if mine is None:
        return  # done before we were killed
    if mine.st_ino == op.ino:
        _rename(root, stage, op, mine)
    _look_after(root, stage, op)


def _rename(root: Root, stage: Stage, op: Operation, mine: os.stat_result) -> None:
    fd, leaf = root.parent(op.path)
    there = root.lstat(op.path)
    root.forget(op.path)
    try:
        if there is None or not (stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(mine.st_mode)):
            os.rename(op.name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
        else:
            # Directory over another type, or the other way round: swap the two, so that the path
            # is never absent. The old one is removed with the stage.
            syscalls.renameat2(stage.fd, op.name, fd, leaf, syscalls.RENAME_EXCHANGE)
    except OSError as error:
        raise _cannot(root, op, error, there) from None


def _look_after(root: Root, stage: Stage, op: Operation) -> None:
    """Move a swapped-out directory back where a foreign file is in it (law 6)."""
    old = staged_as(stage, op.name)
    if old is None or not stat.S_ISDIR(old.st_mode) or old.st_ino == op.ino:
        return
    try:
        _, foreign = next(foreign_in(stage.fd, op.name, op.path, frozenset(op.ours)), ("", ""))
        if not foreign:
            return
        fd, leaf = root.parent(op.path)
        syscalls.renameat2(stage.fd, op.name, fd, leaf, syscalls.RENAME_EXCHANGE)
    except OSError as error:
        raise _cannot(root, op, error, old) from None
    raise Failure(
        f"cannot install {root.real(op.path)}: a directory is there, and {root.real(foreign)} in it is not ours",
        hint="move it away, then build again",
    )


def _plant(root: Root, stage: Stage, op: Operation) -> None:
    """Put a seed where nothing is (RENAME_NOREPLACE); a path that the daemon made first stays."""
    mine = staged_as(stage, op.name)
    if mine is None or root.lstat(op.path) is not None:
        return
    fd, leaf = root.parent(op.path)
    try:
        try:
            syscalls.renameat2(stage.fd, op.name, fd, leaf, syscalls.RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            os.rename(op.name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
    except FileExistsError:
        return
    except OSError as error:
        raise _cannot(root, op, error, None) from None


def _exchange(root: Root, stage: Stage, op: Operation) -> None:
    mine = staged_as(stage, op.name)
    if mine is None:
        return
    if mine.st_ino == op.ino:
        there = root.lstat(op.path)
        fd, leaf = root.parent(op.path)
        root.forget(op.path)
        try:
            if there is None:
                os.rename(op.name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
                return
            syscalls.renameat2(stage.fd, op.name, fd, leaf, syscalls.RENAME_EXCHANGE)
        except OSError as error:
            raise _cannot(root, op, error, there) from None
    old = staged_as(stage, op.name)
    if old is not None and stat.S_ISDIR(old.st_mode):
        bring_back(root, stage, op)


def _cannot(root: Root, op: Operation, error: OSError, there: os.stat_result | None) -> Failure:
    hint = _BUSY
    if error.errno == errno.EBUSY:
        hint = "a filesystem is mounted there: unmount it, or leave the path out of the target"
    now = "" if there is None else f" (there is {kind_of(there.st_mode)})"
    return Failure(f"cannot install {root.real(op.path)}: {error.strerror}{now}", hint=hint)
