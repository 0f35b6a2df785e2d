"""Seeds: state copied once, staged whole, and renamed into place where the root has nothing there."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.errors import Failure
from chrootbuild.root.copy import copy, open_source
from chrootbuild.root.stage import Stage, name_of
from chrootbuild.root.tree import Root
from chrootbuild.system.rights.user import privileged

_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def seed_name(path: str) -> str:
    """Return the name under which a seed is staged."""
    return f"{name_of(path)}.seed"


def stage_seeds(root: Root, stage: Stage, seeds: Mapping[str, tuple[Artifact, ...]]) -> None:
    """Stage each seed that is absent in the root.

    Raises Failure. A file that grows or shrinks meanwhile is copied as far as
    it was read: state changes while its daemon runs.
    """
    for path, artifacts in seeds.items():
        if root.lstat(path) is not None:
            continue
        try:
            for artifact in artifacts:
                _stage(stage, seed_name(path) + artifact.path[len(path) :], artifact)
            for artifact in reversed(artifacts):
                if artifact.kind is Kind.DIRECTORY:
                    _own_directory(stage, seed_name(path) + artifact.path[len(path) :], artifact)
        except OSError as error:
            raise Failure(
                f"cannot stage the seed {path}: {error.strerror}", hint="nothing was changed; build again"
            ) from None


def _stage(stage: Stage, name: str, artifact: Artifact) -> None:
    """Make one artifact below the staging directory, where nobody else can plant a link."""
    if artifact.kind is Kind.DIRECTORY:
        os.mkdir(name, 0o700, dir_fd=stage.fd)
    elif artifact.kind is Kind.LINK:
        os.symlink(artifact.link, name, dir_fd=stage.fd)
        if privileged():
            os.chown(name, artifact.uid, artifact.gid, dir_fd=stage.fd, follow_symlinks=False)
    else:
        _copy(artifact, name, stage.fd)


def _own_directory(stage: Stage, name: str, artifact: Artifact) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stage.fd)
    try:
        _own(fd, artifact)
    finally:
        os.close(fd)


def _copy(artifact: Artifact, leaf: str, directory: int) -> None:
    source = open_source(artifact, limit=None)
    try:
        info = os.fstat(source)
        target = os.open(leaf, _FILE, 0o600, dir_fd=directory)
        try:
            copy(source, target, info.st_size)
            _own(target, artifact)
            os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)


def _own(fd: int, artifact: Artifact) -> None:
    if privileged():
        os.fchown(fd, artifact.uid, artifact.gid)
    os.fchmod(fd, stat.S_IMODE(artifact.mode))
