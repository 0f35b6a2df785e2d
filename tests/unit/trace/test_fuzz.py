"""Any text: no traceback, and every line looked at once."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrootbuild.errors import Failure
from chrootbuild.propose.model import Known
from chrootbuild.propose.propose import missing, propose, touched
from chrootbuild.trace import kdump, strace, truss
from chrootbuild.trace.calls import Call
from chrootbuild.trace.events import Access
from chrootbuild.trace.follow import follow
from chrootbuild.trace.open import detect
from tests.support.trace_sysroot import SAMPLES, sysroot

if TYPE_CHECKING:
    from _typeshed import TraceFunction

READERS = (strace.parse, kdump.parse, truss.parse)
LINES = [
    line
    for path in sorted(SAMPLES.iterdir())
    for line in path.read_bytes().splitlines()[:: 1 if path.suffix == ".txt" else 40]
]
_bits = st.sampled_from(
    [b'"', b"<", b">", b"(", b")", b",", b"\\", b"\\377", b"= -1", b"\0", b"\n", b"/", b"..", b"[", b" "]
)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Return lines of the samples with parts cut out and others put in."""
    lines = []
    for line in draw(st.lists(st.sampled_from(LINES), max_size=8)):
        at = draw(st.integers(0, len(line)))
        end = draw(st.integers(at, min(len(line), at + 12)))
        lines.append(line[:at] + draw(st.one_of(_bits, st.binary(max_size=6))) + line[end:])
    return b"\n".join(lines)


@given(st.one_of(broken(), st.binary(max_size=300), st.text(max_size=300)))
@settings(max_examples=300)
def test_readers_and_followers_take_anything(text: bytes | str) -> None:
    for parse in READERS:
        for event in follow(parse(text)):
            assert isinstance(event.pid, int)
    with contextlib.suppress(Failure):
        detect(text)


@given(st.lists(broken(), max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_proposals_take_anything(tmp_path: Path, texts: list[bytes]) -> None:
    host = sysroot(tmp_path, {})
    text = b"\n".join(texts)
    for parse in READERS:
        events = list(follow(parse(text)))
        propose(events, host)
        missing(events, host, Known(), last_resort=True)
        touched(events, host)


HOSTILE: dict[str, Callable[[int], str]] = {
    "quotes": lambda size: "open(" + '"' * size,
    "escaped quotes": lambda size: 'open("' + '\\"' * size,
    "angles": lambda size: "openat(" + "1<a:[" * size,
    "angles closed": lambda size: "openat(3" + "<a>" * size + ") = 3",
    "brackets": lambda size: "open(" + "(" * size + ")" * size,
    "commas": lambda size: "open(" + "," * size + ") = 3",
    "blanks": lambda size: "1" + " " * size + "open(",
    "blanks behind": lambda size: 'open("/a", 0)' + " " * size + "x",
    "digits": lambda size: "1" * size,
    "times": lambda size: "1.1 " * size,
    "numbers": lambda size: "1 " * size,
    "a long name": lambda size: "a" * size + "(",
    "kdump columns": lambda size: " 1 a" + " " * size + "CALL",
    "kdump times": lambda size: "  1 1 a " + "1.000000 " * size + "CALL",
    "kdump arguments": lambda size: "  1 a CALL  open(" + "," * size + ")",
    "resumed": lambda size: "1 <... open resumed>" * size,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_line_takes_more_than_linear_work(name: str) -> None:
    """Work is counted in steps of the interpreter: four times the line, at most about four times the steps."""
    small, large = (_steps(HOSTILE[name](size)) for size in (1000, 4000))
    assert large <= 6 * small + 2000


def _steps(line: str) -> int:
    """Return the lines of code that reading a line takes: the tokens looked at, not the time."""
    steps = 0

    def trace(_frame: FrameType, _event: str, _arg: object) -> TraceFunction:
        nonlocal steps
        steps += 1
        return trace

    sys.settrace(trace)
    try:
        for parse in READERS:
            for _ in follow(parse(line)):
                pass
    finally:
        sys.settrace(None)
    return steps


_PATTERNS = [
    value
    for module in (strace, kdump, truss, __import__("chrootbuild.trace.arguments", fromlist=["x"]))
    for value in vars(module).values()
    if isinstance(value, re.Pattern)
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pattern_explodes(name: str) -> None:
    """A pattern that backtracks more than linearly would not come back on these within the suite's life."""
    line = HOSTILE[name](16000)[:60000]
    for pattern in _PATTERNS:
        if isinstance(pattern.pattern, str):
            pattern.match(line)
            pattern.match(line, len(line) // 2)


def test_forks_without_end_and_descriptors_without_end() -> None:
    """What is kept of each process, and of how many, is bounded; those kept are right."""
    opens = "".join(f'1 open("/d{fd}", O_RDONLY|O_DIRECTORY) = {fd}\n' for fd in range(3, 3000))
    forks = "".join(f"1 fork() = {pid}\n{pid} exit_group(0) = ?\n" for pid in range(2, 20000))
    last = list(follow(strace.parse(opens + forks + '1 openat(2999, "a", O_RDONLY) = 3\n')))[-1]
    assert isinstance(last, Access)
    assert last.path == "/d2999/a"


def test_memory_is_bounded_by_what_is_open() -> None:
    """Calls that never return, of ever new processes: the oldest are let go."""

    def lines() -> Iterator[str]:
        for pid in range(1, 60000):
            yield f'{pid} open("/{"a" * 500}", O_RDONLY <unfinished ...>'

    calls: list[Call] = list(strace.parse(lines()))
    assert 1000 < len(calls) < 50000
