"""From the staging directory into the root, in a moment (law 4).

What is to be done is written to a journal first; each step can be repeated,
so a build that is killed in the middle is completed by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chrootbuild import syscalls
from chrootbuild.draft import split
from chrootbuild.errors import Failure
from chrootbuild.exchange import bring_back, can_exchange, clone
from chrootbuild.fresh import Comparison, root_signature
from chrootbuild.arrange import Operation, arrange
from chrootbuild.host import Signature
from chrootbuild.project import Project
from chrootbuild.record import (
    Installed,
    Record,
    from_json,
    safe,
    to_json,
    write_atomically,
    write_record,
)
from chrootbuild.root import Root, kind_of
from chrootbuild.seed import seed_name
from chrootbuild.stage import Stage, clear_stage, open_stage

__all__ = ["Published", "publish", "recover"]

_NOTHING: Signature = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did: the record as it is now, and the seconds in which two versions could meet."""

    record: Record
    window: float
    stays: tuple[str, ...] = ()  # directories that were ours and hold something that is not


def _journal(project: Project, target: str) -> str:
    return f"{project.state}/{target}.journal"


def publish(
    project: Project,
    target: str,
    root: Root,
    stage: Stage,
    comparison: Comparison,
    staged: Mapping[str, Installed],
    seeds: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Published:
    """Put what was staged into the root and remove what nothing needs any more.

    ``comparison`` is limited to what shall be published. ``seeds`` are those
    planted long ago, and those to plant now where nothing is there. Raises Failure before
    anything is changed, or in the middle: then ``recover`` completes it.
    """
    operations = arrange(root, comparison, staged, whole=can_exchange(stage))
    operations += [Operation("seed", path, seed_name(path)) for path in seeds[1]]
    operations = [_prepare(root, stage, op) for op in operations]
    known = {path: entry for path, entry in comparison.known.items() if not _goes(comparison, path)}
    known.update({path: replace(entry, root=_NOTHING) for path, entry in staged.items()})
    record = Record(root.path, known, (*seeds[0], *seeds[1]))
    try:
        syscalls.syncfs(stage.fd)
    except OSError as error:
        raise Failure(f"cannot write {stage.path}: {error.strerror}", hint="nothing was changed") from None
    journal = {
        "operations": [
            [op.kind, op.path, op.name, op.ino, op.mode, op.uid, op.gid, op.ours] for op in operations
        ],
        "record": to_json(record),
    }
    write_atomically(_journal(project, target), json.dumps(journal).encode())
    return _complete(project, target, root, stage, operations, record)


def _prepare(root: Root, stage: Stage, op: Operation) -> Operation:
    if op.kind == "exchange":
        return clone(root, stage, op)
    staged = _staged(stage, op.name) if op.name else None
    return op if staged is None else replace(op, ino=staged.st_ino)


def _goes(comparison: Comparison, path: str) -> bool:
    change = comparison.changes.get(path)
    return change is not None and change.artifact is None


def recover(project: Project, target: str, root: Root) -> bool:
    """Complete a publish that was broken off; tell whether there was one."""
    try:
        with open(_journal(project, target), encoding="utf-8", errors="surrogatepass") as file:
            journal = json.load(file)
        operations = [_operation(entry) for entry in journal["operations"]]
        record = from_json(journal["record"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # Never half read: it was written whole or not at all, so this is not our work.
        os.unlink(_journal(project, target))
        return False
    if record.root != root.path:
        os.unlink(_journal(project, target))
        return False
    _complete(project, target, root, open_stage(root), operations, record)
    return True


def _operation(entry: Any) -> Operation:
    kind, path, name, ino, mode, uid, gid, ours = entry
    if kind not in ("directory", "put", "exchange", "unlink", "rmdir", "seed") or not safe(path) or "/" in name:
        raise ValueError("not an operation")
    if not all(isinstance(number, int) for number in (ino, mode, uid, gid)):
        raise ValueError("not an operation")
    return Operation(kind, path, name, ino, mode, uid, gid, tuple(ours))


def _complete(
    project: Project, target: str, root: Root, stage: Stage, operations: list[Operation], record: Record
) -> Published:
    root.release()
    began = ended = 0.0
    stays = []
    for op in operations:
        if op.kind in ("put", "exchange") and not began:
            began = time.perf_counter()
        if not _apply(root, stage, op):
            stays.append(op.path)
        if op.kind in ("put", "exchange"):
            ended = time.perf_counter()
    root.release()
    os.close(stage.fd)
    clear_stage(root)
    record = replace(record, artifacts=_signed(root, record.artifacts))
    write_record(project, target, record)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_journal(project, target))
    return Published(record, ended - began, tuple(stays))


def _signed(root: Root, artifacts: Mapping[str, Installed]) -> dict[str, Installed]:
    """Return the entries with the signatures that their paths have now.

    Only what still looks as it was made is signed: the rest stays unproven,
    and the next build looks at it closely.
    """
    signed = {}
    for path in sorted(artifacts, key=lambda path: (split(path)[0], path)):
        entry = artifacts[path]
        info = root.lstat(path)
        # A hard link made for an exchange moved the ctime of what is otherwise proven: inode,
        # size and mode stay, and nothing but us could write to it meanwhile without root.
        if info is not None:
            now, was = root_signature(info), entry.root
            same_time = not entry.mtime_ns or info.st_mtime_ns == entry.mtime_ns
            if same_time and (was == _NOTHING or (now[0], now[2], now[3]) == (was[0], was[2], was[3])):
                entry = replace(entry, root=now)
        signed[path] = entry
    return signed


# -- one step ------------------------------------------------------------------------------


def _apply(root: Root, stage: Stage, op: Operation) -> bool:
    """Do one step; doing it again changes nothing. False: a directory stays, it is not empty."""
    match op.kind:
        case "directory":
            _directory(root, stage, op)
        case "put":
            _put(root, stage, op)
        case "exchange":
            _exchange(root, stage, op)
        case "seed":
            if root.lstat(op.path) is None:
                _put(root, stage, op)
        case "unlink":
            info = root.lstat(op.path)
            if info is not None and not stat.S_ISDIR(info.st_mode):
                root.unlink(op.path)
        case _:
            return root.rmdir(op.path)
    return True


def _directory(root: Root, stage: Stage, op: Operation) -> None:
    info = root.lstat(op.path)
    if info is None or not stat.S_ISDIR(info.st_mode):
        _put(root, stage, op)
    else:
        owner = (op.uid, op.gid) if os.geteuid() == 0 else None
        root.set_directory(op.path, op.mode, owner)


def _staged(stage: Stage, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=stage.fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _put(root: Root, stage: Stage, op: Operation) -> None:
    """Rename a staged thing to its place, over whatever may stand there."""
    path, name = op.path, op.name
    mine = _staged(stage, name)
    if mine is None or mine.st_ino != op.ino:
        return  # done before we were killed
    fd, leaf = root.parent(path)
    there = root.lstat(path)
    try:
        if there is None or not (stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(mine.st_mode)):
            os.rename(name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
        else:
            # A directory takes the place of something else, or the other way round: swap the
            # two, so that there is no moment with nothing there. The other goes with the stage.
            syscalls.renameat2(stage.fd, name, fd, leaf, syscalls.RENAME_EXCHANGE)
    except OSError as error:
        hint = "something in the root changes it; stop it and build again"
        if error.errno == errno.EBUSY:
            hint = "a filesystem is mounted there: unmount it, or leave the path out of the target"
        now = "" if there is None else f" (there is {kind_of(there.st_mode)})"
        raise Failure(f"cannot install {root.real(path)}: {error.strerror}{now}", hint=hint) from None


def _exchange(root: Root, stage: Stage, op: Operation) -> None:
    fd, leaf = root.parent(op.path)
    mine = _staged(stage, op.name)
    there = root.lstat(op.path)
    if mine is None or mine.st_ino != op.ino or there is None:
        return  # done before we were killed
    try:
        syscalls.renameat2(stage.fd, op.name, fd, leaf, syscalls.RENAME_EXCHANGE)
    except OSError as error:
        raise Failure(
            f"cannot exchange {root.real(op.path)}: {error.strerror}",
            hint="something in the root changes it; stop it and build again",
        ) from None
    root.release()
    bring_back(root, stage, op)
