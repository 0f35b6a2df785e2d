"""Reader of ELF files into :class:`~chrootbuild.elf.facts.Facts`: segments, dynamic section, notes.

The input is untrusted: every offset, count and size is checked against the
file's size (``image``) and a bound.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from elftools.elf.enums import ENUM_D_TAG, ENUM_P_TYPE_BASE

from chrootbuild.elf.facts import Facts
from chrootbuild.elf.image import BrokenError, Image, pread
from chrootbuild.elf.records import FDO_DLOPEN, Flavour, dlopens, flavour, split_notes

_SMALLEST = 52  # bytes of the smaller header
_HEAD = 4096  # bytes read at once: the headers, and usually the interpreter and the notes
_DYNAMIC = 1 << 20  # bytes of a dynamic section
_STRINGS = 64 << 20  # bytes of a string table
_STRING = 64 << 10  # bytes of one string
_NOTES = 4 << 20  # bytes of all notes
_SYMBOLS = 1 << 20  # symbols examined
_SAME = 8  # occurrences of one name in a string table
_TEXTS_MOST = 1024  # strings of a dynamic section, or of all dlopen notes

_PT_LOAD = ENUM_P_TYPE_BASE["PT_LOAD"]
_PT_DYNAMIC = ENUM_P_TYPE_BASE["PT_DYNAMIC"]
_PT_INTERP = ENUM_P_TYPE_BASE["PT_INTERP"]
_PT_NOTE = ENUM_P_TYPE_BASE["PT_NOTE"]
_NEEDED, _FILTER, _AUXILIARY = ENUM_D_TAG["DT_NEEDED"], ENUM_D_TAG["DT_FILTER"], ENUM_D_TAG["DT_AUXILIARY"]
_SONAME, _RPATH, _RUNPATH = ENUM_D_TAG["DT_SONAME"], ENUM_D_TAG["DT_RPATH"], ENUM_D_TAG["DT_RUNPATH"]
_STRTAB, _STRSZ, _FLAGS_1 = ENUM_D_TAG["DT_STRTAB"], ENUM_D_TAG["DT_STRSZ"], ENUM_D_TAG["DT_FLAGS_1"]
_SYMTAB, _HASH = ENUM_D_TAG["DT_SYMTAB"], ENUM_D_TAG["DT_HASH"]
_NEXT = "STRTAB GNU_HASH VERSYM VERNEED VERDEF RELA REL JMPREL INIT FINI"  # what may follow a symbol table
_TABLES = tuple(ENUM_D_TAG[f"DT_{name}"] for name in _NEXT.split())
_AUDIT, _DEPAUDIT = 0x6FFFFEFC, 0x6FFFFEFB  # <elf.h>
_TEXTS = frozenset((_NEEDED, _FILTER, _AUXILIARY, _SONAME, _RPATH, _RUNPATH, _AUDIT, _DEPAUDIT))

_CANCELS = (b"pthread_cancel", b"pthread_exit")


def read(fd: int, size: int) -> Facts:
    """Return the facts of an open regular file of ``size`` bytes.

    Never raises for the file's content: ``Facts.error`` has the fault. Raises
    OSError where the file cannot be read. Formats: elf(5), gABI.
    """
    head = pread(fd, _HEAD, 0)
    if head[:4] != b"\x7fELF":
        # In the words of ld.so, which reads a whole header before it checks any of it.
        return Facts(error="file too short" if len(head) < _SMALLEST else "invalid ELF header")
    if len(head) < _SMALLEST:
        return Facts(error="file too short")
    if head[4] not in (1, 2) or head[5] not in (1, 2):
        return Facts(error="invalid ELF class or data encoding")
    kind = flavour(64 if head[4] == 2 else 32, head[5] == 1)
    if len(head) < kind.ehdr.layout.size:
        return Facts(error="file too short", bits=kind.bits, little=kind.little)
    reader = _Reader(fd, size, head, kind)
    try:
        reader.headers()
        reader.dynamic_section()
    except BrokenError as error:
        reader.found["error"] = str(error)
    return reader.facts()


class _Reader(Image):
    """One file while it is read; the facts so far are in ``found``."""

    def __init__(self, fd: int, size: int, head: bytes, flavour: Flavour) -> None:
        super().__init__(fd, size, head, flavour)
        self.dynamic: tuple[int, int] | None = None  # offset, file size
        self.noted = 0  # bytes of notes
        self.found: dict[str, Any] = {}

    def facts(self) -> Facts:
        """Read the file and return its facts."""
        at, header = self.flavour.ehdr.at, self.header
        return Facts(
            **{
                "error": "",
                "type": header[at["e_type"]],
                "bits": self.flavour.bits,
                "little": self.flavour.little,
                "machine": header[at["e_machine"]],
                "osabi": self.head[7],
                "eflags": header[at["e_flags"]],
                **self.found,
            }
        )

    def headers(self) -> None:
        """Decode the program headers."""
        record = self.flavour.phdr
        kind, start = record.at["p_type"], record.at["p_offset"]
        vaddr, length = record.at["p_vaddr"], record.at["p_filesz"]
        notes = []
        for entry in record.layout.iter_unpack(self.program_headers()):
            tag = entry[kind]
            if tag == _PT_LOAD:
                self.loads.append((entry[vaddr], entry[start], entry[length]))
            elif tag == _PT_DYNAMIC:
                self.dynamic = entry[start], entry[length]
            elif tag == _PT_NOTE:
                notes.append((entry[start], entry[length], entry[record.at["p_align"]]))
            elif tag == _PT_INTERP:
                self.found["interpreter"] = self.text(entry[start], entry[length], "interpreter")
        for offset, size, align in (*notes, *self.unmapped_notes()):
            self.notes(offset, size, align)

    def text(self, offset: int, length: int, what: str) -> str:
        """Return the string in a segment, up to its first NUL."""
        if length > _STRING:
            raise BrokenError(f"its {what} is {length} bytes long")
        return os.fsdecode(self.part(offset, length, what).split(b"\0", 1)[0])

    # -- the dynamic section ---------------------------------------------------------------

    def dynamic_section(self) -> None:
        """Decode the dynamic section and the strings it names."""
        if self.dynamic is None:
            return
        offset, length = self.dynamic
        record = self.flavour.dyn
        if length > _DYNAMIC:
            raise BrokenError(f"its dynamic section is {length} bytes long")
        data = self.part(offset, length - length % record.layout.size, "dynamic section")
        values: dict[int, int] = {}
        texts: list[tuple[int, int]] = []
        for tag, value in record.layout.iter_unpack(data):
            if not tag:  # DT_NULL
                break
            if tag in _TEXTS:
                texts.append((tag, value))
            else:
                values[tag] = value
        place = self.place(values[_STRTAB]) if values.get(_STRTAB) else None
        if place is None:
            # A separate debug file has the section's header without its content.
            raise BrokenError("it has no dynamic section that can be read")
        if len(texts) > _TEXTS_MOST:
            raise BrokenError(f"its dynamic section names {len(texts)} strings")
        strings = self.strings(place, values.get(_STRSZ, 0))
        self.found["dynamic"] = True
        self.names([(tag, _string(strings, value)) for tag, value in texts])
        if values.get(_FLAGS_1):
            self.found["flags1"] = values[_FLAGS_1]
        if b"pthread_" in strings:
            cancels = self.cancels(strings, values)
            if cancels:
                self.found["cancels"] = cancels

    def names(self, texts: list[tuple[int, str]]) -> None:
        """Assign the strings of the dynamic section by tag."""
        found = self.found
        found["needed"] = tuple([text for tag, text in texts if tag == _NEEDED])
        if len(texts) == len(found["needed"]):
            return
        last = dict(texts)
        found["soname"] = last.get(_SONAME, "")
        found["runpath"] = last.get(_RUNPATH)
        found["rpath"] = last.get(_RPATH) if found["runpath"] is None else None
        for field, which in (("filters", _FILTER), ("auxiliaries", _AUXILIARY)):
            found[field] = tuple(text for tag, text in texts if tag == which)
        audits = [text for which in (_AUDIT, _DEPAUDIT) for tag, text in texts if tag == which]
        found["audits"] = tuple(name for text in audits for name in text.split(":") if name)

    def strings(self, place: tuple[int, int], size: int) -> bytes:
        """Return the dynamic string table."""
        offset, room = place
        size = min(size or room, room)
        if size > _STRINGS:
            raise BrokenError(f"its string table is {size} bytes long")
        return self.part(offset, size, "string table")

    def cancels(self, strings: bytes, values: dict[int, int]) -> str:
        """Return the name of an undefined symbol that makes libc open libgcc_s.so.1, or ""."""
        names: dict[int, str] = {}
        for name in _CANCELS:
            at = strings.find(name + b"\0")
            while at >= 0 and len(names) < _SAME:
                names[at] = name.decode()
                at = strings.find(name + b"\0", at + 1)
        place = self.place(values[_SYMTAB]) if names and values.get(_SYMTAB) else None
        if place is None:
            return ""
        size = self.flavour.sym.layout.size
        count = min(self.symbols(values), place[1] // size, _SYMBOLS)
        table = self.part(place[0], count * size, "symbol table")
        return next((names[at] for at in names if self.undefined(table, at)), "")

    def undefined(self, table: bytes, name: int) -> bool:
        """Return whether the table has an undefined symbol with ``name`` as its st_name."""
        record = self.flavour.sym
        needle = struct.pack(self.flavour.mark + "L", name)  # st_name is first in either class
        section = record.at["st_shndx"]
        size = record.layout.size
        at = table.find(needle)
        while at >= 0:
            if at % size == 0 and not record.layout.unpack_from(table, at)[section]:
                return True
            at = table.find(needle, at - at % size + size)  # skip the rest of this record
        return False

    def symbols(self, values: dict[int, int]) -> int:
        """Return the number of symbols: from DT_HASH, else from the start of the next table."""
        place = self.place(values[_HASH]) if _HASH in values else None
        if place is not None and place[1] >= 8:
            words = struct.unpack(self.flavour.mark + "2L", self.part(place[0], 8, "hash table"))
            return int(words[1])
        start = values[_SYMTAB]
        end = min((values[tag] for tag in _TABLES if values.get(tag, 0) > start), default=0)
        return (end - start) // self.flavour.sym.layout.size if end else _SYMBOLS

    # -- notes -----------------------------------------------------------------------------

    def notes(self, offset: int, length: int, align: int) -> None:
        """Decode the FreeBSD version and the dlopen notes in a part of the file."""
        self.noted += length
        if self.noted > _NOTES:
            return
        data = self.part(offset, length, "note segment")
        if b"FreeBSD\0" not in data and b"FDO\0" not in data:
            return
        mark = self.flavour.mark
        for owner, kind, content in split_notes(data, mark, 8 if align == 8 else 4):
            if owner == b"FreeBSD\0" and kind == 1 and len(content) == 4:
                self.found["freebsd"] = struct.unpack(mark + "L", content)[0]
            elif owner == b"FDO\0" and kind == FDO_DLOPEN:
                self.found["dlopens"] = self.found.get("dlopens", ()) + dlopens(content)
                names = sum(len(entry.sonames) for entry in self.found["dlopens"])
                if names > _TEXTS_MOST:
                    raise BrokenError(f"its notes name {names} libraries to open")


def _string(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset, offset + _STRING)
    if offset >= len(strings) or end < 0:
        raise BrokenError("a string of its dynamic section lies outside the string table")
    return os.fsdecode(strings[offset:end])
