"""An ELF file in parts: each is checked against the file's size before it is read.

The layouts come from pyelftools: its ``ELFStructs`` are made once for each
class and byte order and turned into one :class:`struct.Struct` per record, to
decode whole tables at once.
"""

from __future__ import annotations

import errno
import os

from chrootbuild.elf.facts import ET_DYN, ET_EXEC
from chrootbuild.elf.records import Flavour

_HEADERS = 4096  # program headers
_SHT_NOTE, _SHF_ALLOC, _SHDR_64 = 7, 2, 64


class BrokenError(Exception):
    """The file is inconsistent; the text gives the fault."""


def pread(fd: int, length: int, offset: int) -> bytes:
    """Return up to ``length`` bytes at an offset, none beyond what the system can address; raises OSError."""
    try:
        return os.pread(fd, length, offset)
    except OverflowError:
        return b""
    except OSError as error:
        if error.errno == errno.EINVAL:  # an offset beyond the file system's limit
            return b""
        raise


class Image:
    """An open ELF file: its header, and its parts by offset and by address."""

    def __init__(self, fd: int, size: int, head: bytes, flavour: Flavour) -> None:
        self.fd = fd
        self.size = size
        self.head = head
        self.flavour = flavour
        self.header = flavour.ehdr.layout.unpack_from(head)
        self.loads: list[tuple[int, int, int]] = []  # vaddr, offset, file size

    def part(self, offset: int, length: int, what: str) -> bytes:
        """Return ``length`` bytes; raises for a part outside the file."""
        if offset + length <= len(self.head):
            return self.head[offset : offset + length]
        if offset + length > self.size:
            raise BrokenError(f"its {what} lies outside the file")
        data = pread(self.fd, length, offset)
        if len(data) != length:
            raise BrokenError(f"its {what} cannot be read whole")
        return data

    def place(self, address: int) -> tuple[int, int] | None:
        """Return an address's file offset, and the count of file bytes from there to its segment's end."""
        for vaddr, offset, size in self.loads:
            if vaddr <= address < vaddr + size:
                deep = address - vaddr
                if offset + deep < self.size:
                    return offset + deep, min(size - deep, self.size - offset - deep)
        return None

    def program_headers(self) -> bytes:
        """Return the program header table; raises for one that linkers reject."""
        at, record, header = self.flavour.ehdr.at, self.flavour.phdr, self.header
        if self.head[6] != 1:
            raise BrokenError("ELF file version ident does not match current one")
        if header[at["e_version"]] != 1:
            raise BrokenError("ELF file version does not match current one")
        if header[at["e_type"]] not in (ET_EXEC, ET_DYN):
            raise BrokenError("only ET_DYN and ET_EXEC can be loaded")
        count, step = header[at["e_phnum"]], header[at["e_phentsize"]]
        if not count:
            return b""
        if step != record.layout.size:
            raise BrokenError("ELF file's phentsize not the expected size")
        if count > _HEADERS:
            raise BrokenError(f"it has {count} program headers")
        return self.part(header[at["e_phoff"]], count * step, "program header table")

    def unmapped_notes(self) -> list[tuple[int, int, int]]:
        """Return offset, size and alignment of the note sections outside any segment."""
        at, record, header = self.flavour.ehdr.at, self.flavour.shdr, self.header
        count, step, start = header[at["e_shnum"]], header[at["e_shentsize"]], header[at["e_shoff"]]
        if not count or step != record.layout.size or start + count * step > self.size:
            return []  # linkers ignore sections, so a file may have none, or wrong ones
        table = self.part(start, count * step, "section header table")
        # The last bytes of sh_type and sh_flags, of all sections at once.
        kind, flags = (4, 8) if self.flavour.mark == "<" else (7, 15 if step == _SHDR_64 else 11)
        marks = zip(table[kind::step], table[flags::step], strict=True)
        if all(mark != _SHT_NOTE or flag & _SHF_ALLOC for mark, flag in marks):
            return []
        at = record.at
        return [
            (entry[at["sh_offset"]], entry[at["sh_size"]], entry[at["sh_addralign"]])
            for entry in record.layout.iter_unpack(table)
            if entry[at["sh_type"]] == _SHT_NOTE
            and not entry[at["sh_flags"]] & _SHF_ALLOC
            and entry[at["sh_offset"]] + entry[at["sh_size"]] <= self.size
        ]
