"""Layouts of ELF records: pyelftools' structures, as :class:`struct.Struct`.

pyelftools makes ``ELFStructs`` for a class and a byte order; each is made once
here, and each flat record becomes one struct, to decode a whole table at once.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, NamedTuple

from elftools.elf.structs import ELFStructs

__all__ = ["Flavour", "Record", "flavour"]

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
