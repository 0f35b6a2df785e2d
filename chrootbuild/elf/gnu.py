"""Build settings of a glibc and its sysroot: directories, tokens, CPU levels, ld.so.cache."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.elf import cache, machine
from chrootbuild.elf.facts import Facts
from chrootbuild.elf.objects import Objects
from chrootbuild.host import Unreadable

__all__ = ["CACHE", "Build", "Cache", "Subdirectories", "build"]

CACHE = "/etc/ld.so.cache"
_CACHE_LIMIT = 64 << 20  # bytes
_EM_ARM = 40
_DIRECTORIES = re.compile(rb"\0/(?:[!-~]{0,200}/)?\0(?:/(?:[!-~]{0,200}/)?\0){0,15}")


class Build:
    """Build settings of an interpreter."""

    def __init__(self, directories: tuple[str, ...], *, legacy: bool, names: machine.Machine) -> None:
        self.directories = directories  # searched last
        self.lib = directories[0].strip("/")  # $LIB: glibc builds both from one path
        self.names = names
        self.legacy = ("tls", *names.legacy) if legacy else ()


def build(objects: Objects, interpreter: str, facts: Facts) -> Build:
    """Return the build settings of a program's interpreter.

    Every distribution builds its own default directories into ld.so (Debian:
    /lib/TRIPLET, /usr/lib/TRIPLET, /lib, /usr/lib; Fedora: /lib64, /usr/lib64;
    Nix: one in its store), as consecutive strings that end in a slash. So the
    list is read from the interpreter. If that is absent or has no such strings,
    the list is Debian's where the sysroot has a directory of that name, else the
    machine's lib directory. $LIB is the list's first directory without its slash.
    """
    names = machine.machine(facts.machine, facts.bits, little=facts.little)
    binary = b""
    for path in (interpreter,) if interpreter else names.interpreters:
        try:
            if objects.get(path) is not None:
                binary = objects.host.read(path, _CACHE_LIMIT)
                break
        except Unreadable:
            continue
    # glibc 2.33 to 2.36 name the legacy subdirectories in --help; 2.37 dropped them.
    legacy = not binary or b"Legacy HWCAP" in binary or b"glibc-hwcaps" not in binary
    return Build(_built_in(binary) or _usual(objects, names), legacy=legacy, names=names)


def _built_in(binary: bytes) -> tuple[str, ...]:
    best: tuple[str, ...] = ()
    for match in _DIRECTORIES.finditer(binary):
        found = tuple(text.decode().rstrip("/") for text in match[0].split(b"\0") if text)
        if len(found) > len(best) and any("lib" in name for name in found):
            best = found
    return best


def _usual(objects: Objects, names: machine.Machine) -> tuple[str, ...]:
    for base in ("/usr/lib", "/lib"):
        if names.triplet and objects.isdir(f"{base}/{names.triplet}"):
            return (f"/lib/{names.triplet}", f"/usr/lib/{names.triplet}", "/lib", "/usr/lib")
    return tuple(dict.fromkeys((f"/{names.lib}", f"/usr/{names.lib}")))


class Cache:
    """Entries of the sysroot's ld.so.cache for one class."""

    def __init__(self, objects: Objects, facts: Facts) -> None:
        self.warning = ""
        self._entries: dict[str, list[cache.Entry]] = {}
        flags = _accepted(facts)
        for entry in self._read(objects):
            if entry.flags in flags:
                self._entries.setdefault(entry.soname, []).append(entry)

    def _read(self, objects: Objects) -> tuple[cache.Entry, ...]:
        if objects.host.find(CACHE) is None:
            return ()
        try:
            return cache.parse(objects.host.read(CACHE, _CACHE_LIMIT))
        except cache.CacheError as error:
            # ld.so ignores a cache that it cannot use.
            self.warning = f"cannot use {CACHE}: {error}"
            return ()

    def paths(self, soname: str, levels: tuple[str, ...]) -> dict[str, str]:
        """Return path to level for a soname: the best level first, then the baseline.

        If the cache has a glibc-hwcaps copy and no baseline, the baseline is searched beside it.
        """
        entries = self._entries.get(soname)
        if not entries:
            return {}
        paths: dict[str, str] = {}
        first = {entry.hwcaps: entry.path for entry in reversed(entries) if entry.hwcaps}
        for level in levels:
            if level in first:
                paths.setdefault(first[level], f"glibc-hwcaps/{level}")
        # Before glibc 2.33 the hwcap bits stand for a subdirectory.
        plain = [entry.path for entry in entries if not entry.hwcaps and not entry.legacy]
        older = [entry.path for entry in entries if not entry.hwcaps and entry.legacy]
        if plain:
            paths.setdefault(plain[0], "")
        elif paths:
            paths.setdefault(*_beside(paths))
        for path in older:
            paths.setdefault(path, path.split("/")[-2])
        return paths


def _beside(paths: dict[str, str]) -> tuple[str, str]:
    path, level = next(iter(paths.items()))
    return path.replace(f"/{level}/", "/"), ""


def _accepted(facts: Facts) -> frozenset[int]:
    """Return the entry flags that ld.so accepts (glibc, _dl_cache_check_flags)."""
    flags = cache.class_flag(facts)
    if facts.machine == _EM_ARM:
        return frozenset((1, 3, flags, 0x0903 if facts.eflags & 0x600 != 0x200 else 0x0B03))
    return frozenset((1, 3 if flags == 1 else flags))


class Subdirectories:
    """Subdirectories for better CPUs, by searched directory."""

    def __init__(self, objects: Objects, made: Build) -> None:
        self._objects = objects
        self._levels = made.names.levels
        self._legacy = made.legacy
        self._below: dict[str, tuple[str, ...]] = {}

    def below(self, directory: str) -> tuple[str, ...]:
        """Return them best first, relative to the directory."""
        found = self._below.get(directory)
        if found is None:
            isdir = self._objects.isdir
            found = tuple(name for name in self._names(directory) if isdir(f"{directory}/{name}"))
            self._below[directory] = found
        return found

    def _names(self, directory: str) -> Iterator[str]:
        isdir = self._objects.isdir
        if not isdir(directory):
            return
        if self._levels and isdir(f"{directory}/glibc-hwcaps"):
            for level in self._levels:
                yield f"glibc-hwcaps/{level}"
        # The legacy kind: "tls", the platform, its features, nested and alone.
        if any(isdir(f"{directory}/{name}") for name in self._legacy):
            for name in self._legacy:
                yield from (f"{name}/{deeper}" for deeper in self._legacy if deeper != name)
                yield name
