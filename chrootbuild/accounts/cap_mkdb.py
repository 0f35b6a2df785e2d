"""Capability databases as cap_mkdb(1) makes them: login.conf.db and termcap.db.

A record is stored under its whole name field with ``tc=`` expanded; each of
its names points to that field. libc prefers NAME.db to NAME, so a root has
both in step, or no .db. Source: FreeBSD's cap_mkdb.c and getcap.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from chrootbuild.accounts.db185 import writer
from chrootbuild.accounts.db185.format import LITTLE_ENDIAN
from chrootbuild.accounts.passwd import shown
from chrootbuild.errors import Failure

_RECORD, _UNRESOLVED, _REFERENCE = b"\0", b"\1", b"\2"
_DEPTH = 32  # of tc= in tc=, as in getcap.c
_LARGEST = 1 << 20  # bytes of a record; getcap.c sets no limit
_ALL = 64 << 20  # bytes of all records, expanded


def cap_mkdb(text: bytes, *, lorder: int = LITTLE_ENDIAN) -> bytes:
    """Return the .db file of a capability file; libc reads either byte order (4321, 1234).

    Raises Failure where ``tc=`` leads back to itself, or is nested more than 32 deep.
    """
    return writer.write(pairs(text), ffactor=0, nelem=0, lorder=lorder)


def pairs(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, data) in cap_mkdb's order; the first of equal keys wins."""
    records = _Records(text)
    for record in records.all:
        field, colon, _ = record.partition(b":")
        if not colon or not field or field[:1].isspace():
            continue
        names = [name for name in field.split(b"|") if name]
        if not names:
            continue
        full, resolved = records.expanded(records.by_name[names[0]])
        field = full.partition(b":")[0]
        yield field, (_RECORD if resolved else _UNRESOLVED) + full + b"\0"
        if b"|" in field:
            for name in field.split(b"|"):
                if name:
                    yield name, _REFERENCE + field


class _Records:
    """Records of a capability file by name, continuation lines joined; the first of a name wins."""

    def __init__(self, text: bytes) -> None:
        lines = text.replace(b"\\\n", b"").split(b"\n")
        self.all = [line.partition(b"\0")[0] for line in lines if line[:1] not in (b"", b"#")]
        self.by_name: dict[bytes, bytes] = {}
        for record in self.all:
            for name in record.partition(b":")[0].split(b"|"):
                self.by_name.setdefault(name, record)
        self._done: dict[bytes, tuple[bytes, bool]] = {}
        self._all = 0  # bytes of them

    def expanded(self, record: bytes, depth: int = 0) -> tuple[bytes, bool]:
        """Return a record with each ``tc=NAME`` replaced, and whether every name was found."""
        if record in self._done:
            return self._done[record]
        name = shown(record.partition(b":")[0])
        if depth > _DEPTH:
            raise Failure(
                f"cannot expand the capability record {name}: tc= is nested more than {_DEPTH} deep"
            )
        resolved = True
        parts: list[bytes] = []
        size, at = len(record), 0
        start = _next_tc(record, 0)
        while start >= 0:
            end = record.find(b":", start)
            end = len(record) if end < 0 else end
            other = self.by_name.get(record[start + 3 : end])
            if other is None:
                resolved = False
            else:
                text, complete = self.expanded(other, depth + 1)
                resolved = resolved and complete
                body = text.partition(b":")[2]
                if body and not body.endswith(b":"):
                    body += b":"
                parts += (record[at:start], body)
                size += len(body) - (end + 1 - start)
                at = end + 1
                if size > _LARGEST:
                    raise Failure(
                        f"cannot expand the capability record {name}: it is larger than {_LARGEST} bytes"
                    )
            start = _next_tc(record, end)
        whole = b"".join((*parts, record[at:]))
        self._all += len(whole)
        if self._all > _ALL:
            raise Failure(f"cannot expand the capability records: they are larger than {_ALL} bytes")
        self._done[record] = (whole, resolved)
        return whole, resolved


def _next_tc(record: bytes, at: int) -> int:
    """Return the offset of the next ``tc=`` behind a colon at or after ``at``; -1 for none.

    ``tc@`` ends the search.
    """
    while (at := record.find(b":tc", at)) >= 0:
        sign = record[at + 3 : at + 5]
        if sign[:1] == b"@" or sign == b"=@":
            return -1
        if sign[:1] == b"=":
            return at + 1
        at += 3
    return -1
