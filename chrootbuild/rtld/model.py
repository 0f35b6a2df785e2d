"""Closure of a program: all that it loads at run time, each with path and reason.

Named tuples: tens of thousands are made, at a third of a dataclass's cost.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Via(StrEnum):
    """Means by which the kernel, the run-time linker or the program finds a file."""

    INTERPRETER = "interpreter"  # PT_INTERP, or #!
    ENV = "env"  # PROGRAM of `#!/usr/bin/env PROGRAM`
    RPATH = "RPATH"
    RUNPATH = "RUNPATH"
    CACHE = "ld.so.cache"
    HINTS = "ld-elf.so.hints"
    DEFAULT = "default directory"
    PATH = "path"  # requested by a name with a slash
    LOADED = "loaded"  # an object loaded before satisfies the name
    HWCAPS = "hwcaps"  # a copy for a CPU below the best
    HWCAPS_BASE = "baseline"  # the baseline copy, beside those in glibc-hwcaps
    PRELOAD = "ld.so.preload"
    FILTER = "FILTER"
    AUXILIARY = "AUXILIARY"
    AUDIT = "AUDIT"
    NOTE = "note"  # .note.dlopen
    CANCEL = "cancel"  # libgcc_s, which pthread_cancel and pthread_exit open
    PATH_FILE = "ld-musl path file"  # the file itself: musl's list of directories
    LIBMAP = "libmap.conf"  # the file itself: FreeBSD's map of names


class Load(NamedTuple):
    """One edge: ``by`` requests ``name`` and gets ``path``."""

    name: str  # as requested: "libz.so.1"
    path: str  # in the sysroot, as opened; links not resolved
    by: str  # the path of the requesting object or script
    via: Via
    words: str  # for messages, of ``by``: "needs libz.so.1, found in ld.so.cache"
    optional: bool = False  # ``by`` runs without it


class Missing(NamedTuple):
    """An unsatisfied name, and the places searched, in order."""

    name: str
    by: str
    searched: tuple[str, ...]  # "RUNPATH /opt/food/lib", "ld.so.cache", "/usr/lib"
    optional: bool = False


class Closure(NamedTuple):
    """Loads of one program, library or script."""

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
