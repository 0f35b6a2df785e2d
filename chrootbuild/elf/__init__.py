"""ELF files: the objects a run-time linker would load, each with its reason.

No file is executed. pyelftools is imported in this package alone, and only to
read a file that no memo knows.
"""

from __future__ import annotations

from chrootbuild.elf.closure import Resolver
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.model import Closure, Load, Missing, Via
from chrootbuild.elf.rootcache import cache_conflicts, render_cache
from chrootbuild.elf.system import Release, detect_system, freebsd_release

__all__ = [
    "Closure",
    "Load",
    "Memo",
    "Missing",
    "Release",
    "Resolver",
    "Via",
    "cache_conflicts",
    "detect_system",
    "freebsd_release",
    "render_cache",
]
