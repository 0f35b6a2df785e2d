"""Reader of strace(1) text, with or without -f, -y, -yy, -Y, -t, -tt, -ttt, -r, -T, -n, -i, -k, -x.

Formats: strace 6.1. A call may be split by calls of other processes
(<unfinished ...>, resumed); its parts are joined. Lines that are not calls
(a program's own output, signals, stack traces) are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from chrootbuild.trace import arguments
from chrootbuild.trace.calls import FORKS, SIGNATURES, Call, Name, Pending, lines

_TIME = r"(?:\d+:\d+:\d+(?:\.\d+)?|\d+\.\d+|\(\+ *\d+\.\d+\))"
_PREFIX = re.compile(
    r" *(?:\[pid +(\d+)(?:<[^>]*>)?\] +|(\d+)(?:<[^>]*>)? +)?"  # [pid 12], 12, 12<comm>
    rf"(?:{_TIME} +){{0,2}}"
    r"(?:\[ *\d+\] +)?"  # -n
    r"(?:\[[0-9a-f?]+\] +)?"  # -i
)
_BEGIN = re.compile(r"([a-z_][a-z0-9_]{0,63})\(")
_RESUMED = re.compile(r"<\.\.\. ([a-z_][a-z0-9_]{0,63}) resumed> ?")
_RESULT = re.compile(
    r"\s*=\s+(?:(-?\d+)(<[^<>]*(?:<[^<>]*>)?>)?(?:\(deleted\))?|(0x[0-9a-f]+)|(\?))(?: (E[A-Z0-9]+))?"
)
_ARGV = {"execve": 1, "execveat": 2}
_UNFINISHED = "<unfinished ...>"
_SUN_PATH = re.compile(r"sun_path=(\")")

# A whole line, to tell strace from the others.
LINE = re.compile(
    _PREFIX.pattern + r"(?:[a-z_][a-z0-9_]{0,63}\(.*(?:\) *= (?:-?\d|0x|\?)|<unfinished \.\.\.>$)"
    r"|<\.\.\. [a-z0-9_]+ resumed>|\+\+\+ (?:exited|killed|superseded) |--- (?:SIG[A-Z0-9]+|stopped) )"
)

Source = bytes | str | BinaryIO | Iterable[bytes] | Iterable[str]


def parse(source: Source, *, pid: int = 0) -> Iterator[Call]:
    """Yield the calls of one strace text in order of return.

    ``pid`` is for lines without one. A call whose return was not seen comes at
    its process's end, or last, with errno "?".
    """
    pending = Pending()
    for line in lines(source):
        prefix = _PREFIX.match(line)
        assert prefix is not None  # it can match nothing
        who = int((prefix.group(1) or prefix.group(2) or str(pid))[:10])
        body = line[prefix.end() :]
        mark = body[:1]
        if mark == "<":
            found = _RESUMED.match(body)
            begun = pending.take(who) if found else None
            if found is None or begun is None or not begun.startswith(found.group(1) + "("):
                continue
            body = begun + body[found.end() :]
        elif mark == "+":
            if body.startswith("+++ "):
                yield from _cut(who, pending.take(who))
                yield Call(who, "+exit")
            continue
        begin = _BEGIN.match(body)
        if begin is None or begin.group(1) not in SIGNATURES:
            continue
        if body.endswith(_UNFINISHED):
            pending.put(who, body[: -len(_UNFINISHED)].rstrip(" "))
            if begin.group(1) in FORKS:
                yield Call(who, "+fork", args=(body[begin.end() :],))
            continue
        call = _call(who, begin.group(1), body, begin.end())
        if call is not None:
            yield call
    for who, begun in pending.rest():
        yield from _cut(who, begun)


def _cut(pid: int, begun: str | None) -> Iterator[Call]:
    begin = _BEGIN.match(begun) if begun else None
    if begun is None or begin is None or begin.group(1) in FORKS:
        return
    call = _call(pid, begin.group(1), begun + ") = ?", begin.end())
    if call is not None:
        yield call


def _call(pid: int, name: str, text: str, start: int) -> Call | None:
    parts = arguments.split(text, start)
    if parts is None:
        return None
    args, end = parts
    result = _RESULT.match(text, end)
    if result is None:
        return None
    value, shown, address, unknown, error = result.groups()
    names = arguments.names(name, args)
    if not names and SIGNATURES[name].names and name != "mmap":
        return None
    if name in ("connect", "bind") and len(args) > 1:
        path = _SUN_PATH.search(args[1])
        if path is not None:
            names = tuple(Name(text) for text in arguments.strings(args[1][path.start(1) :])[:1])
    opened = arguments.descriptor(value + shown) if shown else None
    return Call(
        pid,
        name,
        names,
        tuple(args),
        int(value) if value and len(value) < 20 else None,
        error or ("?" if unknown else "" if address or not value or not value.startswith("-") else "E?"),
        opened[1] if opened else "",
        tuple(arguments.strings(args[_ARGV[name]])) if len(args) > _ARGV.get(name, 99) else (),
    )


def parse_files(files: Mapping[int, Source]) -> Iterator[Call]:
    """Yield the calls of ``strace -ff -o F``: one text per process, by pid.

    A child's calls follow its fork, so that it inherits its parent's state at that
    moment. Processes without a parent in the trace come first.
    """
    left = dict(sorted(files.items()))
    while left:
        first = next(iter(left))
        stack = [parse(left.pop(first), pid=first)]
        while stack:
            call = next(stack[-1], None)
            if call is None:
                stack.pop()
                continue
            yield call
            if call.name in FORKS and call.result in left and not call.errno:
                stack.append(parse(left.pop(call.result), pid=call.result))
