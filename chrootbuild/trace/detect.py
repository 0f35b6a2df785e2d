"""Detects the program that wrote a trace, and selects its reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Literal

from chrootbuild.errors import Failure
from chrootbuild.trace import kdump, strace, truss
from chrootbuild.trace.calls import Call, lines

__all__ = ["Tracer", "detect", "parse"]

Tracer = Literal["strace", "kdump", "truss"]
_LOOK = 400  # lines examined
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
