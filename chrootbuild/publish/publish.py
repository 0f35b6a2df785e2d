"""Publish: the staged files are moved into the root, in a moment (law 4).

A write-ahead journal holds the steps, and each is idempotent: an interrupted
publish is completed by the next build. A single rename is atomic and needs no journal.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from chrootbuild.compare.change import Comparison
from chrootbuild.errors import Failure
from chrootbuild.publish.apply import apply, staged_as
from chrootbuild.publish.journal import forget_journal, read_journal, write_journal
from chrootbuild.publish.sequence import arrange
from chrootbuild.publish.settle import refresh_signatures
from chrootbuild.publish.step import Operation
from chrootbuild.publish.swap import can_exchange, clone
from chrootbuild.root.obstacles import refuse_obstacles
from chrootbuild.root.seed import seed_name
from chrootbuild.root.stage import Stage, clear_stage, make_way, open_stage
from chrootbuild.root.tree import Root
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, write_record
from chrootbuild.system import syscalls
from chrootbuild.system.mounts import filesystem_of, mounts_below, own_mounts

_FEW = 8  # steps


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a publish: the new record, and the seconds in which two versions could mix."""

    record: Record
    window: float
    stays: tuple[str, ...] = ()  # directories of ours not removed: they hold foreign files


def publish(
    project: Project,
    target: str,
    root: Root,
    stage: Stage,
    comparison: Comparison,
    staged: Mapping[str, Installed],
    seeds: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    *,
    base: Record | None = None,
) -> Published:
    """Move the staged files into the root and remove the paths no longer planned.

    ``comparison`` is limited to the paths to publish. ``seeds`` are those planted earlier,
    and those to plant now where nothing is there. ``base`` is the record read under the
    lock: the journal then holds only the difference. Raises Failure before
    any change, or in the middle: then ``recover`` completes it.
    """
    make_way(root)
    operations = _operations(root, stage, comparison, staged)
    operations += [Operation("seed", path, seed_name(path)) for path in seeds[1]]
    artifacts = {**comparison.known, **staged}
    artifacts.pop("/", None)  # the root itself is nobody's to remove
    for path, change in comparison.changes.items():
        if change.artifact is None:
            artifacts.pop(path, None)
    record = Record(root.declared, artifacts, (*seeds[0], *seeds[1]), inode=os.fstat(root.fd).st_ino)
    try:
        alone = _is_one_rename(operations, base)
        _write_out(stage, operations, names=not alone)
        if not alone:
            write_journal(project, target, operations, record, base)
    except OSError as error:
        raise Failure(f"cannot write {stage.path}: {error.strerror}", hint="nothing was changed") from None
    return _complete(project, target, root, stage, operations, record)


def _mounts(root: Root) -> tuple[list[str], str]:
    """Return the paths in a root on which something is mounted, and the type of the root's filesystem.

    Nothing and "" where the system does not tell.
    """
    try:
        mounts = own_mounts()
    except OSError:
        return [], ""
    return [path[len(root.path) :] for path in mounts_below(mounts, root.path)], filesystem_of(
        mounts, root.path
    )


def _is_one_rename(operations: list[Operation], base: Record | None) -> bool:
    """Return whether the publish is a single atomic rename over a file of ours, which needs no journal."""
    if len(operations) != 1 or base is None:
        return False
    return operations[0].kind == "put" and not operations[0].ours and operations[0].path in base.artifacts


def _operations(
    root: Root, stage: Stage, comparison: Comparison, staged: Mapping[str, Installed]
) -> list[Operation]:
    """Return the steps with the inodes of the staged files; swapped directories are copied."""
    mounts, kind = _mounts(root)
    # On an overlay a directory of a lower layer cannot be renamed: EXDEV.
    whole = kind != "overlay" and len(comparison.stale) > 1 and can_exchange(stage)
    operations = arrange(root, comparison, staged, whole=whole, mounts=mounts)
    refuse_obstacles(root, (path for op in operations for path in _going(op)))
    ready: list[Operation] = []
    for op in operations:
        copied = clone(root, stage, op) if op.kind == "exchange" else op
        if copied is None:
            _undo(stage, ready)
            return _ready(stage, arrange(root, comparison, staged, whole=False, mounts=mounts))
        ready.append(copied)
    linked = {path for op in ready for path in op.linked}
    return _ready(stage, [_seen_again(root, op) if op.path in linked else op for op in ready])


def _seen_again(root: Root, op: Operation) -> Operation:
    """Return the removal with a file's present ctime, which a link into a copy has changed."""
    info = root.lstat(op.path)
    same = info is not None and info.st_ino == op.ino
    return replace(op, ctime=info.st_ctime_ns) if info is not None and same else op


def _going(op: Operation) -> list[str]:
    """Return the paths that a step replaces or removes."""
    return [op.path, *(path for path in op.ours if path not in op.linked)]


def _undo(stage: Stage, operations: list[Operation]) -> None:
    """Move files out of copies back to their staged names; raises Failure."""
    try:
        for op in operations:
            for path, name in op.content:
                if name not in ("", "/"):
                    os.rename(op.name + path[len(op.path) :], name, src_dir_fd=stage.fd, dst_dir_fd=stage.fd)
    except OSError as error:
        raise Failure(
            f"cannot stage in {stage.path}: {error.strerror}", hint="nothing was changed"
        ) from None


def _ready(stage: Stage, operations: list[Operation]) -> list[Operation]:
    ready = []
    for op in operations:
        info = staged_as(stage, op.name) if op.name else None
        ready.append(op if info is None else replace(op, ino=info.st_ino))
    return ready


def _write_out(stage: Stage, operations: list[Operation], *, names: bool) -> None:
    """Sync the staged files to disk: a few by fsync(2), many by syncfs(2).

    fsync does not wait for other writes to that filesystem, such as a package manager's.
    ``names``: the staging directory too, for a journal will name them. Raises OSError.
    """
    if len(operations) > _FEW or any(op.kind in ("directory", "exchange", "seed") for op in operations):
        syscalls.syncfs(stage.fd)
        return
    for op in operations:
        info = staged_as(stage, op.name) if op.kind == "put" else None
        if info is None or not stat.S_ISREG(info.st_mode):
            continue
        try:
            fd = os.open(op.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stage.fd)
        except PermissionError:  # without root, of a file its owner may not read
            syscalls.syncfs(stage.fd)
            return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    if names:
        os.fsync(stage.fd)


def recover(project: Project, target: str, root: Root) -> bool:
    """Complete an interrupted publish; return whether there was one. Raises Failure."""
    try:
        found = read_journal(project, target, root)
    except FileNotFoundError:
        return False
    if found is None:
        forget_journal(project, target)
        return False
    with open_stage(root) as stage:
        _complete(project, target, root, stage, *found)
    return True


def _complete(
    project: Project, target: str, root: Root, stage: Stage, operations: list[Operation], record: Record
) -> Published:
    root.release()
    began = ended = 0.0
    paused = False  # the steps after the pause only remove
    stays = []
    for op in operations:
        if op.kind in ("put", "exchange") and not began:
            began = time.perf_counter()
        if not apply(root, stage, op):
            stays.append(op.path)
        if op.kind in ("put", "exchange") and not paused:
            ended = time.perf_counter()
        paused = paused or op.kind == "pause"
    root.release()
    clear_stage(root)  # before signatures are taken: unlinking an old name changes a linked file's ctime
    _make_durable(project, root)
    within = tuple(f"{op.path}/" for op in operations if op.kind == "exchange")
    touched = {op.path for op in operations}
    moved = [path for path in record.artifacts if path in touched or path.startswith(within)]
    record = replace(record, artifacts=refresh_signatures(root, record.artifacts, moved))
    write_record(project, target, record)
    forget_journal(project, target)
    return Published(record, ended - began, tuple(stays))


def _make_durable(project: Project, root: Root) -> None:
    """Sync the renames before the journal is removed; a single filesystem keeps their order itself."""
    with contextlib.suppress(OSError):
        if os.stat(project.state).st_dev != root.dev:
            syscalls.syncfs(root.fd)
