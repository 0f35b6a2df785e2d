"""The staging directory, out of the daemon's sight, and its log of what is ready to be renamed (law 4)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from chrootbuild.artifact import Artifact
from chrootbuild.errors import Failure
from chrootbuild.paths import split
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Installed, entry_from_json, entry_to_json
from chrootbuild.system.files import BROKEN
from chrootbuild.system.mounts import is_mount
from chrootbuild.system.openat import open_beneath, remove_tree
from chrootbuild.system.rights.provenance import fault_of
from chrootbuild.text import kind_of

INSIDE = ".chrootbuild"  # in a root: what is exchanged stays in it (law 4)


@dataclass(frozen=True, slots=True)
class Stage:
    """An open staging directory: root's, 0700, on the root's filesystem."""

    path: str
    fd: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def name_of(path: str) -> str:
    """Return the staged name of a path of the root."""
    return hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()


def stage_place(root: Root) -> tuple[str, bool]:
    """Return the path of a root's staging directory, and whether it is inside the root.

    It is beside the root, where no chroot can see it, but inside a root that
    is a mount point: beside it is another filesystem.
    """
    parent, name = split(root.path)
    fd = _open_parent(parent)
    try:
        inside = os.fstat(fd).st_dev != root.dev or is_mount(fd, name)
    finally:
        os.close(fd)
    return (f"{root.path}/{INSIDE}" if inside else f"{parent}/.{name}.chrootbuild"), inside


def _open_parent(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"cannot stage in {path}: {error.strerror}") from None


@contextlib.contextmanager
def _holder(root: Root, suffix: str) -> Iterator[tuple[int, str, str]]:
    """Yield the parent directory of a root's staging directory, its name there, and its path."""
    place, inside = stage_place(root)
    path = place + suffix
    parent, name = split(path)
    if inside:
        yield root.fd, name, path
        return
    fd = _open_parent(parent)
    try:
        yield fd, name, path
    finally:
        os.close(fd)


def _not_ours(path: str, why: str) -> Failure:
    return Failure(
        f"cannot stage in {path}: {why}", hint="chrootbuild needs this name for itself; move it away"
    )


def open_stage(root: Root, suffix: str = "") -> Stage:
    """Open a root's staging directory, made where missing; raises Failure where it is not ours.

    With a ``suffix``, another directory of its kind beside it.
    """
    with _holder(root, suffix) as (parent, name, path):
        return _open_private(root, parent, name, path)


@contextlib.contextmanager
def open_passage(root: Root, stage: Stage) -> Iterator[Stage]:
    """Yield ROOT/.chrootbuild, made where missing: a directory of the root is exchanged in it, and stays there.

    Taken out of the root it would lead a process that holds it open out as well, by its "..".
    It is the staging directory itself where that is in the root. Who is root inside can
    reach it: nothing in it is believed. Raises Failure where it is not ours.
    """
    if stage.path == root.real(f"/{INSIDE}"):
        yield stage
        return
    make_way(root)
    with _open_private(root, root.fd, INSIDE, root.real(f"/{INSIDE}")) as way:
        yield way


def make_way(root: Root) -> None:
    """Remove what is no directory from the place of ROOT/.chrootbuild.

    Raises Failure where somebody else's directory is there, or something is mounted on it.
    """
    path = root.real(f"/{INSIDE}")
    try:
        info = os.stat(INSIDE, dir_fd=root.fd, follow_symlinks=False)
        if is_mount(root.fd, INSIDE):
            raise _not_ours(path, "something is mounted there")
        if not stat.S_ISDIR(info.st_mode):
            os.unlink(INSIDE, dir_fd=root.fd)
        elif info.st_uid != os.geteuid():
            raise _not_ours(path, f"a directory of uid {info.st_uid} is there")
    except FileNotFoundError:
        return
    except OSError as error:
        raise Failure(f"cannot stage in {path}: {error.strerror}", hint=staging_hint(error)) from None


def _open_private(root: Root, parent: int, name: str, path: str) -> Stage:
    """Open a directory of ours, made where missing: 0700, on the root's filesystem. Raises Failure."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        fd = open_beneath(parent, name)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            raise _not_ours(path, "it is not a directory of ours") from None
        raise Failure(f"cannot stage in {path}: {error.strerror}", hint=staging_hint(error)) from None
    info = os.fstat(fd)
    if info.st_uid != os.geteuid() or info.st_dev != root.dev:
        os.close(fd)
        raise _not_ours(path, f"it is not ours (uid {info.st_uid})")
    try:
        os.fchmod(fd, 0o700)
    except OSError as error:
        os.close(fd)
        raise Failure(f"cannot stage in {path}: {error.strerror}", hint=staging_hint(error)) from None
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        with contextlib.suppress(OSError):  # inherited from the root's parent, not meant for staged files
            os.removexattr(fd, name)
    return Stage(path, fd)


def clear_stage(root: Root, suffix: str = "") -> None:
    """Remove a root's staging directory and its content; raises Failure where it is not ours.

    Without a ``suffix`` ROOT/.chrootbuild too: what was exchanged there is removed there.
    """
    if not suffix:
        make_way(root)
        _clear(root.fd, INSIDE, root.real(f"/{INSIDE}"))
    with _holder(root, suffix) as (parent, name, path):
        _clear(parent, name, path)


def _clear(parent: int, name: str, path: str) -> None:
    """Remove a directory of ours; nothing there is success. Raises Failure."""
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            raise _not_ours(path, f"{kind_of(info.st_mode)} of uid {info.st_uid} is there")
        remove_tree(parent, name)
    except FileNotFoundError:
        return
    except OSError as error:
        mounted = error.errno in (errno.EXDEV, errno.EBUSY)
        why = "something is mounted in it" if mounted else error.strerror
        raise Failure(f"cannot remove {path}: {why}", hint="look at it, and remove it by hand") from None


def staging_hint(error: OSError) -> str:
    """Return what to do about an error that stopped staging."""
    hints = {
        errno.ENOSPC: "make room on the root's filesystem; nothing was changed",
        errno.EDQUOT: "the quota of the root's filesystem is used up; nothing was changed",
        errno.EROFS: "the root's filesystem is mounted read-only",
        errno.EPERM: "device nodes and owners need root; nothing was changed",
    }
    return hints.get(error.errno or 0, "nothing was changed")


# -- the log of staged artifacts -----------------------------------------------------------


def note(stage: Stage, path: str, installed: Installed) -> None:
    """Append a staged artifact to the stage's log, in one write, so that parallel workers do not mix.

    Raises Failure.
    """
    line = (json.dumps([path, entry_to_json(installed)]) + "\n").encode()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open("log", flags, 0o600, dir_fd=stage.fd)
        try:
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        raise Failure(f"cannot stage {path}: {error.strerror}", hint=staging_hint(error)) from None


def noted(stage: Stage, artifacts: Mapping[str, Artifact]) -> dict[str, Installed]:
    """Return the staged entries of the log, by path; raises Failure where it cannot be read.

    Path strings are shared with ``artifacts``, to save memory.
    """
    found = {}
    try:
        fd = os.open("log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=stage.fd)
        with os.fdopen(fd, encoding="utf-8") as file:
            if fault := fault_of(os.fstat(fd)):
                raise ValueError(fault)
            for line in file:
                path, entry = json.loads(line)
                artifact = artifacts.get(path)
                if artifact is not None:
                    path, entry[0] = artifact.path, artifact.kind.value
                    entry[8] = artifact.source if artifact.source == entry[8] else entry[8]
                found[path] = entry_from_json(entry)
    except FileNotFoundError:
        return {}
    except (*BROKEN, IndexError) as error:
        raise Failure(
            f"cannot read {stage.path}/log: {error}", hint="nothing was changed; build again"
        ) from None
    return found
