"""ld.so.cache of a root: only the libraries that are not found without it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chrootbuild.elf.memo import Memo
from chrootbuild.elf.objects import Objects
from chrootbuild.rtld import ld_cache
from chrootbuild.rtld.model import Closure, Via
from chrootbuild.sysroot.reader import Sysroot

_LEVEL = re.compile(r"/glibc-hwcaps/([^/]+)/[^/]+$")


def render_cache(sysroot: Sysroot, pairs: Iterable[tuple[str, str]], memo: Memo | None = None) -> bytes:
    """Return an ld.so.cache that maps each soname to its path in the root.

    Class and byte order are read from the libraries in the sysroot; a path in
    glibc-hwcaps gives the level. Raises Unreadable.
    """
    objects = Objects(sysroot, memo if memo is not None else Memo())
    entries: list[ld_cache.Entry] = []
    little = True
    for soname, path in dict.fromkeys(pairs):
        found = objects.get(path)
        if found is None:
            continue
        level = _LEVEL.search(path)
        entries.append(
            ld_cache.Entry(soname, path, ld_cache.class_flag(found.facts), level[1] if level else "")
        )
        little = found.facts.little
    return ld_cache.render(entries, little=little)


def cache_conflicts(
    sysroot: Sysroot, closures: Iterable[Closure], memo: Memo | None = None
) -> tuple[str, ...]:
    """Describe the sonames that lead to two libraries, which one cache cannot hold.

    A root has one ld.so.cache, searched before the default directories: an entry
    for one program's $ORIGIN or RPATH holds for all others.
    """
    objects = Objects(sysroot, memo if memo is not None else Memo())
    named: dict[tuple[str, int], tuple[str, str]] = {}  # soname and class -> path, program
    told = list(closures)
    for closure in told:
        for soname, path in closure.cache:
            if not _LEVEL.search(path):
                named.setdefault((soname, _class(objects, path)), (path, closure.path))
    found: list[str] = []
    for closure in told:
        for load in closure.loads if named else ():
            open_to_all = load.via in (Via.CACHE, Via.DEFAULT) or (load.name, load.path) in closure.cache
            other = named.get((load.name, _class(objects, load.path))) if open_to_all else None
            if other is not None and sysroot.canonical(load.path) != sysroot.canonical(other[0]):
                found.append(
                    f"{closure.path} loads {load.name} from {load.path}, {other[1]} from {other[0]}:"
                    " the root's ld.so.cache can name only one"
                )
    return tuple(dict.fromkeys(found))


def _class(objects: Objects, path: str) -> int:
    found = objects.get(path)
    return ld_cache.class_flag(found.facts) if found is not None else 0
