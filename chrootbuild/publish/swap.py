"""Swap of a directory that is wholly ours: copied with hard links, exchanged by renameat2(2)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import replace

from chrootbuild.errors import Failure
from chrootbuild.paths import split
from chrootbuild.publish.step import Operation
from chrootbuild.root.stage import Stage
from chrootbuild.root.tree import Root
from chrootbuild.system import syscalls
from chrootbuild.system.openat import open_beneath, remove_tree
from chrootbuild.system.rights.user import privileged


def can_exchange(stage: Stage) -> bool:
    """Return whether the filesystem supports RENAME_EXCHANGE and hard links."""
    try:
        for name in ("a", "b"):
            os.mkdir(f"try-{name}", 0o700, dir_fd=stage.fd)
        syscalls.renameat2(stage.fd, "try-a", stage.fd, "try-b", syscalls.RENAME_EXCHANGE)
        os.symlink("x", "try-link", dir_fd=stage.fd)
        os.link("try-link", "try-link-2", src_dir_fd=stage.fd, dst_dir_fd=stage.fd, follow_symlinks=False)
        return True
    except OSError:
        return False
    finally:
        for name in ("try-a", "try-b", "try-link", "try-link-2"):
            with contextlib.suppress(OSError):
                remove_tree(stage.fd, name)


def clone(root: Root, stage: Stage, op: Operation) -> Operation | None:
    """Build the staged copy of a directory: hard links to unchanged files, staged files moved in.

    Returns the step with the copy's inode; None where a file cannot be linked
    (immutable, EMLINK): then nothing was moved. Raises Failure; the root is not changed.
    """
    try:
        modes = _link(root, stage, op)
        if modes is None:
            remove_tree(stage.fd, op.name)
            return None
        for path, name in op.content:
            if path in op.ahead:
                os.link(
                    name, _place(op, path), src_dir_fd=stage.fd, dst_dir_fd=stage.fd, follow_symlinks=False
                )
            elif name not in ("", "/"):
                os.rename(name, _place(op, path), src_dir_fd=stage.fd, dst_dir_fd=stage.fd)
        for path, (mode, uid, gid) in reversed(modes.items()):
            fd = open_beneath(stage.fd, _place(op, path))
            try:
                if privileged():
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
                ino = os.fstat(fd).st_ino
            finally:
                os.close(fd)
        return replace(op, ino=ino)
    except OSError as error:
        raise Failure(
            f"cannot stage {root.real(op.path)}: {error.strerror}", hint="nothing was changed; build again"
        ) from None


def _place(op: Operation, path: str) -> str:
    """Return a path's place in the copy; nobody else can put a link in the staging directory."""
    return op.name + path[len(op.path) :]


def _link(root: Root, stage: Stage, op: Operation) -> dict[str, tuple[int, int, int]] | None:
    """Make the copy's directories, returned with mode and owner, and link the unchanged files."""
    modes = {op.path: (op.mode, op.uid, op.gid)}
    os.mkdir(op.name, 0o700, dir_fd=stage.fd)
    for path, name in op.content:
        if name == "/":
            info = root.lstat(path)
            if info is None:
                return None
            os.mkdir(_place(op, path), 0o700, dir_fd=stage.fd)
            modes[path] = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        elif not name:
            fd, leaf = root.parent(path)
            try:
                os.link(leaf, _place(op, path), src_dir_fd=fd, dst_dir_fd=stage.fd, follow_symlinks=False)
            except OSError:
                return None
    return modes


def foreign_in(top: int, name: str, path: str, ours: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (name below ``top``, path in the root) of a directory's content that is not among ``ours``.

    ``name`` is the directory's below the descriptor ``top``, ``path`` its present or former place
    in the root. A foreign directory is not descended into. Raises OSError.
    """
    stack = [(name, path)]
    while stack:
        here, place = stack.pop()
        fd = open_beneath(top, here)
        try:
            with os.scandir(fd) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        finally:
            os.close(fd)
        for leaf, is_directory in found:
            child = f"{place}/{leaf}"
            if child not in ours:
                yield f"{here}/{leaf}", child
            elif is_directory:
                stack.append((f"{here}/{leaf}", child))


def bring_back(root: Root, stage: Stage, op: Operation) -> None:
    """Move files created in the old directory between copy and swap into the new one (law 6).

    Idempotent, so it can be repeated after a kill. Raises Failure.
    """
    try:
        for name, path in foreign_in(stage.fd, op.name, op.path, frozenset(op.ours)):
            while root.directory(split(path)[0]) is None:  # its directory is removed: move that
                name, path = split(name)[0], split(path)[0]
            fd, leaf = root.parent(path)
            syscalls.renameat2(stage.fd, name, fd, leaf, syscalls.RENAME_NOREPLACE)
    except OSError as error:
        raise Failure(
            f"cannot keep what was put into {root.real(op.path)}: {error.strerror}",
            details=(f"it is in {stage.path}/{op.name}",),
            hint="something in the root changes it; stop it and build again",
        ) from None
