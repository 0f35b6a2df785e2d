"""A directory that is wholly ours, copied with hard links and exchanged as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import replace

from chrootbuild import syscalls
from chrootbuild.beneath import open_beneath, remove_tree
from chrootbuild.draft import split
from chrootbuild.errors import Failure
from chrootbuild.operation import Operation
from chrootbuild.root import Root
from chrootbuild.stage import Stage, privileged

__all__ = ["bring_back", "can_exchange", "clone", "foreign_in"]


def can_exchange(stage: Stage) -> bool:
    """Return whether the filesystem can swap two names and link a file twice."""
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
    """Build the staged copy of a directory: links to what is fresh, what was staged moved in.

    Returns the step with the copy's inode; None where something in it cannot be linked (it
    is immutable, it has too many names): then nothing was moved. Raises Failure; the root is not changed.
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
    """Return where a path is in the copy. Nobody else can put a link in the staging directory."""
    return op.name + path[len(op.path) :]


def _link(root: Root, stage: Stage, op: Operation) -> dict[str, tuple[int, int, int]] | None:
    """Make the copy's directories, which are returned with mode and owner, and link what is fresh."""
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
    """Yield (name below ``top``, path in the root) of what is in a directory and not among ``ours``.

    ``name`` is the directory's below the descriptor ``top``, ``path`` the place it has or had in
    the root. What is below something foreign is not told. Raises OSError.
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
    """Move what appeared in the old directory between copy and exchange into the new one (law 6).

    Doing it again after a kill changes nothing. Raises Failure.
    """
    try:
        for name, path in foreign_in(stage.fd, op.name, op.path, frozenset(op.ours)):
            while root.directory(split(path)[0]) is None:  # its directory goes: it comes along
                name, path = split(name)[0], split(path)[0]
            fd, leaf = root.parent(path)
            syscalls.renameat2(stage.fd, name, fd, leaf, syscalls.RENAME_NOREPLACE)
    except OSError as error:
        raise Failure(
            f"cannot keep what was put into {root.real(op.path)}: {error.strerror}",
            details=(f"it is in {stage.path}/{op.name}",),
            hint="something in the root changes it; stop it and build again",
        ) from None
