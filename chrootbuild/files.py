"""Regular files: those of a state folder, read and replaced as a whole, and what a descriptor holds."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable

from chrootbuild.errors import Failure

__all__ = ["BROKEN", "read_state", "sha256", "sha256_of", "write_all", "write_atomically"]

_CHUNK = 1 << 20  # bytes
# What reading a state file raises that is damaged, or that somebody else wrote.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def read_state(path: str) -> str:
    """Return a file of the state folder; raises OSError, also where it is no regular file (EINVAL)."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, encoding="utf-8", errors="surrogatepass") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return file.read()


def write_atomically(path: str, content: bytes | Iterable[bytes], mode: int = 0o600) -> None:
    """Write a file of the state folder, whole or in pieces, by a new name and a rename; raises Failure."""
    state = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(state, mode=0o755, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            for piece in (content,) if isinstance(content, bytes) else content:
                write_all(fd, piece)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except FileExistsError:
        os.unlink(temporary)  # of a process with our number that was killed
        write_atomically(path, content, mode)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Failure(
            f"cannot write {path}: {error.strerror}", hint="the project's state folder has to be writable"
        ) from None


def write_all(fd: int, content: bytes) -> None:
    """Write all of a content to a descriptor; raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def sha256(content: bytes) -> str:
    """Return the hex digest of a content."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(fd: int) -> str:
    """Return the hex digest of what can be read from a descriptor, from its start."""
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
