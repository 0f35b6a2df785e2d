"""The memo of parsed files: what it keeps, what it forgets, and what it does with damage."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrootbuild.elf.facts import Dlopen, Facts
from chrootbuild.elf.memo import Memo
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.rights.provenance import mark
from tests.support.elf_builder import DT_NEEDED, DT_RUNPATH, DT_SONAME, Elf


@pytest.fixture(autouse=True)
def _roots_own(tmp_path: Path) -> None:
    mark(str(tmp_path))


FULL = Facts(
    error="some error",
    bits=32,
    little=False,
    machine=8,
    osabi=9,
    eflags=0x5000400,
    type=3,
    interpreter="/lib/ld so.1",
    dynamic=True,
    flags1=0x800,
    freebsd=1400097,
    needed=("liba.so", os.fsdecode(b"lib\xff.so"), "", "new\nline"),
    soname="libself.so",
    rpath="",
    runpath="/a:/b",
    filters=("f",),
    auxiliaries=("x", "y"),
    audits=("z",),
    cancels="pthread_exit",
    dlopens=(Dlopen(("liba.so", "libb.so"), "required", "f"), Dlopen(("libc.so",), "suggested", "")),
)


@pytest.fixture
def old() -> os.stat_result:
    """Return the status of a file that has not changed for long enough to be remembered."""
    info = os.stat("/")
    return os.stat_result((*info[:10],), {"st_mtime_ns": 5 * 10**9, "st_ctime_ns": 7 * 10**9})


def kept(file: Path, facts: Facts, info: os.stat_result) -> Facts | None:
    memo = Memo.load(str(file))
    memo.put("/real/path", info, facts)
    memo.save()
    return Memo.load(str(file)).get("/real/path", info)


@pytest.mark.parametrize("facts", [FULL, Facts(), Facts(error="", bits=64, dynamic=True)])
def test_all_facts_are_kept(tmp_path: Path, facts: Facts, old: os.stat_result) -> None:
    assert kept(tmp_path / "memo", facts, old) == facts


TEXT = st.text(st.characters(blacklist_characters="\0"), max_size=8)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(TEXT), text=TEXT, runpath=st.one_of(st.none(), TEXT))
def test_any_strings_are_kept_or_forgotten_never_changed(
    tmp_path: Path, old: os.stat_result, names: list[str], text: str, runpath: str | None
) -> None:
    facts = Facts(needed=tuple(names), soname=text, runpath=runpath, filters=(text,), error=text)
    (tmp_path / "memo").unlink(missing_ok=True)
    assert kept(tmp_path / "memo", facts, old) in (facts, None)


def test_a_file_that_changed_is_forgotten(tmp_path: Path, old: os.stat_result) -> None:
    kept(tmp_path / "memo", FULL, old)
    memo = Memo.load(str(tmp_path / "memo"))
    for position, value in ((1, 99), (6, 99)):  # ino, size
        changed = list(old[:10])
        changed[position] = value
        other = os.stat_result(changed, {"st_mtime_ns": 5 * 10**9, "st_ctime_ns": 7 * 10**9})
        assert memo.get("/real/path", other) is None
    for times in (
        {"st_mtime_ns": 6, "st_ctime_ns": 7 * 10**9},
        {"st_mtime_ns": 5 * 10**9, "st_ctime_ns": 8},
    ):
        assert memo.get("/real/path", os.stat_result((*old[:10],), times)) is None
    assert memo.get("/other/path", old) is None
    assert memo.get("/real/path", old) == FULL


def test_a_file_that_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert kept(tmp_path / "memo", FULL, os.stat(file)) is None


def test_what_a_run_does_not_use_is_dropped_when_it_saves(tmp_path: Path, old: os.stat_result) -> None:
    path = str(tmp_path / "memo")
    memo = Memo.load(path)
    for name in ("/a", "/b", "/c"):
        memo.put(name, old, FULL)
    memo.save()
    memo = Memo.load(path)
    memo.get("/a", old)
    memo.save()  # nothing new: left as it is
    assert Memo.load(path).get("/b", old) == FULL
    memo = Memo.load(path)
    memo.get("/a", old)
    memo.put("/d", old, FULL)
    memo.save()
    memo = Memo.load(path)
    assert [memo.get(name, old) is not None for name in ("/a", "/b", "/c", "/d")] == [
        True,
        False,
        False,
        True,
    ]


def test_the_file_is_private_and_replaced_as_a_whole(tmp_path: Path, old: os.stat_result) -> None:
    file = tmp_path / "memo"
    file.write_text("old")
    before = file.stat().st_ino
    kept(file, FULL, old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_ino != before
    assert os.listdir(tmp_path) == ["memo"]


def test_a_memo_that_cannot_be_written_or_read_is_no_error(tmp_path: Path, old: os.stat_result) -> None:
    assert kept(tmp_path / "none" / "memo", FULL, old) is None
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert Memo.load(str(tmp_path / "link")).get("/real/path", old) is None
    os.mkfifo(tmp_path / "fifo")
    assert Memo.load(str(tmp_path / "fifo")).get("/real/path", old) is None


def test_damage_of_any_kind_is_an_empty_memo_or_the_truth(tmp_path: Path, old: os.stat_result) -> None:
    file = tmp_path / "memo"
    kept(file, FULL, old)
    sound = file.read_bytes()
    for length in range(len(sound)):
        file.write_bytes(sound[:length])
        assert Memo.load(str(file)).get("/real/path", old) is None
    file.write_bytes(sound.replace(b"memo 2", b"memo 1"))
    assert Memo.load(str(file)).get("/real/path", old) is None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), change=st.binary(max_size=6))
def test_a_hostile_memo_raises_nothing(tmp_path: Path, old: os.stat_result, at: int, change: bytes) -> None:
    file = tmp_path / "memo"
    kept(file, FULL, old)
    data = bytearray(file.read_bytes())
    data[at : at + len(change)] = change
    file.write_bytes(data)
    found = Memo.load(str(file)).get("/real/path", old)
    assert found is None or isinstance(found, Facts)


def test_a_resolver_with_a_memo_gives_the_same_answer_and_reads_no_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "ld.so").write_bytes(Elf().build())
    (root / "lib/liba.so.1").write_bytes(Elf(strings=[(DT_SONAME, "liba.so.1")]).build())
    program = Elf(interpreter="/ld.so", strings=[(DT_NEEDED, "liba.so.1"), (DT_RUNPATH, "/lib")])
    (root / "p").write_bytes(program.build())
    time.sleep(1.1)  # until the files are old enough
    path = str(tmp_path / "memo")
    memo = Memo.load(path)
    first = Resolver(Sysroot(str(root)), memo).program("/p")
    memo.save()
    assert [load.path for load in first.loads] == ["/ld.so", "/lib/liba.so.1"]
    code = (
        "import sys; from chrootbuild.elf.memo import Memo; from chrootbuild.rtld.resolver import Resolver;"
        "from chrootbuild.sysroot.reader import Sysroot;"
        f"closure = Resolver(Sysroot({str(root)!r}), Memo.load({path!r})).program('/p');"
        "print([load.words for load in closure.loads], 'elftools' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == f"{[load.words for load in first.loads]} False\n"


@pytest.mark.parametrize(("put", "place"), [("common", 5), ("rare", 2)])
def test_a_field_in_the_place_of_another_is_damage(
    tmp_path: Path, old: os.stat_result, put: str, place: int
) -> None:
    """Though that text was right where it stood before: a first record, then one with its fields mixed up."""
    file = tmp_path / "memo"
    memo = Memo(str(file))
    for real in ("/first", "/second"):
        memo.put(real, old, FULL)
    memo.save()
    fields = file.read_bytes().split(b"\0")
    first, second = fields[1:7], fields[7:13]
    second[place] = first[2] if put == "common" else first[5]
    file.write_bytes(b"\0".join([fields[0], *first, *second, fields[-1]]))
    damaged = Memo.load(str(file))
    assert damaged.get("/first", old) == FULL
    assert damaged.get("/second", old) is None
