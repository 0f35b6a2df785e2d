"""Sources of copied artifacts: opened without following links, copied with their holes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time

from chrootbuild.artifact import Artifact
from chrootbuild.errors import Failure
from chrootbuild.system import syscalls
from chrootbuild.system.files import sha256_of, write_all
from chrootbuild.system.openat import STEP
from chrootbuild.system.signature import RACY, TICK_NS, Signature, signature

CAPABILITY = "security.capability"
_CHUNK = 1 << 20  # bytes
_LIMIT = 8 << 30  # bytes; no file that a program needs is larger
_AT_FDCWD = -100  # include/uapi/linux/fcntl.h


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
    """Open a canonical path; raises OSError, ELOOP for a link put in it meanwhile."""
    try:
        return syscalls.openat2(_AT_FDCWD, path, flags, syscalls.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    *parents, name = path.strip("/").split("/")
    here = os.open("/", STEP)
    try:
        for part in parents:
            deeper = os.open(part, STEP, dir_fd=here)
            os.close(here)
            here = deeper
        return os.open(name, flags, dir_fd=here)
    finally:
        os.close(here)


def copy(source: int, target: int, size: int) -> str:
    """Copy a file's content, holes kept, and return the sha256 of the copied bytes."""
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
            write_all(target, chunk)
            offset += len(chunk)
        if offset < end:
            break  # it shrank; the caller detects the change
    os.ftruncate(target, offset)
    return digest.hexdigest()


def _data(fd: int, offset: int, size: int) -> tuple[int, int]:
    """Return the next (start, end) of data, (size, size) where only a hole is left: lseek(2)."""
    try:
        start = os.lseek(fd, offset, os.SEEK_DATA)
        return start, min(os.lseek(fd, start, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        return offset, size  # a filesystem without SEEK_DATA


def same(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether a file is unchanged."""
    keys = ("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode")
    return all(getattr(before, key) == getattr(after, key) for key in keys)


def capability_of(fd: int) -> bytes:
    """Return security.capability of an open file; empty where it has none."""
    try:
        return os.getxattr(fd, CAPABILITY)
    except (OSError, AttributeError):
        return b""


def copy_digest(source: int, artifact: Artifact, before: os.stat_result) -> tuple[str, str, Signature]:
    """Return an open source's sha256, capabilities (hex) and signature, without a copy of it.

    The signature is zeros where it is racy.
    """
    digest = sha256_of(source)
    capability = capability_of(source).hex() if artifact.capabilities and os.geteuid() == 0 else ""
    settled = same(before, os.fstat(source)) and before.st_ctime_ns < time.time_ns() - TICK_NS
    return digest, capability, signature(before) if settled else RACY
