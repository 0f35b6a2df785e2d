"""Our Berkeley DB 1.85 files against the C library (Debian's libdb1-compat), as reader and as writer."""

from __future__ import annotations

import ctypes
import os
import random
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.accounts.cap_mkdb import cap_mkdb
from chrootbuild.accounts.cap_mkdb import pairs as capability_pairs
from chrootbuild.accounts.db185.format import BIG_ENDIAN, LITTLE_ENDIAN
from chrootbuild.accounts.db185.writer import write
from chrootbuild.accounts.pwd_mkdb import Database, pairs
from tests.support.account_databases import parse, users

pytestmark = pytest.mark.package("libdb1-compat")

_DB_HASH, _FIRST, _NEXT, _NO_OVERWRITE = 1, 3, 7, 8


class _Thing(ctypes.Structure):
    """DBT of db.h."""

    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _HashInfo(ctypes.Structure):
    """HASHINFO of db.h."""

    _fields_ = [
        ("bsize", ctypes.c_uint32),
        ("ffactor", ctypes.c_uint32),
        ("nelem", ctypes.c_uint32),
        ("cachesize", ctypes.c_uint32),
        ("hash", ctypes.c_void_p),
        ("lorder", ctypes.c_int),
    ]


_Method = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_Thing), ctypes.POINTER(_Thing), ctypes.c_uint
)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_Thing), ctypes.c_uint)
_Close = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _Methods(ctypes.Structure):
    """DB of db.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("close", _Close),
        ("delete", _Delete),
        ("get", _Method),
        ("put", _Method),
        ("seq", _Method),
    ]


def _thing(content: bytes) -> tuple[_Thing, ctypes.Array[ctypes.c_char]]:
    buffer = ctypes.create_string_buffer(content, max(len(content), 1))
    return _Thing(ctypes.cast(buffer, ctypes.c_void_p), len(content)), buffer


def _bytes(thing: _Thing) -> bytes:
    return ctypes.string_at(thing.data, thing.size) if thing.size else b""


class Library:
    """A file opened by the C library."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.methods = ctypes.cast(handle, ctypes.POINTER(_Methods)).contents

    def put(self, key: bytes, data: bytes, flags: int = 0) -> int:
        (first, _a), (second, _b) = _thing(key), _thing(data)
        return int(self.methods.put(self.handle, ctypes.byref(first), ctypes.byref(second), flags))

    def get(self, key: bytes) -> bytes | None:
        (first, _a), found = _thing(key), _Thing()
        result = self.methods.get(self.handle, ctypes.byref(first), ctypes.byref(found), 0)
        assert result in (0, 1), "the library calls the file damaged"
        return None if result else _bytes(found)

    def delete(self, key: bytes) -> int:
        first, _a = _thing(key)
        return int(self.methods.delete(self.handle, ctypes.byref(first), 0))

    def walk(self) -> list[tuple[bytes, bytes]]:
        key, data, found = _Thing(), _Thing(), []
        flag = _FIRST
        while not self.methods.seq(self.handle, ctypes.byref(key), ctypes.byref(data), flag):
            found.append((_bytes(key), _bytes(data)))
            flag = _NEXT
        return found


@contextmanager
def library(path: Path, flags: int = os.O_RDONLY, info: _HashInfo | None = None) -> Iterator[Library]:
    dbopen = ctypes.CDLL("libdb1.so.2", use_errno=True).dbopen
    dbopen.restype = ctypes.c_void_p
    handle = dbopen(os.fsencode(path), flags, 0o600, _DB_HASH, ctypes.byref(info) if info else None)
    assert handle, os.strerror(ctypes.get_errno())
    opened = Library(handle)
    try:
        yield opened
    finally:
        assert not opened.methods.close(handle)


def write_by_library(path: Path, rows: Iterable[tuple[bytes, bytes]], info: _HashInfo) -> bytes:
    with library(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, info) as made:
        for key, data in rows:
            assert made.put(key, data, _NO_OVERWRITE) in (0, 1)
    return path.read_bytes()


def picture(data: bytes) -> dict[str, bytes]:
    """Return header, bitmaps and every page that can be reached, its unused bytes zero.

    For files without pairs that need several pages. Written for this test
    alone, so that it shares no error with the reader.
    """
    numbers = struct.unpack(">17I32I32H", data[:260])
    lorder, bsize, last, header_pages = numbers[2], numbers[3], numbers[10], numbers[15]
    spares, bitmaps = numbers[17:49], numbers[49:81]
    order = ">" if lorder == BIG_ENDIAN else "<"

    def bucket(number: int) -> int:
        return int(number + header_pages + (spares[number.bit_length() - 1] if number else 0))

    def overflow(address: int) -> int:
        return bucket((1 << (address >> 11)) - 1) + (address & 2047)

    def page(number: int) -> bytearray:
        return bytearray(data[number * bsize : (number + 1) * bsize].ljust(bsize, b"\0"))

    seen = {"header": data[: header_pages * bsize]}
    for address in bitmaps:
        if address:
            seen[f"bitmap {address:#x}"] = bytes(page(overflow(address)))
    for start in range(last + 1):
        where: int | None = bucket(start)
        while where is not None:
            content = page(where)
            (count,) = struct.unpack_from(f"{order}H", content)
            if not count:
                if any(content[:6]):
                    seen[f"page {where}"] = bytes(content[:6])
                break
            slots = struct.unpack_from(f"{order}{count + 2}H", content, 2)
            content[2 * (count + 3) : slots[-1]] = bytes(slots[-1] - 2 * (count + 3))
            seen[f"page {where}"] = bytes(content)
            where = overflow(slots[count - 2]) if slots[count - 1] == 0 else None
    return seen


def pwd_mkdb_info(lorder: int = BIG_ENDIAN) -> _HashInfo:
    """The HASHINFO of pwd_mkdb.c."""
    return _HashInfo(4096, 32, 256, 2048 * 1024, None, lorder)


def master(count: int) -> bytes:
    """A master.passwd of so many lines: plain, UTF-8, empty fields, long, of one uid, + and -."""
    choose = random.Random(count)
    lines = ["root:*:0:0::0:0:Charlie &:/root:/bin/csh", "toor:*:0:0::0:0:Bourne-again Superuser:/root:"]
    while len(lines) < count - 1:
        number = len(lines)
        gecos = choose.choice(
            [f"User {number}", "", "広瀬雄二,計算機室", "x" * choose.randrange(1, 1500), "Jürgen Groß"]
        )
        name = f"u{number}" if choose.random() < 0.9 else f"名前{number}"
        login_class = choose.choice(["", "", "staff", "russian"])
        change = choose.choice(["0", "", "1700000000"])
        shell = choose.choice(["/bin/sh", "", "/usr/local/bin/zsh"])
        lines.append(
            f"{name}:$6$h{number}:{1000 + number}:{number}:{login_class}:{change}:0:{gecos}"
            f":/home/{name}:{shell}"
        )
    lines.append("nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin")
    if count > 20:
        lines[7] = "+@admins:*:::::::/home:/bin/sh"
        lines[11] = "-mallory:::::::::"
        lines += ["+:::::::::", lines[15]]
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("count", [3, 30, 1000, 20000])
def test_every_record_is_found_by_the_library(tmp_path: Path, count: int, secure: bool) -> None:
    text = master(count)
    file = tmp_path / "pwd.db"
    file.write_bytes(Database(text, secure).render())
    expected: dict[bytes, bytes] = {}
    for key, data in pairs(text, secure=secure):
        expected.setdefault(key, data)
    assert len(expected) > 3 * count - 20
    with library(file) as opened:
        walked = opened.walk()
        assert len(walked) == len(expected)
        assert dict(walked) == expected
        assert {key: opened.get(key) for key in expected} == expected
        assert opened.get(b"\x41nosuchuser") is None


def test_db_dump185_prints_every_record(tmp_path: Path) -> None:
    text = master(30)
    file = tmp_path / "spwd.db"
    file.write_bytes(Database(text, secure=True).render())
    argv = ["db_dump185", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    head, _, body = done.stdout.partition("HEADER=END\n")
    assert "db_lorder=4321\n" in head
    assert "h_ffactor=32\n" in head
    rows = [bytes.fromhex(line.strip()) for line in body.splitlines() if line.strip() != "DATA=END"]
    expected: dict[bytes, bytes] = {}
    for key, data in pairs(text, secure=True):
        expected.setdefault(key, data)
    assert dict(zip(rows[::2], rows[1::2], strict=True)) == expected


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("lorder", [BIG_ENDIAN, LITTLE_ENDIAN])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("count", [3, 30, 1000, 20000])
def test_a_file_of_the_library_in_the_order_of_pwd_mkdb_equals_ours(
    tmp_path: Path, count: int, secure: bool, lorder: int, legacy: bool
) -> None:
    text = master(count)
    rows = pairs(text, secure=secure, legacy=legacy, lorder=lorder)
    theirs = write_by_library(tmp_path / "pwd.db", rows, pwd_mkdb_info(lorder))
    ours = Database(text, secure, legacy, lorder).render()
    assert picture(ours) == picture(theirs)
    assert len(ours) <= len(theirs)


def test_unused_bytes_are_zero() -> None:
    data = Database(master(1000), secure=True).render()
    seen = picture(data)
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    used = [content.ljust(4096, b"\0") for content in seen.values()]
    assert sorted(pages) == sorted(used + [bytes(4096)] * (len(pages) - len(used)))


def test_a_small_file_has_the_size_it_has_on_freebsd() -> None:
    assert len(Database(master(3), secure=False).render()) == 40960


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=60), st.binary(max_size=170)),
        max_size=400,
        unique_by=lambda p: p[0],
    ),
    st.sampled_from([256, 512, 4096, 32768]),
    st.sampled_from([0, 1, 4, 32]),
    st.integers(1, 600),
    st.sampled_from([BIG_ENDIAN, LITTLE_ENDIAN]),
)
def test_any_small_pairs_lie_where_the_library_puts_them(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bytes, bytes]],
    bsize: int,
    ffactor: int,
    nelem: int,
    lorder: int,
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.db"
    theirs = write_by_library(file, rows, _HashInfo(bsize, ffactor, nelem, 1 << 24, None, lorder))
    ours = write(rows, bsize=bsize, ffactor=ffactor, nelem=nelem, lorder=lorder)
    assert picture(ours) == picture(theirs)


def test_many_tables_of_every_shape_lie_where_the_library_puts_them(tmp_path: Path) -> None:
    """Empty pages, buckets split while empty, few pairs a page: 200 tables, each from its seed."""
    for seed in range(200):
        choose = random.Random(seed)
        bsize = choose.choice([256, 512, 4096])
        ffactor, nelem = choose.choice([0, 1, 4, 32]), choose.choice([1, 10, 600])
        top = choose.choice([10, 60, bsize // 3, bsize - 40])
        rows = [
            (b"%d" % number, choose.randbytes(choose.randrange(top)))
            for number in range(choose.choice([1, 10, 100, 600]))
        ]
        info = _HashInfo(bsize, ffactor, nelem, 1 << 24, None, BIG_ENDIAN)
        theirs = write_by_library(tmp_path / "table.db", rows, info)
        assert picture(write(rows, bsize=bsize, ffactor=ffactor, nelem=nelem)) == picture(theirs), seed


_PIECES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.integers(1, 20000).flatmap(lambda size: st.just(random.Random(size).randbytes(size))),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(_PIECES, st.one_of(st.just(b""), _PIECES)), max_size=60, unique_by=lambda p: p[0]),
    st.sampled_from([256, 512, 4096, 32768]),
    st.sampled_from([0, 1, 32]),
    st.sampled_from([BIG_ENDIAN, LITTLE_ENDIAN]),
)
def test_large_pairs_are_found_by_the_library(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[bytes, bytes]],
    bsize: int,
    ffactor: int,
    lorder: int,
) -> None:
    file = tmp_path_factory.getbasetemp() / "large.db"
    file.write_bytes(write(rows, bsize=bsize, ffactor=ffactor, nelem=1, lorder=lorder))
    with library(file) as opened:
        assert {key: opened.get(key) for key, _ in rows} == dict(rows)


@pytest.mark.parametrize("seed", range(8))
def test_what_the_library_puts_and_deletes_in_our_file_is_read_by_our_reader(
    tmp_path: Path, seed: int
) -> None:
    choose = random.Random(seed)
    count = choose.choice([3, 30, 300, 2000])
    expected: dict[bytes, bytes] = {}
    for key, data in pairs(master(count), secure=True):
        expected.setdefault(key, data)
    file = tmp_path / "spwd.db"
    file.write_bytes(write(expected.items()))
    with library(file, os.O_RDWR) as opened:
        for number in range(choose.choice([1, 50, 3000])):
            if choose.random() < 0.4 and expected:
                key = choose.choice(list(expected)[:200])
                assert opened.delete(key) == 0
                del expected[key]
            else:
                key = b"\x41new%d" % (number % 500)
                expected[key] = choose.randbytes(choose.randrange(1, 900))
                assert opened.put(key, expected[key]) == 0
    assert dict(parse(file.read_bytes())) == expected


def test_one_account_changed_in_place_is_read_back(tmp_path: Path) -> None:
    """``pwd_mkdb -u NAME`` copies the file and puts the new record over the old ones."""
    before = master(300)
    after = before.replace(b"/home/u42:", b"/home/elsewhere:")
    assert before != after
    file = tmp_path / "pwd.db"
    file.write_bytes(Database(before, secure=False).render())
    with library(file, os.O_RDWR) as opened:
        changed = [row for row in pairs(after, secure=False) if row[1].startswith(b"u42\0")]
        assert len(changed) == 3
        for key, data in changed:
            assert opened.put(key, data) == 0
    assert users(file.read_bytes()) == users(Database(after, secure=False).render())


def test_login_conf_of_freebsd_is_found_by_every_name(tmp_path: Path) -> None:
    text = (
        b"# classes\n\ndefault:\\\n\t:passwd_format=sha512:\\\n\t:umask=022:\n"
        b"standard:\\\n\t:tc=default:\nroot:\\\n\t:ignorenologin:\\\n\t:tc=default:\n"
        b"russian|Russian Users Accounts:\\\n\t:charset=KOI8-R:\\\n\t:tc=default:\n"
    )
    file = tmp_path / "login.conf.db"
    file.write_bytes(cap_mkdb(text))
    with library(file) as opened:
        # As getcap.c does: a reference leads to the name field, that to the record.
        reference = opened.get(b"russian")
        assert reference == b"\2russian|Russian Users Accounts"
        assert opened.get(reference[1:]) == (
            b"\0russian|Russian Users Accounts:\t:charset=KOI8-R:\t:\t:passwd_format=sha512:\t:umask=022:\0"
        )
        assert opened.get(b"root") == b"\0root:\t:ignorenologin:\t:\t:passwd_format=sha512:\t:umask=022:\0"


def test_termcap_with_large_records_lies_where_the_library_puts_it(tmp_path: Path) -> None:
    """A page for each record: the number of keys a bucket is found out from the first overflow."""
    text = b"".join(
        b"t%d|term %d:\\\n\t:%s:\n" % (n, n, b":".join(b"k%d=\\E[%dA" % (i, i) for i in range(n)))
        for n in range(150)
    )
    info = _HashInfo(4096, 0, 0, 0, None, LITTLE_ENDIAN)
    theirs = write_by_library(tmp_path / "termcap.db", capability_pairs(text), info)
    assert picture(cap_mkdb(text)) == picture(theirs)
