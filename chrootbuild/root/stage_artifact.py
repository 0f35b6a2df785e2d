"""Makes one artifact in the staging directory, as it will be in the root."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.errors import Failure
from chrootbuild.root.copy import CAPABILITY, capability_of, copy, open_source, same
from chrootbuild.root.stage import Stage, name_of, staging_hint
from chrootbuild.state.record import Installed
from chrootbuild.system.files import sha256, write_all
from chrootbuild.system.openat import STEP, remove_tree
from chrootbuild.system.rights.user import privileged
from chrootbuild.system.signature import RACY, TICK_NS, Signature, root_signature, signature

_TRIES = 5  # for a source that changes while it is copied
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def stage_artifact(stage: Stage, artifact: Artifact) -> Installed:
    """Make one artifact in the staging directory and return its record entry.

    A staged file left by an interrupted run is replaced. Raises Failure.
    """
    name = name_of(artifact.path)
    try:
        remove_tree(stage.fd, name)
        match artifact.kind:
            case Kind.FILE:
                installed = _stage_file(stage, name, artifact)
            case Kind.TEXT | Kind.DATABASE:
                installed = _stage_content(stage, name, artifact)
            case Kind.LINK:
                os.symlink(artifact.link, name, dir_fd=stage.fd)
                if privileged():
                    os.chown(name, artifact.uid, artifact.gid, dir_fd=stage.fd, follow_symlinks=False)
                installed = _installed(artifact, artifact.link)
            case Kind.NODE:
                installed = _stage_node(stage, name, artifact)
            case _:
                os.mkdir(name, 0o700, dir_fd=stage.fd)
                fd = os.open(name, STEP, dir_fd=stage.fd)
                try:
                    # Without root a directory that we cannot write could not be renamed.
                    _own(fd, artifact if privileged() else artifact._replace(mode=artifact.mode | 0o700))
                finally:
                    os.close(fd)
                installed = _installed(artifact, "open" if artifact.open else "")
        made = os.stat(name, dir_fd=stage.fd, follow_symlinks=False)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove_tree(stage.fd, name)
        raise _cannot(artifact, error) from None
    # A rename into the root keeps the inode, which identifies it later.
    return installed._replace(root=root_signature(made))


def _installed(artifact: Artifact, detail: str = "", **more: Any) -> Installed:
    return Installed(artifact.kind, artifact.mode, artifact.uid, artifact.gid, detail, **more)


def _cannot(artifact: Artifact, error: OSError) -> Failure:
    return Failure(f"cannot stage {artifact.path}: {error.strerror or error}", hint=staging_hint(error))


def _own(fd: int, artifact: Artifact) -> None:
    """Set owner and mode: the owner first, for chown(2) clears setuid bits."""
    if privileged():
        os.fchown(fd, artifact.uid, artifact.gid)
    os.fchmod(fd, artifact.mode)


def _stage_content(stage: Stage, name: str, artifact: Artifact) -> Installed:
    content = artifact.content if artifact.recipe is None else artifact.recipe.render()
    fd = os.open(name, _FILE, 0o600, dir_fd=stage.fd)
    try:
        write_all(fd, content)
        _own(fd, artifact)
    finally:
        os.close(fd)
    inputs = "" if artifact.recipe is None else artifact.recipe.digest()
    return _installed(artifact, sha256(content), inputs=inputs)


def _stage_node(stage: Stage, name: str, artifact: Artifact) -> Installed:
    device = artifact.device
    assert device is not None
    kind = stat.S_IFCHR if device.char else stat.S_IFBLK
    os.mknod(name, kind | 0o600, os.makedev(device.major, device.minor), dir_fd=stage.fd)
    os.chown(name, artifact.uid, artifact.gid, dir_fd=stage.fd, follow_symlinks=False)
    # Not a link: the directory is ours alone, and we have just made the node.
    os.chmod(name, artifact.mode, dir_fd=stage.fd)
    return _installed(artifact, str(device))


def _stage_file(stage: Stage, name: str, artifact: Artifact) -> Installed:
    for _ in range(_TRIES):
        source = open_source(artifact)
        try:
            before = os.fstat(source)
            started = _now(stage.fd)
            target = os.open(name, _FILE, 0o600, dir_fd=stage.fd)
            try:
                digest = copy(source, target, before.st_size)
                capability = capability_of(source) if artifact.capabilities else b""
                _own(target, artifact)
                if capability and privileged():
                    os.setxattr(target, CAPABILITY, capability)
                os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
            finally:
                os.close(target)
            after = os.fstat(source)
        finally:
            os.close(source)
        if same(before, after):
            seen: Signature = signature(before)
            if before.st_ctime_ns > started - TICK_NS:
                seen = RACY
            return _installed(
                artifact,
                digest,
                mtime_ns=before.st_mtime_ns,
                capability=capability.hex() if privileged() else "",
                path=artifact.source,
                source=seen,
            )
        os.unlink(name, dir_fd=stage.fd)
    raise Failure(
        f"cannot copy {artifact.source}: it changes while it is read",
        hint="build again when what writes it is done; state belongs under seed",
    )


def _now(fd: int) -> int:
    """Return the present time (ns) by the clock of the root's filesystem, which may not be ours."""
    os.utime(fd)
    return os.fstat(fd).st_mtime_ns
