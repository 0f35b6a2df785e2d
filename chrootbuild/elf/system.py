"""Tells which system a sysroot is of, by what its programs say."""

from __future__ import annotations

from collections.abc import Sequence

from chrootbuild.elf.facts import OSABI_FREEBSD, Facts
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.objects import Objects
from chrootbuild.host import Host, Unreadable

__all__ = ["detect_system", "is_freebsd", "is_musl"]

_FREEBSD_INTERPRETERS = ("/libexec/ld-elf.so.1", "/usr/libexec/ld-elf.so.1", "/libexec/ld-elf32.so.1")
_FREEBSD_LIBC = ("libc.so.4", "libc.so.5", "libc.so.7")  # libc.so.6 is glibc's name as well


def is_freebsd(facts: Facts) -> bool:
    """Tell whether an object is FreeBSD's: by note, interpreter, EI_OSABI, or the libc it needs."""
    if facts.freebsd or facts.osabi == OSABI_FREEBSD:
        return True
    if facts.interpreter:
        return facts.interpreter in _FREEBSD_INTERPRETERS
    return any(name in _FREEBSD_LIBC for name in facts.needed)


def is_musl(facts: Facts) -> bool:
    """Tell whether an object is musl's: by its interpreter, or the libc it needs."""
    if facts.interpreter:
        return facts.interpreter.rpartition("/")[2].startswith("ld-musl-")
    return any(name == "libc.so" or name.startswith("libc.musl-") for name in facts.needed)


def detect_system(host: Host, paths: Sequence[str]) -> str:
    """Return "freebsd" where one of the ELF files at ``paths`` is FreeBSD's, else "linux".

    Files that are absent or no ELF are passed over; EI_OSABI alone is no proof of Linux.
    """
    objects = Objects(host, Memo())
    for path in paths:
        try:
            found = objects.get(path)
        except Unreadable:
            continue
        if found is not None and found.facts.bits:
            return "freebsd" if is_freebsd(found.facts) else "linux"
    return "linux"
