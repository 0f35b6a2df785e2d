"""Regular files: those of a state folder, read and replaced as a whole, and what a descriptor holds."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import Any, NamedTuple

from chrootbuild.errors import Failure
from chrootbuild.system.rights.provenance import believed, fault_of, make_folder

STATE_LIMIT = 256 << 20  # bytes of a state file that are read
_CHUNK = 1 << 20  # bytes
# What reading a state file raises that is damaged, or that somebody else wrote.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class ForeignFileError(OSError):
    """A state file that somebody else wrote or could have written."""

    def failure(self) -> Failure:
        """Return the Failure for a file that cannot be made anew without a loss."""
        return Failure(
            f"cannot trust {self.filename}: {self.strerror}",
            hint=f"look at it, and remove it: rm {self.filename}; the next build compares the root anew",
        )


class StateFile(NamedTuple):  # a memo is read with this alone: dataclasses take 4 ms to import
    """A JSON file of a project's state folder, which is only ever replaced as a whole."""

    path: str

    def read(self) -> Any:
        """Return the value; raises FileNotFoundError where there is none, and for a damaged file one of BROKEN."""
        import json

        return json.loads(read_state(self.path))

    def write(self, value: object) -> None:
        """Replace the value; raises Failure."""
        import json

        write_atomically(self.path, json.dumps(value, separators=(",", ":")).encode())

    def remove(self) -> None:
        """Remove the file; nothing there is success. Raises Failure."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Failure(f"cannot remove {self.path}: {error.strerror}") from None


def read_state(path: str) -> str:
    """Return the text of a state file; raises OSError and UnicodeDecodeError."""
    return read_file(path).decode("utf-8", "surrogatepass")


def read_file(path: str) -> bytes:
    """Return the content of a regular file of a state folder; raises OSError.

    That is ELOOP for a link, EINVAL for what is no regular file (a FIFO does not block), EFBIG
    above STATE_LIMIT, EPERM in a folder that is not believed, and ForeignFileError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        number = 0 if stat.S_ISREG(info.st_mode) else errno.EINVAL
        number = errno.EFBIG if info.st_size > STATE_LIMIT else number
        if not number and not believed(os.path.dirname(path) or "."):
            number = errno.EPERM
        if number:
            raise OSError(number, os.strerror(number), path)
        if fault := fault_of(info):
            raise ForeignFileError(errno.EPERM, fault, path)
        return file.read(info.st_size)  # it is replaced, never extended


def write_atomically(
    path: str, content: bytes | Iterable[bytes], mode: int = 0o600, *, durable: bool = True
) -> None:
    """Write a file of the state folder, whole or in pieces, by a new name and a rename; raises Failure.

    A cache need not be ``durable``: then the disk is not waited for.
    """
    state = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}.new"
    try:
        make_folder(state)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            for piece in (content,) if isinstance(content, bytes) else content:
                write_all(fd, piece)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except FileExistsError:
        os.unlink(temporary)  # of a process with our number that was killed
        write_atomically(path, content, mode, durable=durable)
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
    import hashlib  # it takes 2 ms, and a build with a memo hashes nothing

    return hashlib.sha256(content).hexdigest()


def sha256_of(fd: int) -> str:
    """Return the sha256 (hex) of an open file, from its start."""
    import hashlib

    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(fd, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
