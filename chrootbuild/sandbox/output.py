"""What a program puts out: its output, without the middle where it is too long, and its trace."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chrootbuild.sandbox.child import MARK

_HEAD = 4 << 20  # bytes kept of the beginning
_TAIL = 64 << 10  # and of the end
_ROUND = 64  # reads in a row, so that one program does not starve the others
_INNER_PID = re.compile(rb"\d+ /\* (\d+) in strace's PID NS \*/")


@dataclass(slots=True, eq=False)
class Pump:
    """A pipe and the file that it is read into."""

    source: int
    target: int
    room: int = _HEAD
    dropped: int = 0
    tail: bytearray = field(default_factory=bytearray)
    open: bool = True

    def pass_on(self) -> bool:
        """Read the available output; return whether more can come."""
        for _ in range(_ROUND):
            try:
                data = os.read(self.source, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            head, rest = data[: self.room], data[self.room :]
            self.room -= len(head)
            with contextlib.suppress(OSError):  # a full tmpfs does not stop the program
                os.write(self.target, head)
            self.tail += rest
            self.dropped += max(0, len(self.tail) - _TAIL)
            del self.tail[:-_TAIL]
        return True

    def flush(self) -> None:
        """Write the end of an output that was too long."""
        gap = f"\n[{self.dropped} bytes left out]\n".encode() if self.dropped else b""
        with contextlib.suppress(OSError):
            os.write(self.target, gap + bytes(self.tail))
        self.tail.clear()
        self.dropped = 0

    def close(self) -> None:
        """Flush, and close both."""
        self.flush()
        self.open = False
        os.close(self.source)
        os.close(self.target)


def new_pump(path: str) -> tuple[Pump, int]:
    """Return a pump into a new file, and the end of its pipe that a program writes to."""
    source, end = os.pipe()
    os.set_blocking(source, False)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    return Pump(source, target), end


def cut_trace(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the program's own lines of a trace, without the calls before its exec.

    Pids are those of strace's pid namespace throughout, also in arguments and results.
    """
    before: set[bytes] = set()
    program, resumes, mark = b"", False, MARK.encode()
    for line in lines:
        pid, _, text = line.partition(b" ")
        if not program:
            before.add(pid)
            if mark in text:
                program, resumes = pid, b"<unfinished" in text
        elif pid == program and resumes:
            resumes = False  # the other half of the mark
        elif pid == program or pid not in before:
            yield _INNER_PID.sub(rb"\1", line)
