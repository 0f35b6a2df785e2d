"""Traces as texts: which program wrote one, its calls, and what its processes did."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Literal

from chrootbuild.errors import Failure
from chrootbuild.trace import kdump, strace, truss
from chrootbuild.trace.calls import Call, lines
from chrootbuild.trace.events import Event
from chrootbuild.trace.follow import follow
from chrootbuild.trace.strace import parse_files

Tracer = Literal["strace", "kdump", "truss"]
_LOOK = 400  # lines looked at
_HEAD = 1 << 16  # bytes that tell who wrote a trace
_HINT = (
    "write one with: strace -f -y -o FILE COMMAND (Linux),"
    " ktrace -i -t cnstu COMMAND; kdump -n -s >FILE (FreeBSD), or truss -f -o FILE COMMAND"
)


def detect(source: bytes | str | Iterable[bytes] | Iterable[str], name: str = "the trace") -> Tracer:
    """Return the program that wrote a trace, by its first lines; ``name`` is for the error.

    Raises Failure for none of the three.
    """
    counts: dict[Tracer, int] = {"strace": 0, "kdump": 0, "truss": 0}
    seen = 0
    for line in islice(lines(source), _LOOK):
        if not line.strip():
            continue
        if seen == 0 and "\0" in line[:64]:
            raise Failure(
                f"cannot read {name}: it is binary",
                hint="if it is a ktrace.out, turn it into text: kdump -n -s -f ktrace.out >FILE",
            )
        seen += 1
        if kdump.LINE.match(line):
            counts["kdump"] += 1
        elif truss.LINE.match(line):
            counts["truss"] += 1
        elif strace.LINE.match(line):
            counts["strace"] += 1
    best: Tracer = max(counts, key=lambda tracer: counts[tracer])
    if not counts[best]:
        fact = "it is empty" if not seen else "it is no text of strace, kdump or truss"
        raise Failure(f"cannot read {name}: {fact}", hint=_HINT)
    return best


def parse(
    source: bytes | str | BinaryIO | Iterable[bytes] | Iterable[str], tracer: Tracer
) -> Iterator[Call]:
    """Yield the calls of a trace text."""
    readers = {"strace": strace.parse, "kdump": kdump.parse, "truss": truss.parse}
    return readers[tracer](source)


def events_of(path: str) -> Iterator[Event]:
    """Yield what the processes of a trace text did; raises Failure where it is none.

    Where ``path`` is not there, the texts PATH.PID of ``strace -ff -o PATH`` are read.
    """
    try:
        pieces = _pieces(path)
        if pieces:
            yield from follow(parse_files(pieces))
            return
        with _opened(path) as file:
            head = file.read(_HEAD)
            if not head and path.startswith("/proc/"):
                return  # of a program that could not be started
            kind = detect(head, path)
            file.seek(0)
            yield from follow(parse(file, kind))
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", hint="name the text of a trace") from None


def _opened(path: str) -> BinaryIO:
    # O_NONBLOCK: a FIFO in the place of a file must not stop us.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise Failure(f"cannot read {path}: it is not a regular file", hint="name the text of a trace")


def _pieces(path: str) -> dict[int, Iterator[bytes]]:
    """Return the texts of strace -ff by their process; each is opened when its first line is asked for."""

    def opened_late(file: str) -> Iterator[bytes]:
        with _opened(file) as text:
            yield from text

    folder, name = os.path.split(path)
    if os.path.lexists(path) or not os.path.isdir(folder or "."):
        return {}
    found = (entry.rpartition(".") for entry in os.listdir(folder or "."))
    return {
        int(pid): opened_late(f"{path}.{pid}")
        for stem, _, pid in found
        if stem == name and pid.isascii() and pid.isdigit() and len(pid) < 20
    }
