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
            if name in ("", "/"):
                continue
            with _in_copy(stage, op, path) as (fd, leaf):
                if path in op.ahead:
                    os.link(name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd, follow_symlinks=False)
                else:
                    os.rename(name, leaf, src_dir_fd=stage.fd, dst_dir_fd=fd)
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
    """Return a path's place in the copy, below the staging directory."""
    return op.name + path[len(op.path) :]


@contextlib.contextmanager
def _in_copy(stage: Stage, op: Operation, path: str) -> Iterator[tuple[int, str]]:
    """Yield the open directory of a path's place in the copy, and its name there. Raises OSError.

    No link is followed on the way: where the staging is in the root, who is root inside can put one there.
    """
    above, _, leaf = _place(op, path).rpartition("/")
    fd = open_beneath(stage.fd, above)
    try:
        yield fd, leaf
    finally:
        os.close(fd)


def _link(root: Root, stage: Stage, op: Operation) -> dict[str, tuple[int, int, int]] | None:
    """Make the copy's directories, returned with mode and owner, and link the unchanged files."""
    modes = {op.path: (op.mode, op.uid, op.gid)}
    os.mkdir(op.name, 0o700, dir_fd=stage.fd)
    for path, name in op.content:
        if name == "/":
            info = root.lstat(path)
            if info is None:
                return None
            with _in_copy(stage, op, path) as (there, leaf):
                os.mkdir(leaf, 0o700, dir_fd=there)
            modes[path] = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        elif not name:
            fd, leaf = root.parent(path)
            try:
                with _in_copy(stage, op, path) as (there, name):
                    os.link(leaf, name, src_dir_fd=fd, dst_dir_fd=there, follow_symlinks=False)
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


def bring_back(root: Root, place: Stage, op: Operation) -> None:
    """Move files created in the old directory between copy and swap into the new one (law 6).

    ``place`` holds the old directory. Idempotent, so it can be repeated after a kill. Raises Failure.
    """
    try:
        for name, path in foreign_in(place.fd, op.name, op.path, frozenset(op.ours)):
            while root.directory(split(path)[0]) is None:  # its directory is removed: move that
                name, path = split(name)[0], split(path)[0]
            _move(place, name, root, path)
    except OSError as error:
        raise Failure(
            f"cannot keep what was put into {root.real(op.path)}: {error.strerror}",
            details=(f"it is in {place.path}/{op.name}",),
            hint="something in the root changes it; stop it and build again",
        ) from None


def _move(place: Stage, name: str, root: Root, path: str) -> None:
    """Rename by open directories: who is root inside can put a link on the way to ``name``. Raises OSError."""
    above, _, old = name.rpartition("/")
    fd, leaf = root.parent(path)
    holder = open_beneath(place.fd, above) if above else os.dup(place.fd)
    try:
        syscalls.renameat2(holder, old, fd, leaf, syscalls.RENAME_NOREPLACE)
    finally:
        os.close(holder)
