"""ld.so.cache: what is written is read again, and any bytes are read or refused."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.elf.facts import Facts
from chrootbuild.rtld import ld_cache

NAMES = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=12
)
ENTRIES = st.lists(
    st.builds(
        ld_cache.Entry,
        NAMES,
        NAMES.map("/".__add__),
        st.sampled_from([1, 3, 0x303, 0xA03]),
        st.sampled_from(["", "x86-64-v2", "x86-64-v3"]),
        st.just(0),
    ),
    unique=True,
    max_size=20,
)


@given(entries=ENTRIES, little=st.booleans())
def test_what_is_written_is_read(entries: list[ld_cache.Entry], little: bool) -> None:
    assert sorted(ld_cache.parse(ld_cache.render(entries, little=little))) == sorted(entries)


@given(entries=ENTRIES)
def test_entries_come_in_one_order_whatever_the_order_they_are_given_in(
    entries: list[ld_cache.Entry],
) -> None:
    distinct = list({entry[:1] + entry[2:]: entry for entry in entries}.values())
    shuffled = random.Random(1).sample(distinct, len(distinct))
    assert ld_cache.render(shuffled) == ld_cache.render(distinct)


def test_sonames_are_compared_with_numbers_as_numbers() -> None:
    names = [
        "liba.so.9",
        "liba.so.10",
        "liba.so",
        "lib9.so",
        "lib10.so",
        "libA.so",
        "liba.so.1a",
        "liba.so.1",
    ]
    written = [
        entry.soname
        for entry in ld_cache.parse(ld_cache.render([ld_cache.Entry(name, "/x", 3) for name in names]))
    ]
    assert written == [
        "lib10.so",
        "lib9.so",
        "liba.so.10",
        "liba.so.9",
        "liba.so.1a",
        "liba.so.1",
        "liba.so",
        "libA.so",
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it does not start with"),
        (b"glibc-ld.so.cache1.1", "it is cut off in its header"),
        (b"ld.so-1.7.0\0" + bytes(4), "it is in the format from before"),
        (b"ld.so-1.7.0", "it is in the format from before"),
        (ld_cache.render([])[:28] + b"\x01" + ld_cache.render([])[29:], "it is marked as incomplete"),
        (ld_cache.render([ld_cache.Entry("a", "/a", 3)])[:60], "it has more entries than bytes"),
    ],
)
def test_damaged_caches(data: bytes, words: str) -> None:
    with pytest.raises(ld_cache.CacheError, match=words):
        ld_cache.parse(data)


def test_a_cache_without_a_mark_of_its_byte_order() -> None:
    entries = (ld_cache.Entry("liba.so", "/liba.so", 0x303),)
    for little in (True, False):
        data = bytearray(ld_cache.render(entries, little=little))
        data[28] = 0
        assert ld_cache.parse(bytes(data)) == entries


def test_strings_without_an_end_cost_no_more_than_their_bound() -> None:
    count, size = 100_000, 4_000_000
    rows = b"".join(struct.pack("<iIIIQ", 3, 2_400_048 + n, 2_400_048 + n, 0, 0) for n in range(count))
    head = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", count, size, 2, 0)
    assert ld_cache.parse(head + rows + b"x" * size) == ()


@settings(max_examples=300)
@given(
    data=st.binary(max_size=200),
    cut=st.integers(0, 400),
    change=st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)),
)
def test_any_bytes_are_read_or_refused(data: bytes, cut: int, change: tuple[int, bytes]) -> None:
    sound = bytearray(
        ld_cache.render([ld_cache.Entry("liba.so.1", "/x/liba.so.1", 0x303, level) for level in ("", "v2")])
    )
    at, other = change
    sound[at : at + len(other)] = other
    for text in (data, b"glibc-ld.so.cache1.1" + data, bytes(sound), bytes(sound[:cut]) + data):
        try:
            words = str(ld_cache.parse(text))
        except ld_cache.CacheError as error:
            words = str(error)
        assert words


@pytest.mark.parametrize(
    ("facts", "flag"),
    [
        (Facts(bits=64, machine=62), 0x303),
        (Facts(bits=32, machine=62), 0x803),
        (Facts(bits=32, machine=3), 0x001),
        (Facts(bits=32, machine=3, needed=("libc.so.6",)), 0x003),
        (Facts(bits=64, machine=183), 0xA03),
        (Facts(bits=32, machine=40, eflags=0x5000400), 0x903),
        (Facts(bits=32, machine=40, eflags=0x5000200), 0xB03),
        (Facts(bits=64, machine=243, eflags=5), 0x1003),
        (Facts(bits=64, machine=243, eflags=1), 0x0F03),
        (Facts(bits=64, machine=258, eflags=3), 0x1203),
        (Facts(bits=64, machine=258, eflags=1), 0x1103),
        (Facts(bits=64, machine=21), 0x503),
        (Facts(bits=64, machine=22), 0x403),
        (Facts(bits=32, machine=22), 0x001),
        (Facts(bits=32, machine=8, eflags=0x20), 0x603),
        (Facts(bits=32, machine=8, eflags=0x400), 0xC03),
        (Facts(bits=64, machine=8, eflags=0x400), 0xE03),
    ],
)
def test_flags_of_each_class(facts: Facts, flag: int) -> None:
    assert ld_cache.class_flag(facts) == flag


def test_strings_that_share_their_ends_over_and_over_make_no_cache() -> None:
    """Each entry may begin one byte later in one string: 50 kB would take 8 MB, and 64 MB all there is."""
    count, text = 2000, b"/" * 4090 + b"\0"
    start = 48 + 24 * count
    rows = b"".join(struct.pack("<iIIIQ", 3, start + 2 * n, start + 2 * n + 1, 0, 0) for n in range(count))
    head = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", count, len(text), 2, 0)
    with pytest.raises(ld_cache.CacheError, match="its strings overlap"):
        ld_cache.parse(head + rows + text)


def test_of_many_lists_of_subdirectories_one_is_read() -> None:
    """100,000 lists that are all in one place, of 25,000 names each, would be read for hours."""
    count, names = 100_000, 25_000
    extension = 48
    place = extension + 8 + 16 * count
    head = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", 0, 0, 2, extension)
    lists = struct.pack("<IIII", 1, 0, place, 4 * names) * count
    assert ld_cache.parse(head + struct.pack("<II", 0xEAA42174, count) + lists + bytes(4 * names)) == ()
