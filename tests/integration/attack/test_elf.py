"""Programs and libraries of a hostile sysroot, made byte by byte: success or one error, in bounded memory."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.elf_builder import (
    BASE,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    Elf,
    note,
)
from tests.support.limited import run

pytestmark = pytest.mark.root

LOADER = "/lib/ld-linux-x86-64.so.2"
FDO_DLOPEN = 0x407C0C0A


def put(top: Path, path: str, data: bytes) -> Path:
    """Write a program of the sysroot."""
    place = top / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    place.chmod(0o755)
    return place


def needing(*names: str, **more: object) -> bytes:
    """Return a program that needs these libraries."""
    strings = [(DT_NEEDED, name) for name in names]
    return Elf(interpreter=LOADER, strings=strings, **more).build()  # type: ignore[arg-type]


def lib(soname: str, *names: str) -> bytes:
    """Return a library."""
    return Elf(strings=[(DT_SONAME, soname), *((DT_NEEDED, name) for name in names)]).build()


def changed(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    """Return a file with other bytes at an offset."""
    made = bytearray(data)
    struct.pack_into(layout, made, offset, *values)
    return bytes(made)


def with_table(kind: int, count: int, size: int) -> bytes:
    """Return a program with this many headers of a kind, each over the same ``size`` bytes."""
    header = changed(needing("libq.so.1"), 32, "<Q", 64)
    entry = struct.pack("<LL6Q", kind, 4, 0, BASE, 0, size, size, 4)
    return changed(header[:64], 56, "<H", count) + entry * count + bytes(max(0, size - 64 - 56 * count))


# -- the bombs -----------------------------------------------------------------------------


def _phnum(top: Path) -> None:
    os.truncate(put(top, "bin/p", changed(needing("libq.so.1"), 56, "<H", 0xFFFF)), 1 << 30)


def _phnum_alone(top: Path) -> None:
    put(top, "bin/p", changed(needing("libq.so.1"), 56, "<H", 0xFFFF))


def _overlapping(top: Path) -> None:
    put(top, "bin/p", with_table(1, 4000, 8 << 20))


def _notes(top: Path) -> None:
    put(top, "bin/p", with_table(4, 4000, 3 << 20))


def _interpreters(top: Path) -> None:
    put(top, "bin/p", with_table(3, 4000, 60 << 10))


def _dynamic_size(size: int) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        os.truncate(put(top, "bin/p", needing("libq.so.1", dynamic_size=size)), 4 << 30)

    return attack


def _dynamic_far(top: Path) -> None:
    put(top, "bin/p", needing("libq.so.1", dynamic_offset=(1 << 64) - BASE - 16))


def _million(top: Path) -> None:
    put(top, "bin/p", needing(*["libq.so.1"] * 1_000_000))


def _many_unknown(top: Path) -> None:
    put(top, "bin/p", needing(*(f"libm{number}.so" for number in range(1000))))


def _each_needs_all(top: Path) -> None:
    names = [f"liba{number}.so" for number in range(200)]
    put(top, "bin/p", needing(names[0]))
    for name in names:
        put(top, f"lib64/{name}", lib(name, *names))


def _chain(top: Path) -> None:
    put(top, "bin/p", needing("liba0.so"))
    for number in range(10_000):
        put(top, f"lib64/liba{number}.so", lib(f"liba{number}.so", f"liba{number + 1}.so"))
    put(top, "lib64/liba10000.so", lib("liba10000.so"))


def _loop(top: Path) -> None:
    put(top, "bin/p", needing("liba.so"))
    put(top, "lib64/liba.so", lib("liba.so", "libb.so", "liba.so"))
    put(top, "lib64/libb.so", lib("libb.so", "liba.so"))


def _no_nul(top: Path) -> None:
    put(top, "bin/p", needing("libq.so.1", values={DT_STRSZ: len(b"\0libq.so.1")}))


def _long_string(top: Path) -> None:
    """The string table is a hole of 1 GB without an end in sight."""
    data = needing("libq.so.1", values={DT_STRSZ: 1 << 30, DT_STRTAB: BASE + (1 << 20)}, load_size=2 << 30)
    os.truncate(put(top, "bin/p", data), 2 << 30)


def _long_names(top: Path) -> None:
    put(top, "bin/p", needing(*(f"{number:04}" + "x" * 60_000 for number in range(1000))))


def _long_soname(top: Path) -> None:
    put(top, "bin/p", needing("libq.so.1"))
    put(top, "lib64/libq.so.1", lib("x" * 60_000))


def _odd_names(top: Path) -> None:
    put(top, "bin/p", needing("\x1b[2J", "a\nb", "..", "../../../etc", "/", "", ".", "/../../victim/file"))


def _interpreter(name: str) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        put(top, "bin/p", Elf(interpreter=name, strings=[(DT_NEEDED, "libq.so.1")]).build())
        (top / "lib/loop").symlink_to("loop")
        os.mkfifo(top / "lib/fifo")
        os.mknod(top / "lib/zero", 0o20666, os.makedev(1, 5))
        put(top, "bin/script", f"#!{LOADER}\n".encode())

    return attack


def _scripts(top: Path) -> None:
    put(top, "bin/p", b"#!/bin/a\n")
    put(top, "bin/a", b"#!/bin/b\n")
    put(top, "bin/b", b"#!/bin/a\n")


def _script_chain(top: Path) -> None:
    put(top, "bin/p", b"#!/bin/s0\n")
    for number in range(100):
        put(top, f"bin/s{number}", f"#!/bin/s{number + 1}\n".encode())


def _script_odd(line: bytes) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        put(top, "bin/p", line)
        os.mkfifo(top / "lib/fifo")

    return attack


def _script_endless(top: Path) -> None:
    os.truncate(put(top, "bin/p", b"#!" + b"x" * 5000), 100 << 30)


def _search_list(tag: int, text: str) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        strings = [(tag, text), *((DT_NEEDED, f"libq.so.{number}") for number in range(1, 20))]
        put(top, "bin/p", Elf(interpreter=LOADER, strings=strings).build())
        put(top, "opt/x/libq.so.1", lib("libq.so.1"))
        (top / "opt/x/o").symlink_to("../x")

    return attack


def _inherited(top: Path) -> None:
    """Every library of a long chain adds to the directories that the next one inherits."""
    directories = ":".join(f"/d{number}" for number in range(400))
    for number in range(300):
        strings = [
            (DT_SONAME, f"liba{number}.so"),
            (DT_NEEDED, f"liba{number + 1}.so"),
            (DT_RPATH, directories),
        ]
        put(top, f"lib64/liba{number}.so", Elf(strings=strings).build())
    put(top, "lib64/liba300.so", lib("liba300.so"))
    put(top, "bin/p", needing("liba0.so"))


def _cache(data: bytes, size: int = 0) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        put(top, "bin/p", needing("libq.so.1"))
        put(top, "etc/ld.so.cache", data)
        if size:
            os.truncate(top / "etc/ld.so.cache", size)

    return attack


def _cache_header(count: int, strings: int) -> bytes:
    return struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", count, strings, 2, 0)


def _cache_full(top: Path) -> None:
    """2.7 million entries, each with strings of its own that overlap."""
    count = 2_700_000
    start = 48 + count * 24
    rows = b"".join(
        struct.pack("<iIIIQ", 0x303, start + n % 60_000, start + n % 60_000, 0, 0) for n in range(60_000)
    )
    data = (
        _cache_header(count, 64_000) + (rows * (count // 60_000 + 1))[: count * 24] + b"/" * 63_999 + b"\0"
    )
    _cache(data)(top)


def _preload(top: Path) -> None:
    put(top, "bin/p", needing())
    put(top, "etc/ld.so.preload", b"".join(b"/lib/l%d.so\n" % number for number in range(20_000)))


def _preload_endless(top: Path) -> None:
    put(top, "bin/p", needing())
    os.truncate(put(top, "etc/ld.so.preload", b""), 100 << 30)


def _dlopen(content: bytes) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        put(top, "bin/p", needing(note=note(b"FDO\0", FDO_DLOPEN, content)))

    return attack


def _feature(depth: int) -> bytes:
    return b'[{"soname":["x"],"feature":' + b"[" * depth + b"]" * depth + b"}]"


def _node(kind: int) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        put(top, "bin/p", needing("libq.so.1"))
        os.mknod(top / "lib64/libq.so.1", kind, os.makedev(1, 5))

    return attack


def _socket(top: Path) -> None:
    put(top, "bin/p", needing("libq.so.1"))
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(top / "lib64", os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/libq.so.1")
        os.close(here)


def _link(text: str) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        put(top, "bin/p", needing("libq.so.1"))
        (top / "lib64/libq.so.1").symlink_to(text)

    return attack


GOOD, WRONG = 0, 3
BOMBS: dict[str, tuple[Callable[[Path], None], int]] = {
    "phnum-65535": (_phnum, WRONG),
    "phnum-65535-outside": (_phnum_alone, WRONG),
    "overlapping-segments": (_overlapping, GOOD),
    "overlapping-notes": (_notes, GOOD),
    "4000-interpreters": (_interpreters, WRONG),
    "dynamic-1-gb": (_dynamic_size(1 << 30), WRONG),
    "dynamic-2^63": (_dynamic_size((1 << 63) + 16), WRONG),
    "dynamic-beyond-2^64": (_dynamic_far, WRONG),
    "needed-1000000": (_million, WRONG),
    "needed-1000-absent": (_many_unknown, WRONG),
    "each-of-200-needs-all": (_each_needs_all, GOOD),
    "chain-10000": (_chain, GOOD),
    "loop": (_loop, GOOD),
    "strings-without-nul": (_no_nul, WRONG),
    "string-1-gb": (_long_string, WRONG),
    "needed-60000-bytes": (_long_names, WRONG),
    "soname-60000-bytes": (_long_soname, GOOD),
    "needed-odd-names": (_odd_names, WRONG),
    "interpreter-is-itself": (_interpreter("/bin/p"), GOOD),
    "interpreter-is-directory": (_interpreter("/lib"), WRONG),
    "interpreter-is-script": (_interpreter("/bin/script"), WRONG),
    "interpreter-is-loop": (_interpreter("/lib/loop"), WRONG),
    "interpreter-is-fifo": (_interpreter("/lib/fifo"), WRONG),
    "interpreter-is-device": (_interpreter("/lib/zero"), WRONG),
    "interpreter-is-relative": (_interpreter("../../victim/file"), WRONG),
    "interpreter-is-dots": (_interpreter("/../../victim/file"), WRONG),
    "interpreter-is-escape": (_interpreter("/\x1b[2J"), WRONG),
    "scripts-in-a-loop": (_scripts, WRONG),
    "scripts-100-deep": (_script_chain, WRONG),
    "script-of-nothing": (_script_odd(b"#! \t \n"), GOOD),
    "script-of-nul": (_script_odd(b"#!\0\n"), GOOD),
    "script-of-escapes": (_script_odd(b"#!/\x1b[2J\xff\n"), WRONG),
    "script-of-fifo": (_script_odd(b"#!/lib/fifo\n"), WRONG),
    "script-of-env-loop": (_script_odd(b"#!/usr/bin/env -S " + b"-S " * 100 + b"\n"), WRONG),
    "script-100-gb": (_script_endless, WRONG),
    "rpath-100000": (_search_list(DT_RPATH, ":".join(f"/{n}" for n in range(100_000))), WRONG),
    "rpath-9000": (_search_list(DT_RPATH, ":".join(f"/{n}" for n in range(9000))), WRONG),
    "runpath-empty": (_search_list(DT_RUNPATH, ":" * 60_000), WRONG),
    "origin-cycle": (_search_list(DT_RUNPATH, "/opt/x/" + "o/" * 30_000 + ":$ORIGIN/../bin/../bin"), WRONG),
    "origin-9000": (_search_list(DT_RUNPATH, "$ORIGIN" * 9000), WRONG),
    "platform-9000": (_search_list(DT_RUNPATH, "$PLATFORM" * 7000), WRONG),
    "platform-many": (_search_list(DT_RUNPATH, ":".join(["/$PLATFORM/$LIB/$PLATFORM"] * 2500)), WRONG),
    "rpath-inherited": (_inherited, GOOD),
    "cache-2-gb": (_cache(_cache_header(80_000_000, 100), 2 << 30), WRONG),
    "cache-200-mb": (_cache(_cache_header(8_000_000, 100), 200 << 20), WRONG),
    "cache-full": (_cache_full, GOOD),
    "cache-count": (_cache(_cache_header(0xFFFFFFFF, 0xFFFFFFFF)), GOOD),
    "preload-20000": (_preload, GOOD),
    "preload-100-gb": (_preload_endless, GOOD),
    "dlopen-1000000-deep": (_dlopen(b"[" * 1_000_000), GOOD),
    "dlopen-900-deep": (_dlopen(_feature(900)), GOOD),
    "dlopen-feature-deep": (_dlopen(_feature(100_000)), GOOD),
    "dlopen-3-mb": (_dlopen(json.dumps([{"soname": [f"l{n}" for n in range(300_000)]}]).encode()), WRONG),
    "dlopen-many": (_dlopen(json.dumps([{"soname": [f"l{n}"]} for n in range(100_000)]).encode()), WRONG),
    "dlopen-odd": (
        _dlopen(b'[{"soname":["..","/","a\\u0000","\\ud800","\\u001b[2J",7,null]},7,[],{}]'),
        GOOD,
    ),
    "library-is-fifo": (_node(0o10666), WRONG),
    "library-is-zero": (_node(0o20666), WRONG),
    "library-is-disk": (_node(0o60666), WRONG),
    "library-is-socket": (_socket, WRONG),
    "library-is-loop": (_link("libq.so.1"), WRONG),
    "library-is-link-out": (_link("../../victim/file"), WRONG),
    "library-is-absolute-link-out": (_link("{victim}"), WRONG),
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a sysroot with a loader and a library; a victim lies beside it."""
    made = tmp_path / "sys"
    put(made, LOADER, Elf(strings=[(DT_SONAME, "ld-linux-x86-64.so.2")]).build())
    put(made, "lib64/libq.so.1", lib("libq.so.1"))
    (tmp_path / "victim").mkdir()
    put(tmp_path, "victim/file", lib("libq.so.1"))
    (tmp_path / "p/targets").mkdir(parents=True)
    (tmp_path / "p/targets/x.toml").write_text(f'sysroot = "{made}"\nos = "linux"\nbinaries = ["/bin/p"]\n')
    return made


@pytest.mark.parametrize("name", BOMBS)
def test_a_program(tmp_path: Path, top: Path, name: str) -> None:
    attack, code = BOMBS[name]
    if name.startswith("library-is"):
        (top / "lib64/libq.so.1").unlink()
    attack(top)
    said = run(tmp_path / "p", *(("plan", "--json") if code == GOOD else ("build",)), "x").decent()
    assert said.code == code, said.text[:2000]
    assert not (tmp_path / "p/build/x").exists()
    if code == GOOD:
        made = json.loads(said.text.splitlines()[-1])
        sources = [source for artifact in made["artifacts"] for source in artifact["sources"]]
        assert not [source for source in sources if not source.startswith(f"{top}/")]


def test_a_library_of_100_gb_is_planned_and_not_copied(tmp_path: Path, top: Path) -> None:
    put(top, "bin/p", needing("libq.so.1"))
    os.truncate(put(top, "lib64/libq.so.1", lib("libq.so.1")), 100 << 30)
    assert run(tmp_path / "p", "plan", "x").decent().code == 0
    said = run(tmp_path / "p", "build", "x").decent()
    assert said.code == 1
    assert "libq.so.1" in said.errors[0]
    assert os.listdir(tmp_path / "p/build/x") == []
