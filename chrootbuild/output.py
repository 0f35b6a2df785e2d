"""Standard output and error that never raise: a reader that has gone, a full disk, a closed descriptor.

What cannot be written is dropped, and the work goes on to its end: a build is not broken off
because nobody reads what it says. Why it could not is kept, for the exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from typing import Any

_STANDARD = (0, 1, 2)


class _Raw(io.RawIOBase):
    """A descriptor that takes every byte; the first error but a broken pipe is kept."""

    def __init__(self, fd: int) -> None:
        self.fd, self.error = fd, ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self.fd)

    def fileno(self) -> int:
        return self.fd

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if not self.error:
            with contextlib.suppress(BrokenPipeError):
                try:
                    return os.write(self.fd, view)
                except BrokenPipeError:
                    raise
                except OSError as error:
                    self.error = os.strerror(error.errno or 0)
        return view.nbytes


class _Text(io.TextIOWrapper):
    """A text stream on such a descriptor."""

    def __init__(self, raw: _Raw, old: Any) -> None:
        self.kept = raw
        super().__init__(
            io.BufferedWriter(raw),
            encoding=old.encoding,
            errors=old.errors,
            line_buffering=old.line_buffering or raw.fd == 2,
        )


def protect() -> None:
    """Put such streams in the place of the process's own; streams that others put there stay."""
    for fd in _STANDARD:  # lowest first: what is opened is the one that is missing
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        if old is None:
            old = open(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        elif old is not getattr(sys, f"__{name}__") or isinstance(old, _Text):
            continue
        with contextlib.suppress(OSError):
            old.flush()
        new = _Text(_Raw(fd), old)
        old.write, old.writelines, old.flush = (
            new.write,
            new.writelines,
            new.flush,
        )  # who kept it writes here, too
        setattr(sys, name, new)


def fault() -> str:
    """Return why standard output could not be written, once; "" where it could, or where its reader has gone."""
    stream = sys.stdout
    if not isinstance(stream, _Text):
        return ""
    stream.flush()
    why, stream.kept.error = stream.kept.error, ""
    return why


def protect_to_the_end() -> None:
    """Do it where the exit code is another program's: an error of standard output makes it 1 at the end."""
    protect()
    sys.excepthook = _said
    atexit.register(_end, os.getpid())


def _said(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


def _end(pid: int) -> None:
    if os.getpid() == pid and (why := fault()):
        sys.stderr.write(f"error: cannot write to standard output: {why}\n")
        sys.stderr.flush()
        os._exit(1)
