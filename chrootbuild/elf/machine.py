"""glibc's names for each machine: interpreter, directories, CPU levels."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["UNKNOWN", "Machine", "machine"]


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


def machine(number: int, bits: int, *, little: bool) -> Machine:
    """Return glibc's names for a machine; UNKNOWN for one not in the table."""
    return _MACHINES.get((number, bits, little), UNKNOWN)
