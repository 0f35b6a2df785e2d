"""FreeBSD's ld-elf.so.hints: the directories that rtld(1) searches, as ldconfig(8) writes them.

Format (FreeBSD, elf-hints.h): a header of 32 numbers, the directories joined
by ":", a NUL. Written in the target's byte order, which is little endian on
all but a few machines.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from chrootbuild.host import Host

__all__ = ["HintsError", "default_hints", "parse", "path", "render"]

_MAGIC = 0x746E6845
_HEADER = 128  # bytes
_LIMIT = 1 << 20  # bytes of a list of directories
# rc.d/ldconfig and the default of ldconfig_paths in rc.conf.
_STANDARD = ("/lib", "/usr/lib", "/usr/lib/compat", "/usr/local/lib", "/usr/local/lib/compat/pkg")
_STANDARD_32 = ("/usr/lib32", "/usr/lib32/compat")


class HintsError(ValueError):
    """The bytes are not a hints file; the text gives the reason."""


def path(*, compat32: bool = False) -> str:
    """Return the hints file's path; ``compat32``: for 32-bit programs on a 64-bit system."""
    return "/var/run/ld-elf32.so.hints" if compat32 else "/var/run/ld-elf.so.hints"


def parse(data: bytes) -> tuple[str, ...]:
    """Return the directories in order; either byte order is read. Raises HintsError."""
    if len(data) < _HEADER:
        raise HintsError("it is cut off in its header")
    order = next((order for order in "<>" if struct.unpack_from(order + "I", data)[0] == _MAGIC), "")
    if not order:
        raise HintsError("it does not start with the magic number of ELF hints")
    _, version, strings, _, offset, length = struct.unpack_from(order + "6I", data)
    if version != 1:
        raise HintsError(f"it has version {version}")
    start = strings + offset
    if start + length >= len(data) or data[start + length]:
        raise HintsError("its list of directories lies outside the file")
    text = os.fsdecode(data[start : start + length].split(b"\0", 1)[0])
    return tuple(name for name in text.split(":") if name)


def render(directories: Iterable[str], *, little: bool = True) -> bytes:
    """Return a hints file, byte for byte as ldconfig writes it; repeated directories are dropped."""
    text = os.fsencode(":".join(dict.fromkeys(directories)))
    numbers = (_MAGIC, 1, _HEADER, len(text) + 1, 0, len(text))
    head = struct.pack(("<" if little else ">") + "6I", *numbers)
    return head.ljust(_HEADER, b"\0") + text + b"\0"


def default_hints(host: Host, *, compat32: bool = False) -> tuple[str, ...]:
    """Return the existing directories that rc.d/ldconfig would list at boot.

    For a sysroot without a hints file: a base that never booted has none.
    """
    named = list(_STANDARD_32 if compat32 else _STANDARD)
    suffix = "32" if compat32 else ""
    lists = host.glob(f"/usr/local/libdata/ldconfig{suffix}/*")
    for file in [*lists, *([] if compat32 else ["/etc/ld-elf.so.conf"])]:
        named.extend(_directories(host, file))
    return tuple(name for name in dict.fromkeys(named) if name.startswith("/") and host.isdir(name))


def _directories(host: Host, file: str) -> list[str]:
    """Return the directories that a file lists, one per line."""
    text = host.content(file, _LIMIT).decode(errors="surrogateescape")
    return [words[0] for line in text.splitlines() if (words := line.split("#", 1)[0].split())]
