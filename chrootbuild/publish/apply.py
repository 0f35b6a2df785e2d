"""Applies one step of a publish, idempotently: a build may be killed between any two calls.

A directory is replaced by way of ROOT/.chrootbuild, so that it never leaves the root: it
ends there under the staged name, and is examined there: with a foreign file in it, it is
moved back.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from chrootbuild.errors import Failure
from chrootbuild.publish.step import Operation
from chrootbuild.publish.swap import bring_back, foreign_in
from chrootbuild.root.stage import INSIDE, Stage, open_passage
from chrootbuild.root.tree import Root
from chrootbuild.system import syscalls
from chrootbuild.system.openat import remove_tree
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
        if not _is_on_its_way(root, op):
            return  # done before we were killed
    elif mine.st_ino == op.ino:
        there = root.lstat(op.path)
        if there is None or not (stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(mine.st_mode)):
            fd, leaf = root.parent(op.path)
            try:
                os.rename(op.name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
            except OSError as error:
                raise _cannot(root, op, error, there) from None
            return
    # Directory over another type, or the other way round: swap the two, so that the path
    # is never absent. The old one is removed in the passage.
    with open_passage(root, stage) as way:
        place = _swap(root, stage, way, op)
        _look_after(root, place, op)


def _is_on_its_way(root: Root, op: Operation) -> bool:
    """Return whether a build was killed while this was in ROOT/.chrootbuild."""
    return root.lstat(f"/{INSIDE}/{op.name}") is not None


def _swap(root: Root, stage: Stage, way: Stage, op: Operation) -> Stage:
    """Exchange a staged path with what is in the root, within the passage; return where the old one is now.

    What somebody planted in the passage under that name is removed.
    """
    mine = staged_as(stage, op.name)
    if mine is not None and mine.st_ino != op.ino:
        return stage  # exchanged before we were killed, by a chrootbuild that had no passage
    there = root.lstat(op.path)
    fd, leaf = root.parent(op.path)
    root.forget(op.path)
    try:
        if mine is not None and way.fd != stage.fd:
            remove_tree(way.fd, op.name)
            os.rename(op.name, op.name, src_dir_fd=stage.fd, dst_dir_fd=way.fd)
        moved = staged_as(way, op.name)
        if moved is None or moved.st_ino != op.ino:
            return way
        if there is None:
            os.rename(op.name, leaf, src_dir_fd=way.fd, dst_dir_fd=fd)
        else:
            syscalls.renameat2(way.fd, op.name, fd, leaf, syscalls.RENAME_EXCHANGE)
    except OSError as error:
        raise _cannot(root, op, error, there) from None
    return way


def _look_after(root: Root, place: Stage, op: Operation) -> None:
    """Move a swapped-out directory back where a foreign file is in it (law 6)."""
    old = staged_as(place, op.name)
    if old is None or not stat.S_ISDIR(old.st_mode) or old.st_ino == op.ino:
        return
    try:
        _, foreign = next(foreign_in(place.fd, op.name, op.path, frozenset(op.ours)), ("", ""))
        if not foreign:
            return
        fd, leaf = root.parent(op.path)
        syscalls.renameat2(place.fd, op.name, fd, leaf, syscalls.RENAME_EXCHANGE)
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
    if staged_as(stage, op.name) is None and not _is_on_its_way(root, op):
        return
    with open_passage(root, stage) as way:
        place = _swap(root, stage, way, op)
        old = staged_as(place, op.name)
        if old is not None and stat.S_ISDIR(old.st_mode):
            bring_back(root, place, op)


def _cannot(root: Root, op: Operation, error: OSError, there: os.stat_result | None) -> Failure:
    hint = _BUSY
    if error.errno == errno.EBUSY:
        hint = "a filesystem is mounted there: unmount it, or leave the path out of the target"
    now = "" if there is None else f" (there is {kind_of(there.st_mode)})"
    return Failure(f"cannot install {root.real(op.path)}: {error.strerror}{now}", hint=hint)
