"""Notes of an ELF file: FreeBSD's version, and dlopen(3) metadata."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from chrootbuild.elf.facts import Dlopen

__all__ = ["FDO_DLOPEN", "dlopens", "split_notes"]

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
