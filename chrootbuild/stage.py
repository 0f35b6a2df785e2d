"""Makes artifacts outside what the daemon can see, ready to be renamed into the root (law 4)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from dataclasses import dataclass
from typing import Any

from chrootbuild import syscalls
from chrootbuild.artifact import Artifact, Kind
from chrootbuild.draft import split
from chrootbuild.errors import Failure
from chrootbuild.host import Signature, signature
from chrootbuild.record import Installed, entry_from_json, entry_to_json
from chrootbuild.root import Root, remove_tree, sha256_of

__all__ = ["Stage", "open_stage", "privileged", "stage_artifact"]

_CHUNK = 1 << 20  # bytes
_LIMIT = 8 << 30  # bytes; nothing that a program needs to run is larger
_TRIES = 5  # for a source that changes while it is copied
# The kernel stamps files with a clock that ticks every 4 or 10 ms: what was written as
# lately as this before the copy may be written again without a new ctime.
_TICK_NS = 20_000_000
_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY = "security.capability"
_AT_FDCWD = -100  # include/uapi/linux/fcntl.h


@dataclass(frozen=True, slots=True)
class Stage:
    """An open staging directory: root's, 0700, on the root's filesystem."""

    path: str
    fd: int


def privileged() -> bool:
    """Tell whether owners and device nodes can be made."""
    return os.geteuid() == 0


def name_of(path: str) -> str:
    """Return the name under which a path of the root is staged."""
    return hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()


def stage_place(root: Root) -> tuple[str, bool]:
    """Return the path of a root's staging directory, and whether it is inside the root.

    It is beside the root, where no chroot can see it; where the root is itself
    a mount point that would be another filesystem, so it is in it.
    """
    parent, name = split(root.path)
    inside = os.stat(parent).st_dev != root.dev or os.path.ismount(root.path)
    return (f"{root.path}/.chrootbuild" if inside else f"{parent}/.{name}.chrootbuild"), inside


def open_stage(root: Root) -> Stage:
    """Open a root's staging directory, made where it is missing; raises Failure where it is not ours."""
    path, inside = stage_place(root)
    parent = root.fd if inside else os.open(split(path)[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    name = split(path)[1]
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        why = "it is not a directory" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
        raise Failure(
            f"cannot stage in {path}: {why}", hint="chrootbuild needs this name for itself; move it away"
        ) from None
    finally:
        if not inside:
            os.close(parent)
    info = os.fstat(fd)
    if info.st_uid != os.geteuid() or info.st_dev != root.dev:
        os.close(fd)
        raise Failure(
            f"cannot stage in {path}: it is not ours (uid {info.st_uid})",
            hint="chrootbuild needs this name for itself; move it away",
        )
    os.fchmod(fd, 0o700)
    return Stage(path, fd)


def clear_stage(root: Root) -> None:
    """Remove a root's staging directory and all that is in it."""
    path, inside = stage_place(root)
    parent = root.fd if inside else os.open(split(path)[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(parent, split(path)[1])
    except OSError as error:
        raise Failure(f"cannot remove {path}: {error.strerror}") from None
    finally:
        if not inside:
            os.close(parent)


# -- one artifact --------------------------------------------------------------------------


def stage_artifact(stage: Stage, artifact: Artifact) -> Installed:
    """Make one artifact in the staging directory and return what will be recorded of it.

    A name that an earlier, broken run left is replaced. Raises Failure.
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
                fd = os.open(
                    name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stage.fd
                )
                try:
                    _own(fd, artifact)
                finally:
                    os.close(fd)
                installed = _installed(artifact, "open" if artifact.open else "")
    except OSError as error:
        with contextlib.suppress(OSError):
            remove_tree(stage.fd, name)
        raise _cannot(artifact, error) from None
    return installed


def _installed(artifact: Artifact, detail: str = "", **more: Any) -> Installed:
    return Installed(artifact.kind, artifact.mode, artifact.uid, artifact.gid, detail, **more)


def _cannot(artifact: Artifact, error: OSError) -> Failure:
    hints = {
        errno.ENOSPC: "make room on the root's filesystem; nothing was changed",
        errno.EDQUOT: "the quota of the root's filesystem is used up; nothing was changed",
        errno.EROFS: "the root's filesystem is mounted read-only",
        errno.EPERM: "device nodes and owners need root; nothing was changed",
    }
    return Failure(
        f"cannot stage {artifact.path}: {error.strerror or error}",
        hint=hints.get(error.errno or 0, "nothing was changed"),
    )


def _own(fd: int, artifact: Artifact) -> None:
    """Set owner and mode: the owner first, chown(2) clears setuid bits."""
    if privileged():
        os.fchown(fd, artifact.uid, artifact.gid)
    os.fchmod(fd, artifact.mode)


def _stage_content(stage: Stage, name: str, artifact: Artifact) -> Installed:
    content = artifact.content if artifact.recipe is None else artifact.recipe.render()
    fd = os.open(name, _FILE, 0o600, dir_fd=stage.fd)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        _own(fd, artifact)
    finally:
        os.close(fd)
    inputs = "" if artifact.recipe is None else artifact.recipe.digest()
    return _installed(artifact, hashlib.sha256(content).hexdigest(), inputs=inputs)


def _stage_node(stage: Stage, name: str, artifact: Artifact) -> Installed:
    device = artifact.device
    assert device is not None
    kind = stat.S_IFCHR if device.char else stat.S_IFBLK
    os.mknod(name, kind | 0o600, os.makedev(device.major, device.minor), dir_fd=stage.fd)
    os.chown(name, artifact.uid, artifact.gid, dir_fd=stage.fd, follow_symlinks=False)
    # No link can be here: the directory is ours alone, and we have just made the node.
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
                capability = _capability(source) if artifact.capabilities else b""
                _own(target, artifact)
                if capability and privileged():
                    os.setxattr(target, _CAPABILITY, capability)
                os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
            finally:
                os.close(target)
            after = os.fstat(source)
        finally:
            os.close(source)
        if _same(before, after):
            seen: Signature = signature(before)
            if before.st_ctime_ns > started - _TICK_NS:
                seen = (0, 0, 0, 0)
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


def copy_digest(source: int, artifact: Artifact, before: os.stat_result) -> tuple[str, str, Signature]:
    """Return an open source's sha256, capabilities (hex) and signature, without a copy of it.

    The signature is zero where the source changed so lately that it may change again unseen.
    """
    digest = sha256_of(source)
    capability = _capability(source).hex() if artifact.capabilities and privileged() else ""
    settled = _same(before, os.fstat(source)) and before.st_ctime_ns < time.time_ns() - _TICK_NS
    return digest, capability, signature(before) if settled else (0, 0, 0, 0)


def _now(fd: int) -> int:
    """Return the time as the root's filesystem tells it (another clock than ours may)."""
    os.utime(fd)
    return os.fstat(fd).st_mtime_ns


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    keys = ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode")
    return all(getattr(before, key) == getattr(after, key) for key in keys)


def _capability(fd: int) -> bytes:
    try:
        return os.getxattr(fd, _CAPABILITY)
    except (OSError, AttributeError):
        return b""


def open_source(artifact: Artifact, limit: int | None = _LIMIT) -> int:
    """Open a source for reading; raises Failure where it is no regular file, or larger than ``limit``."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = _open_without_links(artifact.source, flags)
    except OSError as error:
        raise Failure(
            f"cannot copy {artifact.source}: {error.strerror}",
            hint="it was there when the build began; build again when the host is at rest",
        ) from None
    info = os.fstat(fd)
    why = ""
    if not stat.S_ISREG(info.st_mode):
        why = "it is not a regular file"
    elif limit is not None and info.st_size > limit:
        why = f"it is larger than {limit >> 30} GiB"
    if why:
        os.close(fd)
        raise Failure(
            f"cannot copy {artifact.source}: {why}", hint="leave it out with exclude, or name it in seed"
        )
    return fd


def _open_without_links(path: str, flags: int) -> int:
    """Open a canonical path; a link that was put on the way meanwhile is an error (ELOOP)."""
    try:
        return syscalls.openat2(_AT_FDCWD, path, flags, syscalls.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return os.open(path, flags)


def copy(source: int, target: int, size: int) -> str:
    """Copy a file's content, its holes kept, and return the sha256 of what was copied."""
    digest, offset = hashlib.sha256(), 0
    while offset < size:
        start, end = _data(source, offset, size)
        zeros = start - offset
        while zeros > 0:
            digest.update(bytes(min(zeros, _CHUNK)))
            zeros -= _CHUNK
        os.lseek(target, start, os.SEEK_SET)
        offset = start
        while offset < end:
            chunk = os.pread(source, min(_CHUNK, end - offset), offset)
            if not chunk:
                break
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
            offset += len(chunk)
        if offset < end:
            break  # it shrank; the caller sees that it changed
    os.ftruncate(target, offset)
    return digest.hexdigest()


def _data(fd: int, offset: int, size: int) -> tuple[int, int]:
    """Return the next range that holds data, (size, size) where only a hole is left."""
    try:
        start = os.lseek(fd, offset, os.SEEK_DATA)
        return start, min(os.lseek(fd, start, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        return offset, size  # a filesystem that cannot tell


# -- what was staged, as it happens --------------------------------------------------------


def note(stage: Stage, path: str, installed: Installed) -> None:
    """Append to the stage's log what was staged; one write, so that parallel workers do not mix."""
    line = json.dumps([path, entry_to_json(installed)]) + "\n"
    fd = os.open(
        "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=stage.fd
    )
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def noted(stage: Stage) -> dict[str, Installed]:
    """Return what the log says was staged."""
    try:
        fd = os.open("log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stage.fd)
    except FileNotFoundError:
        return {}
    found = {}
    with os.fdopen(fd, encoding="utf-8") as file:
        for line in file:
            path, entry = json.loads(line)
            found[path] = entry_from_json(entry)
    return found
