"""Reader and writer of glibc's /etc/ld.so.cache, as ldconfig(8) writes it.

Format (glibc, dl-cache.h): ``glibc-ld.so.cache1.1``, counts, entries of 24
bytes in descending order of soname, strings, and an extension directory with
the generator's name and the names of the hwcaps subdirectories. Numbers are in
the byte order of the machine it is for. An older ``ld.so-1.7.0`` part may stand
before it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from functools import cmp_to_key
from typing import NamedTuple

from chrootbuild.elf.facts import Facts

_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0\0"
_HEADER = "20sIIB3xI12x"  # magic, entries, length of the strings, byte order, extensions
_ENTRY = "iIIIQ"  # flags, soname, path, unused, hwcap
_EXTENSION_MAGIC = 0xEAA42174
_TAG_GENERATOR, _TAG_HWCAPS = 0, 1
_STRING = 4096  # bytes of a path, PATH_MAX
_OVERLAP = 4  # strings may share their ends: limit on their total, as a multiple of the file's size
_HWCAPS = 1024  # names of subdirectories
_HWCAP_EXTENSION = 1 << 62  # the low 32 bits are an index into the names
_ORDERS = {0: "", 2: "<", 3: ">"}

# glibc, ldconfig.h: FLAG_ELF_LIBC6 and the bits of the ABI.
_ELF, _LIBC6 = 0x0001, 0x0003
_EM_MIPS, _EM_PPC64, _EM_S390, _EM_ARM, _EM_SPARCV9, _EM_IA64 = 8, 21, 22, 40, 43, 50
_EM_X86_64, _EM_AARCH64, _EM_RISCV, _EM_LOONGARCH = 62, 183, 243, 258
_FLAGS = {
    (_EM_X86_64, 64): 0x0300,
    (_EM_X86_64, 32): 0x0800,
    (_EM_PPC64, 64): 0x0500,
    (_EM_S390, 64): 0x0400,
    (_EM_SPARCV9, 64): 0x0100,
    (_EM_IA64, 64): 0x0200,
    (_EM_AARCH64, 64): 0x0A00,
    (_EM_MIPS, 64): 0x0700,
}
_KNOWN = frozenset(("libc.so.6", "libm.so.6"))
_EF_ARM_HARD, _EF_ARM_SOFT = 0x400, 0x200
_EF_MIPS_NAN2008, _EF_MIPS_N32 = 0x400, 0x20
_EF_RISCV_FLOAT, _EF_LARCH_FLOAT = 0x6, 0x7


class CacheError(ValueError):
    """The bytes are not a cache; the text gives the reason."""


class Entry(NamedTuple):
    """One line of ``ldconfig -p``."""

    soname: str
    path: str
    flags: int  # FLAG_ELF_LIBC6 and the class; see class_flag
    hwcaps: str = ""  # the glibc-hwcaps subdirectory: "x86-64-v3"
    legacy: int = 0  # bits of the hwcap field from before glibc 2.33


def class_flag(facts: Facts) -> int:
    """Return ldconfig's flags field for an object."""
    flags = facts.eflags
    if facts.machine == _EM_ARM:
        return _LIBC6 | (0x0900 if flags & _EF_ARM_HARD else 0x0B00 if flags & _EF_ARM_SOFT else 0)
    if facts.machine == _EM_RISCV:
        return _LIBC6 | {0: 0x0F00, 4: 0x1000}.get(flags & _EF_RISCV_FLOAT, 0)
    if facts.machine == _EM_LOONGARCH:
        return _LIBC6 | {1: 0x1100, 3: 0x1200}.get(flags & _EF_LARCH_FLOAT, 0)
    if facts.machine == _EM_MIPS:
        new = bool(flags & _EF_MIPS_NAN2008)
        if facts.bits == 64:
            return _LIBC6 | (0x0E00 if new else 0x0700)
        if flags & _EF_MIPS_N32:
            return _LIBC6 | (0x0D00 if new else 0x0600)
        return _LIBC6 | (0x0C00 if new else 0)
    bits = _FLAGS.get((facts.machine, facts.bits), 0)
    # For a class without a bit, ldconfig marks an object that does not use this libc as plain ELF.
    return _LIBC6 | bits if bits or _KNOWN.intersection(facts.needed) else _ELF


def parse(data: bytes) -> tuple[Entry, ...]:
    """Return the entries in file order; raises CacheError.

    Damaged entries (a string outside the file) are skipped.
    """
    base = _start(data)
    order = _ORDERS.get(data[base + 28] & 3)
    if order is None:
        raise CacheError("it is marked as incomplete")
    if not order:  # written before glibc 2.33: the byte order in which the counts fit
        order = "<" if _fits("<", data, base) else ">"
    if not _fits(order, data, base):
        raise CacheError("it has more entries than bytes")
    _, count, _, _, extension = struct.unpack_from(order + _HEADER, data, base)
    names = _hwcaps(data, base, order, extension)
    texts: dict[int, str] = {}
    left = _OVERLAP * len(data)

    def text(offset: int) -> str:
        nonlocal left
        if offset not in texts:
            texts[offset] = _text(data, base + offset)
            left -= len(texts[offset])
            if left < 0:
                raise CacheError("its strings overlap")
        return texts[offset]

    entries = []
    start = base + struct.calcsize(order + _HEADER)
    table = memoryview(data)[start : start + count * 24]
    for flags, key, value, _, hwcap in struct.iter_unpack(order + _ENTRY, table):
        soname, path = text(key), text(value)
        if not soname or not path.startswith("/"):
            continue
        if hwcap & _HWCAP_EXTENSION:
            index = hwcap & 0xFFFFFFFF
            if index < len(names) and names[index]:
                entries.append(Entry(soname, path, flags, names[index]))
        else:
            entries.append(Entry(soname, path, flags, "", hwcap))
    return tuple(entries)


def _start(data: bytes) -> int:
    """Return the offset of the new format: after the old part, if there is one."""
    base = 0
    if data.startswith(_OLD_MAGIC[:-1]):
        counts = [struct.unpack_from(order + "I", data, 12)[0] for order in "<>" if len(data) >= 16]
        ends = [-(-(16 + count * 12) // 8) * 8 for count in counts]
        base = next((end for end in ends if data[end : end + 20] == _MAGIC), -1)
        if base < 0:
            raise CacheError("it is in the format from before glibc 2.2")
    if data[base : base + 20] != _MAGIC:
        raise CacheError("it does not start with glibc-ld.so.cache1.1")
    if len(data) < base + 48:
        raise CacheError("it is cut off in its header")
    return base


def _fits(order: str, data: bytes, base: int) -> bool:
    _, count, strings, _, _ = struct.unpack_from(order + _HEADER, data, base)
    return bool(base + 48 + count * 24 + strings <= len(data))


def _hwcaps(data: bytes, base: int, order: str, at: int) -> list[str]:
    """Return the hwcaps subdirectories that the extension lists."""
    if not at or base + at + 8 > len(data):
        return []
    magic, count = struct.unpack_from(order + "II", data, base + at)
    if magic != _EXTENSION_MAGIC or base + at + 8 + count * 16 > len(data):
        return []
    table = b""
    for index in range(count):
        tag, _, offset, size = struct.unpack_from(order + "IIII", data, base + at + 8 + index * 16)
        if tag == _TAG_HWCAPS and base + offset + size <= len(data):
            table = data[base + offset : base + offset + min(size // 4, _HWCAPS) * 4]  # the last one wins
    return [_text(data, base + where) for (where,) in struct.iter_unpack(order + "I", table)]


def _text(data: bytes, at: int) -> str:
    """Return the NUL-terminated string at an offset; "" for one without an end."""
    end = data.find(b"\0", at, at + _STRING)
    return os.fsdecode(data[at:end]) if end >= 0 else ""


# -- writing -------------------------------------------------------------------------------


def render(entries: Iterable[Entry], *, little: bool = True, generator: str = "chrootbuild") -> bytes:
    """Return a cache file of these entries, byte for byte as ldconfig writes it.

    Strings may hold any byte but NUL. Equal entries are written once.
    """
    order = "<" if little else ">"
    chosen = sorted(dict.fromkeys(entries), key=cmp_to_key(_compare))
    levels = sorted({entry.hwcaps for entry in chosen if entry.hwcaps})
    strings = {text for entry in chosen for text in (entry.soname, entry.path)} | set(levels)
    blob, offsets = _string_table(sorted(map(os.fsencode, strings)))
    base = 48 + len(chosen) * 24

    def where(text: str) -> int:
        return base + offsets[os.fsencode(text)]

    rows = [
        struct.pack(
            order + _ENTRY,
            entry.flags,
            where(entry.soname),
            where(entry.path),
            0,
            _HWCAP_EXTENSION | levels.index(entry.hwcaps) if entry.hwcaps else entry.legacy,
        )
        for entry in chosen
    ]
    end = base + len(blob)
    extension = -(-end // 4) * 4
    header = struct.pack(order + _HEADER, _MAGIC, len(chosen), len(blob), 2 if little else 3, extension)
    return b"".join(
        [
            header,
            *rows,
            blob,
            bytes(extension - end),
            _extension(order, extension, [where(level) for level in levels], os.fsencode(generator)),
        ]
    )


def _extension(order: str, at: int, levels: list[int], generator: bytes) -> bytes:
    sections = 2 if levels else 1
    start = at + 8 + sections * 16
    parts = [struct.pack(order + "II", _EXTENSION_MAGIC, sections)]
    text_at = start + 4 * len(levels)
    parts.append(struct.pack(order + "IIII", _TAG_GENERATOR, 0, text_at, len(generator)))
    if levels:
        parts.append(struct.pack(order + "IIII", _TAG_HWCAPS, 0, start, 4 * len(levels)))
    parts.append(struct.pack(f"{order}{len(levels)}I", *levels))
    parts.append(generator)
    return b"".join(parts)


def _string_table(strings: Iterable[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Return the NUL-terminated strings and their offsets; a suffix of another string shares its bytes."""
    offsets: dict[bytes, int] = {}
    blob = bytearray()
    last = b""
    for text in sorted(strings, key=lambda text: text[::-1], reverse=True):
        if offsets and last.endswith(text):
            offsets[text] = len(blob) - 1 - len(text)
        else:
            offsets[text] = len(blob)
            blob += text + b"\0"
            last = text
    return bytes(blob), offsets


def _compare(one: Entry, two: Entry) -> int:
    """Order entries as ldconfig does: descending sonames, then flags, subdirectories first."""
    order = _compare_sonames(two.soname, one.soname)
    if not order:
        order = two.flags - one.flags
    if not order:
        order = (not one.hwcaps) - (not two.hwcaps)
    if not order:
        order = (one.hwcaps > two.hwcaps) - (one.hwcaps < two.hwcaps)
    return order or two.legacy - one.legacy


def _compare_sonames(one: str, two: str) -> int:
    """Compare two sonames, runs of digits as numbers (glibc, _dl_cache_libcmp)."""
    left, right = _parts(one), _parts(two)
    return (left > right) - (left < right)


def _parts(soname: str) -> list[tuple[int, int]]:
    """Return a sort key's parts, which sort in this order: the end, other characters, numbers."""
    parts, number = [], ""
    for character in soname + "\0":
        if "0" <= character <= "9":
            number += character
            continue
        if number:
            parts.append((2, int(number[-18:])))
            number = ""
        parts.append((1, ord(character)) if character != "\0" else (0, 0))
    return parts
