"""Detects a sysroot's system, Linux or FreeBSD and its release, from its ELF files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from chrootbuild.elf.facts import OSABI_FREEBSD, Facts
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.objects import Objects
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot

_FREEBSD_INTERPRETERS = ("/libexec/ld-elf.so.1", "/usr/libexec/ld-elf.so.1", "/libexec/ld-elf32.so.1")
_FREEBSD_LIBC = ("libc.so.4", "libc.so.5", "libc.so.7")  # libc.so.6 is glibc's name too

_DEVFS = 600000  # 6.0: the first release without static device nodes


class Release(NamedTuple):
    """FreeBSD release of a sysroot."""

    version: int  # __FreeBSD_version, 1400097 for 14.0; 0 if unknown
    little: bool  # the byte order of its machine

    @property
    def devfs(self) -> bool:
        """Return whether the kernel provides all devices; assumed for an unknown release."""
        return not 0 < self.version < _DEVFS


def is_freebsd(facts: Facts) -> bool:
    """Return whether an object is FreeBSD's, by note, interpreter, EI_OSABI or libc."""
    if facts.freebsd or facts.osabi == OSABI_FREEBSD:
        return True
    if facts.interpreter:
        return facts.interpreter in _FREEBSD_INTERPRETERS
    return any(name in _FREEBSD_LIBC for name in facts.needed)


def is_musl(facts: Facts) -> bool:
    """Return whether an object is musl's, by interpreter or libc."""
    if facts.interpreter:
        return facts.interpreter.rpartition("/")[2].startswith("ld-musl-")
    return any(name == "libc.so" or name.startswith("libc.musl-") for name in facts.needed)


def detect_system(sysroot: Sysroot, paths: Sequence[str], memo: Memo | None = None) -> str:
    """Return "freebsd" if one of the ELF files at ``paths`` is FreeBSD's, else "linux".

    Absent and non-ELF files are skipped; EI_OSABI alone does not prove Linux.
    """
    first = next(_elf_files(sysroot, paths, memo), None)
    return "freebsd" if first is not None and is_freebsd(first) else "linux"


def freebsd_release(sysroot: Sysroot, paths: Sequence[str], memo: Memo | None = None) -> Release:
    """Return the FreeBSD release of a sysroot, from the first of ``paths`` with FreeBSD's note.

    Absent and non-ELF files are skipped. The C start files (crt1) carry the note
    (number: sys/param.h); programs for arm64 and of other compilers may lack it.
    """
    little = True
    for facts in _elf_files(sysroot, paths, memo):
        little = facts.little
        if facts.freebsd:
            return Release(facts.freebsd, little)
    return Release(0, little)


def _elf_files(sysroot: Sysroot, paths: Sequence[str], memo: Memo | None) -> Iterator[Facts]:
    """Yield the facts of the files that are there and ELF."""
    objects = Objects(sysroot, Memo() if memo is None else memo)
    for path in paths:
        with contextlib.suppress(Unreadable):
            found = objects.get(path)
            if found is not None and found.facts.bits:
                yield found.facts
