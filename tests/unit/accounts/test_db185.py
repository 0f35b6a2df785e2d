"""Writer and reader of Berkeley DB 1.85 hash files against each other."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.accounts.db185.format import BIG_ENDIAN, LITTLE_ENDIAN, hash4
from chrootbuild.accounts.db185.reader import DamagedError, read_header
from chrootbuild.accounts.db185.writer import write
from chrootbuild.errors import Failure
from tests.support.account_databases import parse

SIZES = st.sampled_from([256, 512, 1024, 2048, 4096, 8192, 16384, 32768])
ORDERS = st.sampled_from([BIG_ENDIAN, LITTLE_ENDIAN])
_PIECES = st.one_of(
    st.binary(min_size=1, max_size=50),
    st.integers(1, 9000).map(lambda size: random.Random(size).randbytes(size)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(_PIECES, st.just(b"") | _PIECES), max_size=50, unique_by=lambda pair: pair[0]),
    SIZES,
    ORDERS,
    st.sampled_from([0, 1, 8, 32]),
    st.integers(0, 3000),
)
def test_what_is_written_is_read_back(
    pairs: list[tuple[bytes, bytes]], bsize: int, lorder: int, ffactor: int, nelem: int
) -> None:
    data = write(pairs, bsize=bsize, lorder=lorder, ffactor=ffactor, nelem=nelem)
    assert sorted(parse(data)) == sorted(pairs)
    header = read_header(data)
    assert (header.bsize, header.lorder, header.nkeys) == (bsize, lorder, len(pairs))


@pytest.mark.parametrize("bsize", [256, 4096])
@pytest.mark.parametrize("around", range(-20, 3))
def test_sizes_around_those_of_a_page(bsize: int, around: int) -> None:
    """The library forbids an exact fit in several places: key, data, and both on one page."""
    size = bsize + around
    rows = [
        (b"k" * size, b""),
        (b"l" * size, b"d"),
        (b"m" * 10, b"d" * size),
        (b"n" * 10, b"d" * (size - 10)),
        (b"o" * size, b"d" * size),
        (b"p" * (size - 100), b"d" * 100),
        (b"q" * (2 * size), b"d" * (3 * size)),
        (b"r" * (2 * size - 100), b"d" * 100),
        (b"small", b"pair"),
    ]
    for count in range(1, len(rows) + 1):
        assert sorted(parse(write(rows[:count], bsize=bsize, nelem=1))) == sorted(rows[:count])


def test_of_equal_keys_the_first_stays() -> None:
    assert parse(write([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])) in (
        [(b"a", b"1"), (b"b", b"2")],
        [(b"b", b"2"), (b"a", b"1")],
    )


def test_an_empty_table() -> None:
    data = write([])
    assert parse(data) == []
    assert data[:16] == bytes.fromhex("00061561 00000002 000010e1 00001000")
    # Eight buckets, the bitmap on the page behind them: all as in an empty pwd.db of pwd_mkdb.
    assert read_header(data).bitmaps[0] == 0x1801
    assert data[9 * 4096 : 9 * 4096 + 4] == bytes.fromhex("fffffff1")


def test_the_hash_of_the_library() -> None:
    """Its value for this string stands in the header of every file."""
    assert hash4(b"%$sniglet^&\0") == 0x956E7DE3


def test_more_overflow_pages_than_a_bitmap_has_bits() -> None:
    rows = [(b"%d" % number, b"v" * 200) for number in range(5000)]
    data = write(rows, bsize=256, ffactor=4000, nelem=1)
    assert sum(1 for address in read_header(data).bitmaps if address) > 1
    assert sorted(parse(data)) == sorted(rows)


def test_more_overflow_pages_than_a_split_point_has() -> None:
    """8000 users of 1500 bytes: the library gives up; more buckets from the start help."""
    rows = [(b"%d" % number, b"v" * 1500) for number in range(24000)]
    assert sorted(parse(write(rows))) == sorted(rows)


def test_what_no_file_can_hold_is_an_error() -> None:
    with pytest.raises(Failure, match="pages of 1000 bytes"):
        write([], bsize=1000)
    with pytest.raises(Failure, match="byte order 1"):
        write([], lorder=1)
    with pytest.raises(Failure, match="a key is empty"):
        write([(b"", b"x")])
    with pytest.raises(Failure, match="cannot write the database"):
        write([(b"k", bytes(40_000_000))], bsize=256)


# -- damage ------------------------------------------------------------------------------------------


def _damaged(at: int, new: bytes) -> bytes:
    rows = [(b"key%d" % number, b"v" * 100) for number in range(400)]
    data = bytearray(write(rows))
    data[at : at + len(new)] = new
    return bytes(data)


@pytest.mark.parametrize(
    ("at", "new", "fact"),
    [
        (0, b"\1\2\3\4", "does not start like"),
        (4, struct.pack(">I", 3), "its version is 3"),
        (8, struct.pack(">I", 3412), "its byte order is 3412"),
        (12, struct.pack(">I", 4095), "its pages have 4095 bytes"),
        (32, struct.pack(">I", 40), "its split point is 40"),
        (40, struct.pack(">I", 1 << 30), "its bucket masks contradict each other"),
        (56, struct.pack(">I", 500), "it has 400 keys, and the header says 500"),
        (60, struct.pack(">I", 0), "its first bucket is inside the header"),
        (64, struct.pack(">I", 1), "another hash function"),
        (4096, struct.pack(">H", 3), "page 1 has 3 slots"),
        (4096, struct.pack(">H", 65534), "page 1 has 65534 slots"),
        (4098, struct.pack(">HH", 10, 4), "the pairs of a page overlap"),
    ],
)
def test_damage_is_named(at: int, new: bytes, fact: str) -> None:
    with pytest.raises(DamagedError, match=fact):
        parse(_damaged(at, new))


def test_a_key_in_the_wrong_bucket_is_found() -> None:
    data = bytearray(write([(b"key", b"value")]))
    at = data.index(b"valuekey")
    data[at + 7] ^= 1
    with pytest.raises(DamagedError, match=r"a key of bucket \d is in bucket \d"):
        parse(bytes(data))


def test_an_overflow_page_marked_as_free_is_found() -> None:
    rows = [(b"%d" % number, b"v" * 900) for number in range(40)]
    data = write(rows)
    header = read_header(data)
    assert header.bitmaps[0] == 0x1801
    bitmap = 9 * 4096
    cleared = data[:bitmap] + struct.pack(">I", 0xFFFFFFF1) + data[bitmap + 4 :]
    assert cleared != data
    with pytest.raises(DamagedError, match="is in use and marked as free"):
        parse(cleared)


def test_a_chain_that_runs_in_a_circle_is_found() -> None:
    rows = [(b"%d" % number, b"v" * 900) for number in range(60)]
    data = bytearray(write(rows, ffactor=1000))
    seen = set()
    for page in range(1, len(data) // 4096):
        (count,) = struct.unpack_from(">H", data, page * 4096)
        if count > 2000:
            continue  # the bitmap
        slots = struct.unpack_from(f">{count}H", data, page * 4096 + 2)
        if count > 2 and slots[-1] == 0:
            seen.add((page, slots[-2], 4096 * page + 2 * (count - 1)))
    assert len(seen) > 1
    address = min(seen)[1]
    for _, _, at in seen:
        struct.pack_into(">H", data, at, address)
    with pytest.raises(DamagedError, match="two ways lead to page"):
        parse(bytes(data))
