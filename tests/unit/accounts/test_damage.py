"""Which accounts of a damaged pwd.db are told: read back bucket by bucket, held against master.passwd."""

from __future__ import annotations

import struct

import pytest

from chrootbuild.accounts.cap_mkdb import cap_mkdb
from chrootbuild.accounts.damage import damaged_records, damaged_users
from chrootbuild.accounts.db185 import format as db185_format
from chrootbuild.accounts.db185.reader import salvage
from chrootbuild.accounts.pwd_mkdb import Database
from tests.support.accounts_samples import MASTER

RIGHT = "every record still reads as it should"


def made(master: bytes = MASTER, *, secure: bool = False, legacy: bool = False, lorder: int = 4321) -> bytes:
    return Database(master, secure, legacy, lorder).render()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_a_sound_file_has_nothing_to_tell(secure: bool, legacy: bool) -> None:
    assert damaged_users(made(secure=secure, legacy=legacy, lorder=1234), MASTER, secure=secure) == RIGHT


def test_unused_bytes_are_no_damage() -> None:
    data = bytearray(made())
    data[300] ^= 1  # behind the header, in its page
    assert damaged_users(bytes(data), MASTER, secure=False) == RIGHT


@pytest.mark.parametrize("name", [b"root", b"toor", b"alice", b"nobody"])
def test_the_account_whose_bytes_changed_is_named(name: bytes) -> None:
    data = made()
    start = data.index(name + b"\0*\0") + len(name) + 3  # its uid, in one of three records
    changed = data[:start] + b"\0\0\1\0" + data[start + 4 :]
    assert damaged_users(changed, MASTER, secure=False) == f"damaged: {name.decode()}"


def test_an_account_that_master_passwd_does_not_have_is_named() -> None:
    more = MASTER + b"mallory:*:0:0::0:0::/:/bin/sh\n"
    assert damaged_users(made(more), MASTER, secure=False) == "damaged: mallory"


def test_a_hash_in_pwd_db_is_damage() -> None:
    assert damaged_users(made(secure=True), MASTER, secure=False) == "damaged: root, alice, bob, +"


def test_many_are_counted() -> None:
    master = b"".join(b"user%d:*:%d:%d::0:0::/:/bin/sh\n" % (i, i, i) for i in range(1, 21))
    other = master.replace(b"/bin/sh", b"/bin/xx")
    said = damaged_users(made(other), master, secure=False)
    assert said == "damaged: user1, user2, user3, user4, user5 and 15 more"


def test_a_bucket_that_cannot_be_read_loses_its_own_pairs_alone() -> None:
    data = made()
    whole = salvage(data)
    page = 4096  # of the first bucket
    count, first = struct.unpack_from(">HH", data, page)
    broken = data[: page + 2] + struct.pack(">H", 0xFFFF) + data[page + 4 :]
    assert count
    assert first != 0xFFFF
    left = salvage(broken)
    assert left.items() < whole.items()
    assert len(left) == len(whole) - count // 2
    assert damaged_users(broken, MASTER, secure=False).startswith("damaged: ")


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "it has 0 bytes, and the header alone has 260"),
        (b"x" * 4096, "it does not start like a Berkeley DB 1.85 hash file"),
    ],
)
def test_what_is_no_database_is_said(data: bytes, fact: str) -> None:
    assert damaged_users(data, MASTER, secure=False) == fact


def test_a_record_of_a_capability_database_is_named() -> None:
    text = b"default::umask=022:\nstaff|Staff::umask=027:\n"
    data = cap_mkdb(text)
    assert damaged_records(data, text) == RIGHT
    assert damaged_records(data.replace(b"umask=027", b"umask=007"), text) == "damaged: staff"


def test_buckets_that_share_one_chain_are_not_all_followed() -> None:
    """16,384 buckets that lead to the same 2,000 pages: whoever has taken over a daemon may write such a file."""
    size, buckets, shared, point = 64, 1 << 14, 2000, 14
    first = 5  # pages of the header
    spares = [0] * point + [shared] * (32 - point)

    def overflow(number: int) -> int:
        return point << 11 | number

    header = db185_format.HEADER.pack(
        *(db185_format.MAGIC, 2, 1234, size, 6, 256, 256, 8, point, 0, buckets - 1),
        *(2 * buckets - 1, buckets - 1, 1, 0, first, db185_format.CHARKEY_HASH),
        *(*spares, *[overflow(1)] * 32),
    )
    pages = {db185_format.bucket_page(bucket, first, spares): overflow(2) for bucket in range(buckets)}
    for number in range(2, shared):
        pages[db185_format.overflow_page(overflow(number), first, spares)] = overflow(number + 1)
    data = bytearray((max(pages) + 1) * size)
    data[: len(header)] = header
    for page, link in pages.items():
        struct.pack_into("<HHH", data, page * size, 2, link, 0)
    used = db185_format.overflow_page(overflow(1), first, spares) * size
    data[used : used + size] = b"\xff" * size
    assert salvage(bytes(data)) == {}
