"""The answer: what a program loads at run time, from where, and why.

Named tuples: they are made by the ten thousand, at a third of a dataclass's cost.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Closure", "Load", "Missing", "Shared", "Via"]


class Via(StrEnum):
    """How the run-time linker, or the program, comes by a file."""

    INTERPRETER = "interpreter"  # PT_INTERP, or #!
    ENV = "env"  # the program that `#!/usr/bin/env PROGRAM` runs
    RPATH = "RPATH"
    RUNPATH = "RUNPATH"
    CACHE = "ld.so.cache"
    HINTS = "ld-elf.so.hints"
    DEFAULT = "default directory"
    PATH = "path"  # asked for by a name with a slash
    LOADED = "loaded"  # an object that was loaded before satisfies the name
    HWCAPS = "hwcaps"  # the copy for another CPU than the best
    HWCAPS_BASE = "baseline"  # the copy for every CPU, beside those in glibc-hwcaps
    PRELOAD = "ld.so.preload"
    FILTER = "FILTER"
    AUXILIARY = "AUXILIARY"
    AUDIT = "AUDIT"
    NOTE = "note"  # .note.dlopen
    CANCEL = "cancel"  # libgcc_s, which pthread_cancel and pthread_exit open
    PATH_FILE = "ld-musl path file"  # the file itself: musl's list of directories
    LIBMAP = "libmap.conf"  # the file itself: FreeBSD's map of names


class Load(NamedTuple):
    """One edge: ``by`` asks for ``name`` and gets ``path``."""

    name: str  # as asked for: "libz.so.1"
    path: str  # in the sysroot, as it is opened; no link resolved
    by: str  # the path of the object or script that asks
    via: Via
    words: str  # for people, said of ``by``: "needs libz.so.1, found in ld.so.cache"
    optional: bool = False  # it runs without


class Missing(NamedTuple):
    """A name that nothing satisfies, and where it was looked for, in order."""

    name: str
    by: str
    searched: tuple[str, ...]  # "RUNPATH /opt/food/lib", "ld.so.cache", "/usr/lib"
    optional: bool = False


class Closure(NamedTuple):
    """All that one program, library or script loads."""

    path: str
    kind: str  # "dynamic", "static", "script", or "other": neither ELF nor #!
    loads: tuple[Load, ...] = ()  # the interpreter first, then breadth-first
    missing: tuple[Missing, ...] = ()
    warnings: tuple[str, ...] = ()
    cache: tuple[tuple[str, str], ...] = ()  # (soname, path) that the root's ld.so.cache must hold
    hints: tuple[str, ...] = ()  # directories that the root's ld-elf.so.hints must list
    hints32: tuple[str, ...] = ()  # likewise its ld-elf32.so.hints, for 32-bit programs


class Shared(NamedTuple):
    """The loads of all programs with the same interpreter and NEEDED: by the program itself, and the rest."""

    first: tuple[Load, ...]
    rest: tuple[Load, ...]
    identities: frozenset[tuple[int, int]]  # device and inode of all that is loaded
