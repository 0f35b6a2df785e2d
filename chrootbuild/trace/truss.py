"""Reader of FreeBSD's truss(1) text, with -f, -H, -d, -D, -a, -e; and of dtruss text.

One line per call, written on return: ``[pid: ][pid tid: ][time ]name(arg,arg)``
and then ``= 3 (0x3)`` or ``ERR#2 'No such file or directory'``
(usr.bin/truss/setup.c, syscalls.c). Strings are escaped as by vis(3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from chrootbuild.trace import arguments
from chrootbuild.trace.calls import FORKS, SIGNATURES, Call, Name, freebsd, lines

_PREFIX = re.compile(r" *(?:(\d+)(?: +\d+)?: +|(\d+)/(?:0x)?[0-9a-f]+: +)?(?:-?\d+\.\d+ +){0,2}")
_BEGIN = re.compile(r"([a-z_][a-z0-9_]{0,63})\(")
_RESULT = re.compile(r"\s*(?:= )?(?:(?:-1 )?E(?:RR|rr)#(\d+)|(EJUSTRETURN)|(E[A-Z]+)|(-?\d+)(?: \(|$| ))")
_SOCKET = re.compile(r"\{ AF_(?:UNIX|LOCAL) (\")")

LINE = re.compile(
    _PREFIX.pattern
    + r"(?:[a-z_][a-z0-9_]{0,63}\(.*\)\s+(?:(?:= )?(?:-1 )?E(?:RR|rr)#\d+ ?|EJUSTRETURN|= -?\d+ \(0x)"
    r"|<new (?:process|thread)>|process (?:exit|killed)|SIGNAL \d+ \()"
)


def parse(source: bytes | str | BinaryIO | Iterable[bytes] | Iterable[str]) -> Iterator[Call]:
    """Yield the calls of a truss text."""
    for line in lines(source):
        prefix = _PREFIX.match(line)
        assert prefix is not None  # it can match nothing
        pid = int((prefix.group(1) or prefix.group(2) or "0")[:10])
        body = line[prefix.end() :]
        if body.startswith(("process exit", "process killed")):
            yield Call(pid, "+exit")
            continue
        begin = _BEGIN.match(body)
        if begin is None or begin.group(1) not in SIGNATURES:
            continue
        parts = arguments.split(body, begin.end())
        if parts is None:
            continue
        result = _RESULT.match(body, parts[1])
        if result is not None:
            yield from _calls(pid, begin.group(1), parts[0], result)


def _calls(pid: int, name: str, args: list[str], result: re.Match[str]) -> Iterator[Call]:
    code, just, word, value = result.groups()
    names = arguments.names(name, args)
    if not names and SIGNATURES[name].names and name != "mmap":
        return
    if name in ("connect", "bind") and len(args) > 1:
        path = _SOCKET.search(args[1])
        if path is not None:
            names = tuple(Name(text) for text in arguments.strings(args[1][path.start(1) :])[:1])
    words = arguments.strings(args[1]) if name == "execve" and len(args) > 1 else []
    error = freebsd(int(code[:6])) if code else (word or "")
    number = int(value) if value and len(value) < 20 else (0 if just else None)
    if name in FORKS and error:
        return
    yield Call(pid, name, names, tuple(args), number, error, "", tuple(words))
