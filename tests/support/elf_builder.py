"""Builds an ELF file byte by byte, so that each field can be made wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 10, 14, 15, 29
DT_FLAGS_1 = 0x6FFFFFFB
BASE = 0x10000  # where the file is mapped


@dataclass
class Elf:
    """What the file says; ``values`` overrides what the builder works out for a dynamic tag."""

    bits: int = 64
    little: bool = True
    machine: int = 62
    type: int = 3
    interpreter: str | None = None
    strings: Sequence[tuple[int, str]] = ()  # (tag, text)
    values: dict[int, int] = field(default_factory=dict)
    note: bytes = b""
    dynamic_offset: int | None = None
    dynamic_size: int | None = None
    load_size: int | None = None

    def build(self) -> bytes:
        """Return the file: header, program headers, interpreter, note, strings, dynamic section."""
        mark = "<" if self.little else ">"
        word = "Q" if self.bits == 64 else "L"
        header_size, step = (64, 56) if self.bits == 64 else (52, 32)
        interpreter = b"" if self.interpreter is None else self.interpreter.encode() + b"\0"
        count = 2 + (self.interpreter is not None) + bool(self.note)
        at = header_size + count * step
        interpreter_at = at
        note_at = -(-(interpreter_at + len(interpreter)) // 4) * 4
        strings_at = note_at + len(self.note)
        table, offsets = bytearray(b"\0"), {}
        for _, text in self.strings:
            offsets[text] = len(table)
            table += text.encode() + b"\0"
        dynamic_at = -(-(strings_at + len(table)) // 16) * 16
        values = {DT_STRTAB: BASE + strings_at, DT_STRSZ: len(table), **self.values}
        entries = [(tag, offsets[text]) for tag, text in self.strings] + list(values.items()) + [(0, 0)]
        dynamic = b"".join(struct.pack(mark + word.lower() + word, tag, value) for tag, value in entries)
        size = dynamic_at + len(dynamic)
        where = dynamic_at if self.dynamic_offset is None else self.dynamic_offset
        length = len(dynamic) if self.dynamic_size is None else self.dynamic_size
        headers = [(PT_LOAD, 0, size if self.load_size is None else self.load_size)]
        if self.interpreter is not None:
            headers.append((PT_INTERP, interpreter_at, len(interpreter)))
        if self.note:
            headers.append((PT_NOTE, note_at, len(self.note)))
        headers.append((PT_DYNAMIC, where, length))
        parts = [
            b"\x7fELF" + bytes((2 if self.bits == 64 else 1, 1 if self.little else 2, 1)) + bytes(9),
            struct.pack(mark + "HHL", self.type, self.machine, 1),
            struct.pack(mark + word * 3, 0, header_size, 0),
            struct.pack(mark + "L6H", 0, header_size, step, count, 0, 0, 0),
            *(self._header(mark, kind, offset, length) for kind, offset, length in headers),
        ]
        data = b"".join(parts) + interpreter
        data = data.ljust(note_at, b"\0") + self.note + bytes(table)
        return data.ljust(dynamic_at, b"\0") + dynamic

    def _header(self, mark: str, kind: int, offset: int, length: int) -> bytes:
        if self.bits == 64:
            return struct.pack(mark + "LL6Q", kind, 4, offset, BASE + offset, 0, length, length, 4)
        return struct.pack(mark + "8L", kind, offset, BASE + offset, 0, length, length, 4, 4)


def note(owner: bytes, kind: int, content: bytes, *, little: bool = True) -> bytes:
    """Return one note, padded to four bytes."""
    head = struct.pack("<3L" if little else ">3L", len(owner), len(content), kind)
    return head + owner + bytes(-len(owner) % 4) + content + bytes(-len(content) % 4)
