"""Build settings of a glibc and its sysroot: directories, tokens, CPU levels, ld.so.cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from chrootbuild.elf.facts import Facts
from chrootbuild.elf.objects import Objects
from chrootbuild.rtld import ld_cache
from chrootbuild.sysroot.lookup import Unreadable

CACHE = "/etc/ld.so.cache"
_CACHE_LIMIT = 64 << 20  # bytes
_EM_ARM = 40
_DIRECTORIES = re.compile(rb"\0/(?:[!-~]{0,200}/)?\0(?:/(?:[!-~]{0,200}/)?\0){0,15}")


class Build:
    """Build settings of an interpreter."""

    def __init__(self, directories: tuple[str, ...], *, legacy: bool, names: Machine) -> None:
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
    names = machine_of(facts.machine, facts.bits, little=facts.little)
    binary = b""
    for path in (interpreter,) if interpreter else names.interpreters:
        try:
            if objects.get(path) is not None:
                binary = objects.sysroot.read(path, _CACHE_LIMIT)
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


def _usual(objects: Objects, names: Machine) -> tuple[str, ...]:
    for base in ("/usr/lib", "/lib"):
        if names.triplet and objects.isdir(f"{base}/{names.triplet}"):
            return (f"/lib/{names.triplet}", f"/usr/lib/{names.triplet}", "/lib", "/usr/lib")
    return tuple(dict.fromkeys((f"/{names.lib}", f"/usr/{names.lib}")))


class Cache:
    """Entries of the sysroot's ld.so.cache for one class."""

    def __init__(self, objects: Objects, facts: Facts) -> None:
        self.warning = ""
        self._entries: dict[str, list[ld_cache.Entry]] = {}
        flags = _accepted(facts)
        for entry in self._read(objects):
            if entry.flags in flags:
                self._entries.setdefault(entry.soname, []).append(entry)

    def _read(self, objects: Objects) -> tuple[ld_cache.Entry, ...]:
        if objects.sysroot.find(CACHE) is None:
            return ()
        try:
            return ld_cache.parse(objects.sysroot.read(CACHE, _CACHE_LIMIT))
        except ld_cache.CacheError as error:
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
    flags = ld_cache.class_flag(facts)
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


class Machine(NamedTuple):
    """Names for one machine, class and byte order (glibc: sysdeps, shlib-versions; Debian: multiarch)."""

    interpreters: tuple[str, ...] = ()
    triplet: str = ""  # Debian's multiarch directory
    lib: str = "lib"  # if /lib and /usr/lib are the other class's
    levels: tuple[str, ...] = ()  # below glibc-hwcaps, best first
    platforms: tuple[str, ...] = ()  # $PLATFORM, best first
    legacy: tuple[str, ...] = ()  # legacy subdirectories (before 2.37), best first, without "tls"


UNKNOWN = Machine()
_X86_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")
_POWER = ("power11", "power10", "power9", "power8", "power7", "power6", "power5", "power4")
_Z = ("z17", "z16", "z15", "z14", "z13", "zEC12", "z196", "z10", "z9-109", "z990", "z900")
_ARM = ("v8l", "v7l", "v6l", "v5l")

_MACHINES = {  # (EM_*, bits, little endian)
    (62, 64, True): Machine(
        ("/lib64/ld-linux-x86-64.so.2",),
        "x86_64-linux-gnu",
        "lib64",
        _X86_LEVELS,
        ("haswell", "xeon_phi", "x86_64"),
        ("haswell", "xeon_phi", "avx512_1", "x86_64"),
    ),
    (62, 32, True): Machine(("/libx32/ld-linux-x32.so.2",), "x86_64-linux-gnux32", "libx32"),
    (3, 32, True): Machine(
        ("/lib/ld-linux.so.2",),
        "i386-linux-gnu",
        "lib",
        (),
        ("haswell", "xeon_phi", "i686", "i586", "i486", "i386"),
        ("i686", "i586", "i486", "i386", "sse2", "x86_64"),
    ),
    (183, 64, True): Machine(
        ("/lib/ld-linux-aarch64.so.1",),
        "aarch64-linux-gnu",
        "lib64",
        (),
        ("aarch64",),
        ("aarch64", "atomics"),
    ),
    (183, 64, False): Machine(
        ("/lib/ld-linux-aarch64_be.so.1",), "aarch64_be-linux-gnu", "lib64", (), ("aarch64",)
    ),
    (40, 32, True): Machine(
        ("/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.3"),
        "arm-linux-gnueabihf",
        "lib",
        (),
        _ARM,
        (*_ARM, "neon", "vfp"),
    ),
    (21, 64, True): Machine(
        ("/lib64/ld64.so.2",), "powerpc64le-linux-gnu", "lib64", ("power10", "power9"), _POWER, _POWER
    ),
    (21, 64, False): Machine(("/lib64/ld64.so.1",), "powerpc64-linux-gnu", "lib64", (), _POWER, _POWER),
    (20, 32, False): Machine(("/lib/ld.so.1",), "powerpc-linux-gnu", "lib", (), _POWER, _POWER),
    (22, 64, False): Machine(
        ("/lib/ld64.so.1",), "s390x-linux-gnu", "lib64", ("z16", "z15", "z14", "z13"), _Z, _Z
    ),
    (22, 32, False): Machine(("/lib/ld.so.1",), "s390-linux-gnu", "lib", (), _Z, _Z),
    (243, 64, True): Machine(
        ("/lib/ld-linux-riscv64-lp64d.so.1", "/lib/ld-linux-riscv64-lp64.so.1"),
        "riscv64-linux-gnu",
        "lib64/lp64d",
    ),
    (243, 32, True): Machine(("/lib/ld-linux-riscv32-ilp32d.so.1",), "riscv32-linux-gnu", "lib32/ilp32d"),
    (258, 64, True): Machine(("/lib64/ld-linux-loongarch-lp64d.so.1",), "loongarch64-linux-gnu", "lib64"),
    (8, 64, True): Machine(
        ("/lib64/ld-linux-mipsn8.so.1", "/lib64/ld.so.1"), "mips64el-linux-gnuabi64", "lib64"
    ),
    (8, 64, False): Machine(
        ("/lib64/ld-linux-mipsn8.so.1", "/lib64/ld.so.1"), "mips64-linux-gnuabi64", "lib64"
    ),
    (8, 32, True): Machine(("/lib/ld-linux-mipsn8.so.1", "/lib/ld.so.1"), "mipsel-linux-gnu"),
    (8, 32, False): Machine(("/lib/ld-linux-mipsn8.so.1", "/lib/ld.so.1"), "mips-linux-gnu"),
    (43, 64, False): Machine(("/lib64/ld-linux.so.2",), "sparc64-linux-gnu", "lib64"),
    (2, 32, False): Machine(("/lib/ld-linux.so.2",), "sparc-linux-gnu"),
    (15, 32, False): Machine(("/lib/ld.so.1",), "hppa-linux-gnu"),
    (4, 32, False): Machine(("/lib/ld.so.1",), "m68k-linux-gnu"),
    (0x9026, 64, True): Machine(("/lib/ld-linux.so.2",), "alpha-linux-gnu"),
    (42, 32, True): Machine(("/lib/ld-linux.so.2",), "sh4-linux-gnu"),
}


def machine_of(number: int, bits: int, *, little: bool) -> Machine:
    """Return glibc's names for a machine; UNKNOWN for one not in the table."""
    return _MACHINES.get((number, bits, little), UNKNOWN)
