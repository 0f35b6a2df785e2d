"""Reading ELF files: every class and byte order, and files that contradict themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrootbuild.elf.facts import Dlopen, Facts
from chrootbuild.elf.reader import read
from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Closure
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_builder import (
    BASE,
    DT_FLAGS_1,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    Elf,
    note,
)

FULL = (
    (DT_NEEDED, "liba.so.1"),
    (DT_NEEDED, "libb.so.1"),
    (DT_SONAME, "libself.so.1"),
    (DT_RPATH, "/old"),
    (DT_RUNPATH, "/new:$ORIGIN"),
    (0x7FFFFFFF, "libfilter.so.1"),
    (0x7FFFFFFD, "libaux.so.1"),
    (0x6FFFFEFC, "libaudit.so:libaudit2.so"),
)


def facts(data: bytes, tmp_path: Path) -> Facts:
    file = tmp_path / "file"
    file.write_bytes(data)
    with file.open("rb") as stream:
        return read(stream.fileno(), len(data))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("little", [True, False])
def test_every_class_and_byte_order(tmp_path: Path, bits: int, little: bool) -> None:
    owner = note(b"FreeBSD\0", 1, (1400097).to_bytes(4, "little" if little else "big"), little=little)
    elf = Elf(
        bits, little, 8, interpreter="/lib/ld.so.1", strings=FULL, values={DT_FLAGS_1: 0x800}, note=owner
    )
    found = facts(elf.build(), tmp_path)
    assert found == Facts(
        error="",
        bits=bits,
        little=little,
        machine=8,
        type=3,
        interpreter="/lib/ld.so.1",
        dynamic=True,
        flags1=0x800,
        freebsd=1400097,
        needed=("liba.so.1", "libb.so.1"),
        soname="libself.so.1",
        rpath=None,  # of no effect beside a RUNPATH
        runpath="/new:$ORIGIN",
        filters=("libfilter.so.1",),
        auxiliaries=("libaux.so.1",),
        audits=("libaudit.so", "libaudit2.so"),
    )
    assert found.nodeflib


@pytest.mark.parametrize(
    ("elf", "error"),
    [
        (Elf(dynamic_offset=1 << 40), "its dynamic section lies outside the file"),
        (Elf(dynamic_size=1 << 50), "its dynamic section is 1125899906842624 bytes long"),
        (Elf(strings=[(DT_NEEDED, "x")], values={DT_STRTAB: 1 << 60}), "it has no dynamic section that can"),
        (Elf(strings=[(DT_NEEDED, "x")], load_size=10), "it has no dynamic section that can be read"),
        (Elf(values={DT_NEEDED: 1 << 30}), "a string of its dynamic section lies outside"),
        (Elf(strings=[(DT_NEEDED, "x" * 70000)]), "a string of its dynamic section lies outside"),
        (Elf(interpreter="/" + "x" * 70000), "its interpreter is 70002 bytes long"),
        (Elf(type=1), "only ET_DYN and ET_EXEC can be loaded"),
        (Elf(type=4), "only ET_DYN and ET_EXEC can be loaded"),
    ],
)
def test_files_that_contradict_themselves(tmp_path: Path, elf: Elf, error: str) -> None:
    assert facts(elf.build(), tmp_path).error.startswith(error)


def test_a_string_table_size_beyond_the_file_is_cut(tmp_path: Path) -> None:
    found = facts(Elf(strings=[(DT_NEEDED, "liba.so.1")], values={DT_STRSZ: 1 << 62}).build(), tmp_path)
    assert (found.error, found.needed) == ("", ("liba.so.1",))


def test_separate_debug_information_has_no_content_where_the_header_points(tmp_path: Path) -> None:
    # As objcopy --only-keep-debug leaves it: the sections are NOBITS, their headers remain.
    data = bytearray(Elf(strings=FULL).build())
    start = 64 + 2 * 56
    data[start:] = bytes(len(data) - start)
    assert facts(bytes(data), tmp_path).error == "it has no dynamic section that can be read"


@pytest.mark.parametrize("length", range(0, 64, 7))
def test_a_header_that_is_cut_off(tmp_path: Path, length: int) -> None:
    assert facts(Elf().build()[:length], tmp_path).error == "file too short"


def test_a_sparse_file_of_100_gb_is_read_in_no_time(tmp_path: Path) -> None:
    data = Elf(strings=FULL, load_size=100 << 30, values={DT_STRSZ: 90 << 30}).build()
    file = tmp_path / "file"
    file.write_bytes(data)
    os.truncate(file, 100 << 30)
    with file.open("rb") as stream:
        found = read(stream.fileno(), 100 << 30)
    assert found.error == f"its string table is {90 << 30} bytes long"


def test_what_is_no_regular_file_is_refused_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dir").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    resolver = Resolver(Sysroot(str(tmp_path)))
    for name in ("/fifo", "/dir", "/loop", "/none"):
        with pytest.raises(Failure, match=f"cannot read {name}: "):
            resolver.program(name)
        assert resolver.classify(name) == ""


def test_files_are_told_apart(tmp_path: Path) -> None:
    def put(name: str, data: bytes, mode: int = 0o755) -> None:
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(mode)

    put("exec", Elf(type=2).build())
    put("pie", Elf(interpreter="/ld.so", strings=[(DT_NEEDED, "libc.so.6")]).build())
    put("static-pie", Elf(values={DT_FLAGS_1: 0x08000000}).build())
    put("library", Elf(strings=FULL).build())
    put("libc.so.6", Elf(interpreter="/ld.so", strings=[(DT_SONAME, "libc.so.6")]).build())
    put("plugin", Elf(strings=[(DT_NEEDED, "libc.so.6")]).build())
    put("object", Elf(type=1).build())
    put("script", b"#!/bin/sh\n")
    put("text", b"#!/bin/sh\n", 0o644)
    put("data", b"\x7fELG" + bytes(100))
    put("empty", b"")
    resolver = Resolver(Sysroot(str(tmp_path)))
    assert {name: resolver.classify(f"/{name}") for name in sorted(os.listdir(tmp_path))} == {
        "data": "",
        "empty": "",
        "exec": "program",
        "libc.so.6": "library",
        "library": "library",
        "object": "",
        "pie": "program",
        "plugin": "library",
        "script": "script",
        "static-pie": "program",
        "text": "",
    }
    assert [
        resolver.program(f"/{name}").kind for name in ("exec", "static-pie", "script", "text", "data")
    ] == [
        "static",
        "static",
        "script",
        "script",
        "other",
    ]


def test_names_in_a_note_that_no_file_can_have(tmp_path: Path) -> None:
    content = rb'[{"soname":["\ud800","a\u0000b","","liba.so"],"feature":"\ud800{0}"},{"soname":["\udc80"]}]'
    found = facts(Elf(note=note(b"FDO\0", 0x407C0C0A, content)).build(), tmp_path)
    assert found.dlopens == (Dlopen(("liba.so",), "recommended", "?{0}"),)


def test_a_search_list_without_an_end_is_cut_with_a_warning(tmp_path: Path) -> None:
    paths = ":".join(f"/{number}" for number in range(5000))
    program = Elf(interpreter="/ld.so", strings=[(DT_NEEDED, "liba.so"), (DT_RUNPATH, paths)])
    (tmp_path / "p").write_bytes(program.build())
    (tmp_path / "ld.so").write_bytes(Elf().build())
    closure = Resolver(Sysroot(str(tmp_path))).program("/p")
    assert closure.warnings == ("/p has more than 1024 directories in its RUNPATH",)
    assert len(closure.missing[0].searched) < 1100


# -- fuzz ------------------------------------------------------------------------------------

SOUND = Elf(
    interpreter="/ld.so",
    strings=FULL,
    note=note(b"FDO\0", 0x407C0C0A, b'[{"soname":["libn.so.1"]}]') + note(b"FreeBSD\0", 1, bytes(4)),
).build()
SMALL = Elf(bits=32, little=False, machine=8, strings=FULL).build()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Change, cut and repeat parts of a sound file."""
    data = bytearray(draw(st.sampled_from([SOUND, SMALL])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        change = draw(
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([b"\xff" * 8, b"\xff" * 4, bytes(8), b"\0\0\0\x80", b"\x01" + bytes(7)]),
            )
        )
        data[at : at + len(change)] = change
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def judged(root: Path, data: bytes) -> None:
    """Hold that any file is answered with a closure or a failure."""
    (root / "file").write_bytes(data)
    (root / "ld.so").write_bytes(SOUND)
    for method in ("program", "library"):
        resolver = Resolver(Sysroot(str(root)))
        try:
            assert isinstance(getattr(resolver, method)("/file"), Closure)
        except Failure as failure:
            message = failure.message
        else:
            message = "cannot"
        assert message.startswith("cannot")
        assert resolver.classify("/file") in ("program", "library", "script", "")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=mutated())
def test_any_change_of_a_sound_file_is_answered(tmp_path: Path, data: bytes) -> None:
    judged(tmp_path, data)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"\x7fELF", b"\x7fELF\x02\x01\x01", b"#!"]))
def test_any_bytes_are_answered(tmp_path: Path, data: bytes, head: bytes) -> None:
    judged(tmp_path, head + data)


@pytest.mark.parametrize(("section", "expected"), [(0, "pthread_cancel"), (1, "")])
def test_a_symbol_is_undefined_where_a_record_begins(tmp_path: Path, section: int, expected: str) -> None:
    """A name's offset that stands elsewhere in the table, too, here in every record, is not taken for one."""
    table, size = 0x1000, 24  # Elf64_Sym: name, info, other, section, value, size
    # The string table starts with a NUL and the two names that DT_NEEDED has.
    strings = [(DT_NEEDED, "liba"), (DT_NEEDED, "pthread_cancel")]
    built = Elf(strings=strings, values={6: BASE + table}, load_size=0x2000).build()
    name = (1 + len("liba") + 1).to_bytes(4, "little")
    other = b"\1\0\0\0" + bytes(4) + name + bytes(12)
    wanted = name + b"\x12\0" + section.to_bytes(2, "little") + bytes(16)
    data = built.ljust(table, b"\0") + other * 5 + wanted + other
    assert len(wanted) == len(other) == size
    assert facts(data.ljust(0x2000, b"\1"), tmp_path).cancels == expected
