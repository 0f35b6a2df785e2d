"""A directory that is wholly ours, copied with hard links and exchanged as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import replace

from chrootbuild import syscalls
from chrootbuild.arrange import Operation
from chrootbuild.draft import split
from chrootbuild.errors import Failure
from chrootbuild.root import Root, remove_tree
from chrootbuild.stage import Stage, privileged

__all__ = ["bring_back", "can_exchange", "clone"]

_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def can_exchange(stage: Stage) -> bool:
    """Tell whether the filesystem can swap two names and link a file twice."""
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


def clone(root: Root, stage: Stage, op: Operation) -> Operation:
    """Build the staged copy of a directory: links to what is fresh, what was staged moved in.

    Returns the step with the copy's inode. Raises Failure; the root is not changed.
    """
    modes = {op.path: (op.mode, op.uid, op.gid)}
    held: dict[str, int] = {}
    try:
        held[op.path] = _make(stage.fd, op.name)
        moves = []
        for path, name in op.content:
            parent, leaf = split(path)
            if name == "/":
                held[path] = _make(held[parent], leaf)
                info = root.lstat(path)
                assert info is not None
                modes[path] = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
            elif name:
                moves.append((name, held[parent], leaf))
            else:
                fd, _ = root.parent(path)
                os.link(leaf, leaf, src_dir_fd=fd, dst_dir_fd=held[parent], follow_symlinks=False)
        for name, fd, leaf in moves:
            os.rename(name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
        for path, fd in held.items():
            mode, uid, gid = modes[path]
            if privileged():
                os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        return replace(op, ino=os.fstat(held[op.path]).st_ino)
    except OSError as error:
        raise Failure(
            f"cannot stage {root.real(op.path)}: {error.strerror}", hint="nothing was changed; build again"
        ) from None
    finally:
        for fd in held.values():
            os.close(fd)


def _make(parent: int, name: str) -> int:
    os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, _STEP, dir_fd=parent)


def bring_back(root: Root, stage: Stage, op: Operation) -> None:
    """Move what appeared in the old directory between copy and exchange into the new one (law 6)."""
    ours = set(op.ours)
    old = os.open(op.name, _STEP, dir_fd=stage.fd)
    try:
        _merge(root, old, op.path, ours)
    finally:
        os.close(old)


def _merge(root: Root, old: int, path: str, ours: set[str]) -> None:
    for name in os.listdir(old):
        child = f"{path}/{name}"
        if child not in ours:
            fd, leaf = root.parent(child)
            syscalls.renameat2(old, name, fd, leaf, syscalls.RENAME_NOREPLACE)
        elif stat.S_ISDIR(os.stat(name, dir_fd=old, follow_symlinks=False).st_mode):
            deeper = os.open(name, _STEP, dir_fd=old)
            try:
                _merge(root, deeper, child, ours)
            finally:
                os.close(deeper)
