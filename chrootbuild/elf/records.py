"""Layouts of ELF records: pyelftools' structures, as :class:`struct.Struct`.

pyelftools makes ``ELFStructs`` for a class and a byte order; each is made once
here, and each flat record becomes one struct, to decode a whole table at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from elftools.elf.structs import ELFStructs

from chrootbuild.elf.facts import Dlopen

_INTEGERS = {1: "B", 2: "H", 4: "L", 8: "Q"}


class Record(NamedTuple):
    """A flat record as a struct, and the index of each field in its tuple."""

    layout: struct.Struct
    at: dict[str, int]


class Flavour(NamedTuple):
    """The records of one class and byte order."""

    bits: int
    little: bool
    mark: str  # "<" or ">"
    ehdr: Record
    phdr: Record
    dyn: Record
    sym: Record
    shdr: Record


def _record(mark: str, record: Any) -> Record:
    """Return a record of pyelftools' as a struct; what has no integer's size (e_ident) is passed over."""
    form = mark
    at: dict[str, int] = {}
    for field in record.subcons:
        size = field.sizeof()  # 0 for a computed field
        if size in _INTEGERS:
            at[field.name] = len(at)
        form += _INTEGERS.get(size, f"{size}x")
    return Record(struct.Struct(form), at)


@cache
def flavour(bits: int, little: bool) -> Flavour:
    """Return the records of a class, 32 or 64, and a byte order; cached."""
    structs = ELFStructs(little_endian=little, elfclass=bits)
    structs.create_basic_structs()
    structs.create_advanced_structs()
    mark = "<" if little else ">"
    return Flavour(
        bits,
        little,
        mark,
        _record(mark, structs.Elf_Ehdr),
        _record(mark, structs.Elf_Phdr),
        _record(mark, structs.Elf_Dyn),
        _record(mark, structs.Elf_Sym),
        _record(mark, structs.Elf_Shdr),
    )


FDO_DLOPEN = 0x407C0C0A  # uapi-group, "ELF dlopen metadata"; the owner is FDO


def split_notes(data: bytes, mark: str, align: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield owner, type and content of each note in a segment padded to ``align`` bytes.

    ``mark`` is the byte order, "<" or ">". A note that exceeds the segment ends it.
    """
    layout = struct.Struct(mark + "3L")
    at = 0
    while at + 12 <= len(data):
        name, size, kind = layout.unpack_from(data, at)
        start = at + 12
        content = start + -(-name // align) * align if align == 4 else -(-(start + name) // align) * align
        if content + size > len(data):
            return
        yield data[start : start + name], kind, data[content : content + size]
        at = -(-(content + size) // align) * align


def dlopens(content: bytes) -> tuple[Dlopen, ...]:
    """Decode the JSON of a dlopen note; entries against the specification are skipped."""
    import json  # such notes are rare

    try:
        entries = json.loads(content.rstrip(b"\0").decode())
    except (ValueError, RecursionError):
        return ()
    found = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("soname"), list):
            continue
        names = tuple(name for name in entry["soname"] if isinstance(name, str) and _is_name(name))
        priority = entry.get("priority", "recommended")
        if names and priority in ("required", "recommended", "suggested"):
            feature = str(entry.get("feature", "")).encode(errors="replace").decode()
            found.append(Dlopen(names, priority, feature))
    return tuple(found)


def _is_name(name: str) -> bool:
    """Return whether a JSON string can be a file name: no lone surrogate."""
    return (
        bool(name) and "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)
    )
