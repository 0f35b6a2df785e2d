"""Cache of ELF facts by file signature: an unchanged file is not read again.

The file is text: a first mark, six fields per file, a last mark, separated by
NUL, which no path and no ELF string can hold; 0x01 and 0x02 separate the parts
of a field. It reads twice as fast as JSON (measured). Nothing in it is
executed; malformed entries are dropped.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from itertools import chain

from chrootbuild.elf.facts import Dlopen, Facts
from chrootbuild.errors import Failure
from chrootbuild.system.files import read_file, write_atomically

_FIRST, _LAST = "chrootbuild elf memo 2", "end"
_TOO_NEW = 1_000_000_000  # nanoseconds; a change so soon after could leave the same times
_ITEM, _GROUP = "\1", "\2"
_FIELDS = 6


_Fields = tuple[str, ...]  # path, signature, common facts, soname, needed, rare facts


class Memo:
    """Facts of files by real path, ino, size, mtime and ctime."""

    def __init__(self, file: str = "") -> None:
        self._file = file
        self._old: dict[str, _Fields] = {}  # as they were loaded
        self._new: dict[str, _Fields] = {}  # to save
        self._changed = False
        self._decoded: dict[_Fields, Facts] = {}  # many programs share all facts
        self._commons: dict[str, tuple[object, ...]] = {}  # more share some of them
        self._rares: dict[str, tuple[object, ...]] = {}
        self._encoded: dict[tuple[str, ...], tuple[str, ...]] = {}

    @classmethod
    def load(cls, file: str) -> Memo:
        """Read a memo; an absent or damaged file, or one of another version, gives an empty one."""
        memo = cls(file)
        try:
            data = read_file(file)
        except OSError:
            return memo
        fields = os.fsdecode(data).split("\0")
        if len(fields) % _FIELDS == 2 and fields[0] == _FIRST and fields[-1] == _LAST:
            each = iter(fields[1:-1])
            memo._old = {record[0]: record for record in zip(*[each] * _FIELDS, strict=True)}
        return memo

    def get(self, real: str, info: os.stat_result) -> Facts | None:
        """Return the facts of a file unchanged since they were read, else None."""
        record = self._new.get(real) or self._old.get(real)
        if record is None or record[1] != _signature(info):
            return None
        facts = self._decoded.get(record[2:])
        if facts is None:
            facts = self._decode(record)
            if facts is None:
                return None
            self._decoded[record[2:]] = facts
        self._new[real] = record
        return facts

    def _decode(self, record: _Fields) -> Facts | None:
        _, _, common, soname, needed, rare = record
        try:
            first = self._commons.get(common)
            if first is None:
                first = self._commons[common] = _common(common)
            last = self._rares.get(rare)
            if last is None:
                last = self._rares[rare] = _rare(rare)
            return Facts._make((last[0], *first, _items(needed), soname, *last[1:]))
        except (ValueError, IndexError):
            return None

    def put(self, real: str, info: os.stat_result, facts: Facts) -> None:
        """Store the facts of a file, unless its signature is racy."""
        if time.time_ns() - info.st_ctime_ns < _TOO_NEW:
            return
        raw = "".join(_texts(facts))
        if _ITEM in raw or _GROUP in raw or "\0" in raw:
            return
        try:
            os.fsencode(raw)
        except UnicodeEncodeError:
            return
        encoded = _encode(facts)
        self._new[real] = (real, _signature(info), *self._encoded.setdefault(encoded, encoded))
        self._changed = True

    def save(self) -> None:
        """Write the entries used in this run, if any is new: atomically, mode 0600.

        A memo that cannot be written is no error: the next run reads the files again.
        """
        if not self._file or not self._changed:
            return
        if not os.path.isdir(os.path.dirname(self._file) or "."):
            return  # where nothing was built there is no state folder, and a look makes none
        fields = chain((_FIRST,), *self._new.values(), (_LAST,))
        with contextlib.suppress(Failure):
            write_atomically(self._file, os.fsencode("\0".join(fields)), durable=False)
            self._changed = False


def _signature(info: os.stat_result) -> str:
    return f"{info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"


def _texts(facts: Facts) -> Iterator[str]:
    """Yield every string that the ELF file controls."""
    yield from (facts.soname, *facts.needed, facts.interpreter, facts.error)
    if not facts.plain:
        yield from (facts.rpath or "", facts.runpath or "", facts.cancels)
        yield from (*facts.filters, *facts.auxiliaries, *facts.audits)
        for note in facts.dlopens:
            yield from (note.feature, *note.sonames)


def _encode(facts: Facts) -> tuple[str, str, str, str]:
    """Return four fields: common facts, soname, needed, rare facts."""
    common = (
        f"{facts.bits} {facts.little:d} {facts.machine} {facts.osabi} {facts.eflags} {facts.type} "
        f"{facts.dynamic:d} {facts.flags1} {facts.freebsd} {facts.interpreter}"
    )
    notes = [_ITEM.join((note.priority, note.feature, *note.sonames)) for note in facts.dlopens]
    rare = _GROUP.join(
        (
            facts.error,
            "-" if facts.rpath is None else f"={facts.rpath}",
            "-" if facts.runpath is None else f"={facts.runpath}",
            facts.cancels,
            *map(_list, (facts.filters, facts.auxiliaries, facts.audits)),
            *notes,
        )
    )
    return common, facts.soname, _list(facts.needed), rare


def _common(text: str) -> tuple[object, ...]:
    """Return the first values of Facts, up to the interpreter; raises ValueError and IndexError."""
    bits, little, machine, osabi, eflags, kind, dynamic, flags1, freebsd, interpreter = text.split(" ", 9)
    return (
        int(kind),
        dynamic == "1",
        int(flags1),
        int(bits),
        little == "1",
        int(machine),
        int(osabi),
        int(eflags),
        int(freebsd),
        interpreter,
    )


def _rare(text: str) -> tuple[object, ...]:
    """Return the error, and the last values of Facts from the RPATH on; raises ValueError and IndexError."""
    error, rpath, runpath, cancels, filters, auxiliaries, audits, *notes = text.split(_GROUP)
    return (
        error,
        rpath[1:] if rpath[0] == "=" else None,
        runpath[1:] if runpath[0] == "=" else None,
        _items(filters),
        _items(auxiliaries),
        _items(audits),
        cancels,
        tuple([_note(note.split(_ITEM)) for note in notes]),
    )


def _note(parts: list[str]) -> Dlopen:
    priority, feature, *sonames = parts
    return Dlopen(tuple(sonames), priority, feature)


def _list(items: Iterable[str]) -> str:
    return "".join(f"{_ITEM}{item}" for item in items) or "-"


def _items(text: str) -> tuple[str, ...]:
    return tuple(text[1:].split(_ITEM)) if text[0] == _ITEM else ()
