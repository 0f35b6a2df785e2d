"""Throw-away overlays: of one directory, and of a tree with all mounts in it.

The upper layers are in a store on a tmpfs. Sources: Documentation/filesystems/overlayfs.rst,
proc_pid_mountinfo(5).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chrootbuild.errors import Failure
from chrootbuild.sandbox.bounds import limits
from chrootbuild.sandbox.view.copy_tree import copy_tree
from chrootbuild.system import syscalls
from chrootbuild.system.mounts import mounts_below, own_mounts

BELOW = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
# Kernel interfaces, not files: an overlay of one is refused or means nothing.
_KERNEL = {
    *"autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl".split(),
    *"hugetlbfs mqueue nsfs proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs".split(),
}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a tree: "overlay", "directory", "link", "file"."""

    path: str  # in the tree, "" for its top
    kind: str
    fd: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory to be overlaid, with the mounts below it; all are open."""

    pieces: tuple[_Piece, ...]


@contextlib.contextmanager
def doing(what: str, hint: str = "") -> Iterator[None]:
    """Turn an OSError into the Failure "cannot WHAT: its reason"."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot {what}: {error.strerror}", hint=hint) from error


def open_directory(path: str) -> int:
    """Open a directory with O_PATH; raises OSError, also for a link."""
    return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)


def below(root: str, path: str) -> str:
    """Return this view's path of a path in ``root``, all links resolved in there; raises OSError."""
    top = open_directory(root)
    try:
        return f"/proc/self/fd/{syscalls.openat2(top, path.lstrip('/') or '.', os.O_PATH, BELOW)}"
    finally:
        os.close(top)


def open_tree(lower: str, *, privileged: bool) -> Tree:
    """Open a directory and the mounts below it, before anything is mounted over them.

    A user namespace may not overlay a directory with mounts below it, for that would uncover
    the paths they hide: there each of its entries is a piece of its own. Raises OSError.
    """
    os.close(open_directory(lower))  # a link or a file is refused
    mounts = mounts_below(own_mounts(), lower)
    files = {path for path, mount in mounts.items() if mount.type not in _KERNEL}
    kernel = tuple(f"{path}/" for path in mounts.keys() - files)
    if privileged:
        prefix = len(lower.rstrip("/"))
        shown = sorted(path[prefix:] for path in files if not path.startswith(kernel))
        pieces = [_piece(lower, path) for path in ("", *shown)]
    else:
        pieces = list(_split(lower, "", mounts.keys(), kernel))
    return Tree(tuple(pieces))


def mount_tree(
    tree: Tree, root: str, store: str, *, privileged: bool, copy: bool, room: int, hidden: str = ""
) -> tuple[list[tuple[str, str]], str]:
    """Mount the overlays of a tree at the directory ``root``; raises Failure.

    What is no overlay is a tmpfs that ``room`` bytes can be added to. The name ``hidden`` at the
    tree's top is not shown.
    Returns pairs of a directory of the tree ("" for its top) and its upper directory;
    and why an overlay was refused, if with ``copy`` a copy took its place.
    """
    uppers: list[tuple[str, str]] = []
    refused = ""
    for number, piece in enumerate(tree.pieces):
        if hidden and f"{piece.path}/".startswith(f"/{hidden}/"):
            continue
        without = "" if piece.path else hidden
        layer = f"{store}/.layer{number}"
        with doing(f"mount an overlay of {piece.path or 'the root'}"):
            if piece.kind == "overlay":
                _make(root, piece)
                target = below(root, piece.path)
                try:
                    upper = mount_overlay(piece.fd, target, layer, privileged=privileged, hidden=without)
                    uppers.append((piece.path, upper))
                except OSError as error:
                    if not copy:
                        raise
                    refused = error.strerror or ""
                    syscalls.mount("tmpfs", target, "tmpfs", 0, "mode=0755,size=50%")
                    copy_tree(piece.fd, below(root, piece.path))
                    _leave_room(below(root, piece.path), room)
            elif piece.path:
                _make(root, piece)
            else:
                syscalls.mount("tmpfs", root, "tmpfs", 0, f"mode=0755,{limits.room(room)}")
    return uppers, refused


def mount_overlay(lower: int, target: str, store: str, *, privileged: bool, hidden: str = "") -> str:
    """Mount an overlay of the directory ``lower`` at ``target``; return its upper directory.

    ``store`` is made. A whiteout is in the place of the name ``hidden``.
    Directories of ``lower`` can be renamed where the kernel allows it (redirect_dir). Raises OSError.
    """
    info = os.fstat(lower)
    upper = f"{store}/upper"
    for name in (store, upper, f"{store}/work"):
        os.mkdir(name)
    with contextlib.suppress(OSError):  # an id not mapped in this user namespace
        os.chown(upper, info.st_uid, info.st_gid)
    os.chmod(upper, stat.S_IMODE(info.st_mode))
    if hidden:
        with contextlib.suppress(OSError):  # a user namespace may make whiteouts since Linux 5.8
            os.stat(hidden, dir_fd=lower, follow_symlinks=False)
            os.mknod(f"{upper}/{hidden}", stat.S_IFCHR)
    # Only our own numbers and names: nothing in the options needs escaping.
    options = f"lowerdir=/proc/self/fd/{lower},upperdir={upper},workdir={store}/work"
    more = (",redirect_dir=on,index=off,metacopy=off", "") if privileged else (",userxattr", "")
    try:
        syscalls.mount("overlay", target, "overlay", 0, options + more[0])
    except OSError:
        syscalls.mount("overlay", target, "overlay", 0, options + more[1])
    return upper


def written(upper: str, prefix: str, lower: str) -> Iterator[str]:
    """Yield the paths of a root in an overlay's upper directory, without whiteouts.

    ``prefix`` is the overlay's path in the root, ``lower`` the real path of the root. Directories
    are left out where ``lower`` has them. Paths longer than PATH_MAX are skipped.
    """
    stack = [""]
    while stack:
        here = stack.pop()
        for name in _entries(upper + here):
            path = f"{here}/{name}"
            if _is_directory(upper + path):
                stack.append(path)
                if _is_directory(lower + prefix + path):
                    continue
            if not _is_whiteout(upper + path):
                yield prefix + path


def _leave_room(place: str, room: int) -> None:
    """Bound a tmpfs to what is in it, and ``room`` bytes more."""
    usage = os.statvfs(place)
    used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    syscalls.mount("", place, "", syscalls.MS_REMOUNT, f"size={used + room}")


def _piece(lower: str, path: str) -> _Piece:
    fd = os.open(lower.rstrip("/") + path or "/", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    return _Piece(path, "overlay" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file", fd)


def _split(lower: str, path: str, mounts: Iterable[str], kernel: tuple[str, ...]) -> Iterator[_Piece]:
    """Yield the pieces of a tree such that no overlay has a mount below it."""
    real = lower.rstrip("/") + path
    fd = os.open(real or "/", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    mode = os.fstat(fd).st_mode
    if stat.S_ISLNK(mode):
        yield _Piece(path, "link", fd)
    elif stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
        os.close(fd)  # a live daemon's socket: as in an overlay, it cannot be reached
    elif not stat.S_ISDIR(mode):
        yield _Piece(path, "file", fd)
    elif f"{real}/" in kernel:
        yield _Piece(path, "directory", fd)
    elif not any(mount.startswith(f"{real}/") for mount in mounts):
        yield _Piece(path, "overlay", fd)
    else:
        yield _Piece(path, "directory", fd)
        for name in sorted(os.listdir(real or "/")):
            with contextlib.suppress(PermissionError):  # FUSE without allow_other, or no search permission
                yield from _split(lower, f"{path}/{name}", mounts, kernel)


def _make(root: str, piece: _Piece) -> None:
    """Make the mount point of a piece, where it is missing."""
    parent, _, name = piece.path.rpartition("/")
    if not name:
        return
    place = f"{below(root, parent)}/{name}"
    with contextlib.suppress(FileExistsError):
        if piece.kind == "link":
            os.symlink(os.readlink("", dir_fd=piece.fd), place)
        elif piece.kind == "file":
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(place)
            os.chmod(place, stat.S_IMODE(os.fstat(piece.fd).st_mode))
    if piece.kind == "file":
        syscalls.mount(f"/proc/self/fd/{piece.fd}", place, "", syscalls.MS_BIND)
        with contextlib.suppress(
            PermissionError
        ):  # flags that a user namespace may not touch; the source is read-only
            syscalls.mount("", place, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY)


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _mode(path: str) -> tuple[int, int]:
    """Return the mode and device numbers of a path; zeros where lstat(2) fails."""
    try:
        info = os.lstat(path)
    except OSError:
        return 0, 0
    return info.st_mode, info.st_rdev


def _is_directory(path: str) -> bool:
    return stat.S_ISDIR(_mode(path)[0])


def _is_whiteout(path: str) -> bool:
    """Return whether a path of an upper layer is a whiteout: overlayfs.rst."""
    mode, device = _mode(path)
    return stat.S_ISCHR(mode) and device == 0
