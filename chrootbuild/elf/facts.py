"""What one ELF file says, as a frozen value: all that a run-time linker goes by."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Dlopen", "Facts"]

# elf(5), <elf.h>
ET_EXEC, ET_DYN = 2, 3
DF_1_NODEFLIB = 0x800
DF_1_PIE = 0x08000000
OSABI_SYSV, OSABI_GNU, OSABI_FREEBSD = 0, 3, 9


class Dlopen(NamedTuple):
    """An entry of a ``.note.dlopen``: alternatives of which the first that exists is opened."""

    sonames: tuple[str, ...]
    priority: str  # "required", "recommended" or "suggested"
    feature: str  # for people


class Facts(NamedTuple):
    """The facts of one file. Strings are ``str`` with surrogateescape; "" where there is none.

    A named tuple, as thousands of them are made from the memo at every start.
    """

    error: str = "invalid ELF header"  # why no linker would load it; "" for a sound file
    type: int = 0  # ET_*
    dynamic: bool = False  # it has a dynamic section
    flags1: int = 0  # DF_1_*
    # What decides on the rules for it.
    bits: int = 0  # 32 or 64
    little: bool = True
    machine: int = 0  # EM_*
    osabi: int = 0
    eflags: int = 0  # e_flags, as the machine defines them
    freebsd: int = 0  # __FreeBSD_version of its note
    interpreter: str = ""  # PT_INTERP
    needed: tuple[str, ...] = ()
    # From here on what most programs do not have.
    soname: str = ""
    rpath: str | None = None  # None also where there is a RUNPATH
    runpath: str | None = None
    filters: tuple[str, ...] = ()
    auxiliaries: tuple[str, ...] = ()
    audits: tuple[str, ...] = ()  # DT_AUDIT and DT_DEPAUDIT
    cancels: str = ""  # "pthread_cancel" or "pthread_exit", where it is an undefined symbol
    dlopens: tuple[Dlopen, ...] = ()

    @property
    def nodeflib(self) -> bool:
        """Tell whether default directories are not for this object (DF_1_NODEFLIB)."""
        return bool(self.flags1 & DF_1_NODEFLIB)

    @property
    def platform(self) -> tuple[object, ...]:
        """Return all that can decide on the rules for an object that has an interpreter."""
        return self[_BITS:_NEEDED]

    @property
    def plain(self) -> bool:
        """Tell whether its interpreter and the names in NEEDED alone decide on what it loads."""
        return self[_RARE:] == _NOTHING and not self.flags1 & DF_1_NODEFLIB


_BITS, _NEEDED = Facts._fields.index("bits"), Facts._fields.index("needed")
_RARE = Facts._fields.index("soname")
_NOTHING = Facts()[_RARE:]
