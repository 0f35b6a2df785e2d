"""Reader of FreeBSD's kdump(1) text, FreeBSD 5 to 14, with -H, -T, -E, -R, -n, -d, -A, -S.

A call is several lines: CALL (its arguments, never its names), NAMI (one per
name the kernel looked up), STRU, GIO, and RET. They are kept per thread until
RET. Data dumps have lines of their own, indented more than any pid; lines that
are not records are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from chrootbuild.trace.arguments import descriptor
from chrootbuild.trace.calls import AT_FDCWD, FORKS, SIGNATURES, Call, Name, freebsd, lines, number

_TYPES = "CALL|RET|NAMI|GIO|PSIG|CSW|USER|STRU|SCTL|CAP|PFLT|PRET"
LINE = re.compile(
    r" {0,5}(\d{1,10})(?: +(\d{1,10}))? (\S.{0,18}?) +"  # pid, with -H tid, and the command's name
    rf"(?:-?\d+\.\d{{6,9}} +){{0,3}}({_TYPES})(?: |$) *(?:[A-Z]+[0-9]{{2}} +)?(.*)",
    re.DOTALL,
)
_CALL = re.compile(r"([A-Za-z_][\w.]{0,63})(?:\((.*)\))?")
_RET = re.compile(
    r"([A-Za-z_][\w.]{0,63}) (?:-1 errno (-?\d{1,6})|(JUSTRETURN)|(RESTART)|(-?0x[0-9a-f]+|-?\d+))"
)
_SOCKET = re.compile(r"struct sockaddr \{ AF_(LOCAL|UNIX|INET6?), (.*) \}")
_NAMES = 8  # names kept for a call; no call has more relevant ones
_THREADS = 1 << 14


@dataclass(slots=True)
class _Open:
    name: str
    args: tuple[str, ...]
    names: list[str] = field(default_factory=list)


def parse(source: bytes | str | BinaryIO | Iterable[bytes] | Iterable[str]) -> Iterator[Call]:
    """Yield the calls of a kdump text in order of return; errno "?" for those without one."""
    begun: dict[tuple[int, int], _Open] = {}
    for line in lines(source):
        record = LINE.match(line)
        if record is None:
            continue
        pid, thread = int(record.group(1)), int(record.group(2) or 0)
        program, kind, payload = record.group(3), record.group(4), record.group(5)
        key = (pid, thread)
        if kind == "CALL":
            yield from _begin(begun, key, payload, program)
        elif kind == "NAMI":
            call = begun.get(key)
            name = payload.rstrip()
            if call and len(call.names) < _NAMES and len(name) > 1 and name[0] == name[-1] == '"':
                call.names.append(name[1:-1])
        elif kind == "STRU":
            socket = _SOCKET.match(payload)
            call = begun.get(key)
            if socket and call:
                begun[key] = _Open(call.name, (*call.args[:8], f"{socket[1]} {socket[2]}"), call.names)
        elif kind == "RET":
            result = _RET.match(payload)
            call = begun.pop(key, None)
            if result and call and result.group(1) == call.name and not result.group(4):
                yield _end(pid, call, program, result)
    for (pid, _), call in begun.items():
        if call.name not in FORKS:
            yield _call(pid, call, "", None, "?")


def _begin(
    begun: dict[tuple[int, int], _Open], key: tuple[int, int], payload: str, program: str
) -> Iterator[Call]:
    found = _CALL.match(payload)
    if found is None or found.group(1) not in SIGNATURES:
        begun.pop(key, None)
        return
    name = found.group(1)
    if name in ("exit", "_exit"):
        begun.pop(key, None)
        yield Call(key[0], "+exit", program=program)
        return
    if name in FORKS:
        yield Call(key[0], "+fork", program=program)
    if len(begun) >= _THREADS and key not in begun:
        del begun[next(iter(begun))]
    args = tuple(arg.strip() for arg in (found.group(2) or "").split(",")[:16])
    begun[key] = _Open(name, args)


def _end(pid: int, call: _Open, program: str, result: re.Match[str]) -> Call:
    code, just, value = result.group(2), result.group(3), result.group(5)
    returned = 0 if just else number(value) if value else None
    return _call(pid, call, program, returned, freebsd(int(code)) if code else "")


def _call(pid: int, call: _Open, program: str, result: int | None, errno: str) -> Call:
    """Pair the looked-up names with the arguments they belong to."""
    names: list[Name] = []
    looked_up = list(call.names)
    for at_index, index in SIGNATURES[call.name].names:
        at = AT_FDCWD
        if at_index is not None and at_index < len(call.args):
            where = descriptor(call.args[at_index])
            at = where[0] if where else AT_FDCWD
        if index is None:
            names.append(Name("", at))
        elif looked_up:
            names.append(Name(looked_up.pop(0), at))
    if call.name in ("connect", "bind", "connectat", "bindat") and call.names:
        names = [Name(call.names[0])]
    return Call(pid, call.name, tuple(names), call.args, result, errno, program=program)
