"""Remembers what files say, so that an unchanged file is not read again.

The file is text: a first line, one record a file, an end mark, parted by two
NUL. A record's fields are parted by one NUL, which no path and no ELF string
can hold; lists by 0x01 and 0x02. That is measured twice as fast to read as
JSON. Nothing in it is run: what does not fit the form is forgotten.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable

from chrootbuild.elf.facts import Dlopen, Facts

__all__ = ["Memo"]

_FIRST, _LAST = "chrootbuild elf memo 1", "end"
_LIMIT = 256 << 20  # bytes
_TOO_NEW = 1_000_000_000  # nanoseconds; a change so soon after could leave the same times
_ITEM, _GROUP = "\1", "\2"
_NEEDED = Facts._fields.index("needed")  # followed by soname


class Memo:
    """The facts of files by real path, ino, size, mtime and ctime."""

    def __init__(self, file: str = "") -> None:
        self._file = file
        self._old: dict[str, str] = {}  # records as they were loaded
        self._new: dict[str, str] = {}  # records to save
        self._changed = False
        self._shared: dict[str, Facts] = {}  # what many records have in common, as it was decoded

    @classmethod
    def load(cls, file: str) -> Memo:
        """Read a memo; a file that is absent, damaged, or of another version is an empty one."""
        memo = cls(file)
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb") as stream:
                info = os.fstat(fd)
                data = stream.read() if stat.S_ISREG(info.st_mode) and info.st_size <= _LIMIT else b""
        except OSError:
            return memo
        first, *records, last = os.fsdecode(data).split("\0\0") if b"\0\0" in data else ("", "")
        if first == _FIRST and last == _LAST:
            memo._old = {record.partition("\0")[0]: record for record in records}
        return memo

    def get(self, real: str, info: os.stat_result) -> Facts | None:
        """Return the facts of a file that has not changed since they were read."""
        record = self._new.get(real) or self._old.get(real)
        if record is None:
            return None
        fields = record.split("\0")
        if len(fields) != 6 or fields[1] != _signature(info):
            return None
        _, _, common, soname, needed, rare = fields
        facts = self._shared.get(common + rare)
        if facts is None:
            try:
                facts = self._shared[common + rare] = _decode(common, rare)
            except (ValueError, IndexError):
                return None
        self._new[real] = record
        values = (*facts[:_NEEDED], _items(needed), soname[1:], *facts[_NEEDED + 2 :])
        return Facts._make(values)

    def put(self, real: str, info: os.stat_result, facts: Facts) -> None:
        """Remember the facts of a file; not of one that changed a moment ago."""
        if time.time_ns() - info.st_ctime_ns < _TOO_NEW:
            return
        record = "\0".join((real, _signature(info), *_encode(facts)))
        if record.count("\0") == 5 and "\0\0" not in record:
            self._new[real] = record
            self._changed = True

    def save(self) -> None:
        """Write what was used in this run, if there is anything new in it: atomically, mode 0600.

        A memo that cannot be written is no error: the next run reads the files again.
        """
        if not self._file or not self._changed:
            return
        folder, name = os.path.split(self._file)
        draft = os.path.join(folder, f".{name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "wb") as stream:
                    stream.write(os.fsencode("\0\0".join((_FIRST, *self._new.values(), _LAST))))
                os.replace(draft, self._file)
            except OSError:
                os.unlink(draft)
                raise
            self._changed = False


def _signature(info: os.stat_result) -> str:
    return f"{info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"


def _encode(facts: Facts) -> tuple[str, str, str, str]:
    """Return four fields, none of them empty: what many files share, soname, needed, what few have."""
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
    return common, f"={facts.soname}", _list(facts.needed), rare


def _decode(common: str, rare: str) -> Facts:
    """Return the facts that the first and the last field state; raises ValueError and IndexError."""
    bits, little, machine, osabi, eflags, kind, dynamic, flags1, freebsd, interpreter = common.split(" ", 9)
    error, rpath, runpath, cancels, filters, auxiliaries, audits, *notes = rare.split(_GROUP)
    return Facts(
        error=error,
        bits=int(bits),
        little=little == "1",
        machine=int(machine),
        osabi=int(osabi),
        eflags=int(eflags),
        type=int(kind),
        interpreter=interpreter,
        dynamic=dynamic == "1",
        rpath=rpath[1:] if rpath[0] == "=" else None,
        runpath=runpath[1:] if runpath[0] == "=" else None,
        filters=_items(filters),
        auxiliaries=_items(auxiliaries),
        audits=_items(audits),
        flags1=int(flags1),
        cancels=cancels,
        freebsd=int(freebsd),
        dlopens=tuple(_note(note.split(_ITEM)) for note in notes),
    )


def _note(parts: list[str]) -> Dlopen:
    priority, feature, *sonames = parts
    return Dlopen(tuple(sonames), priority, feature)


def _list(items: Iterable[str]) -> str:
    return "".join(f"{_ITEM}{item}" for item in items) or "-"


def _items(text: str) -> tuple[str, ...]:
    return tuple(text[1:].split(_ITEM)) if text[0] == _ITEM else ()
