"""Reader of Berkeley DB 1.85 hash files of either byte order; it checks and salvages.

The input is untrusted: every number is checked before use, and no page is
read twice. Format: format.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chrootbuild.accounts.db185 import format as db185
from chrootbuild.accounts.db185.format import FULL_KEY, FULL_KEY_DATA, HEADER, OVERFLOW, PARTIAL_KEY
from chrootbuild.errors import Failure

_SHARED = 4  # limit on page reads, as a multiple of the page count: buckets may share pages


class DamagedError(Failure):
    """The bytes are not a hash file as the library writes it."""

    def __init__(self, fact: str) -> None:
        super().__init__(f"cannot read the database: {fact}")
        self.fact = fact

    def __reduce__(self) -> tuple[object, ...]:
        return (DamagedError, (self.fact,))


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a hash file; fields are named as in hash.h (HASHHDR)."""

    lorder: int
    bsize: int
    ovfl_point: int
    last_freed: int
    max_bucket: int
    high_mask: int
    low_mask: int
    ffactor: int
    nkeys: int
    header_pages: int
    spares: tuple[int, ...]
    bitmaps: tuple[int, ...]

    def bucket_of(self, key: bytes) -> int:
        """Return the bucket number of a key."""
        bucket = db185.hash4(key) & self.high_mask
        return bucket if bucket <= self.max_bucket else bucket & self.low_mask


def read_header(data: bytes) -> Header:
    """Return the decoded header; raises DamagedError."""
    if len(data) < HEADER.size:
        raise DamagedError(f"it has {len(data)} bytes, and the header alone has {HEADER.size}")
    numbers = HEADER.unpack_from(data)
    magic, version, lorder, bsize = numbers[:4]
    if magic != db185.MAGIC:
        raise DamagedError("it does not start like a Berkeley DB 1.85 hash file")
    if version not in (1, 2):
        raise DamagedError(f"its version is {version}, not 1 or 2")
    if lorder not in (db185.BIG_ENDIAN, db185.LITTLE_ENDIAN):
        raise DamagedError(f"its byte order is {lorder}, not 4321 or 1234")
    if bsize.bit_count() != 1 or not 64 <= bsize <= 32768:
        raise DamagedError(f"its pages have {bsize} bytes: not a power of two, 64 to 32768")
    point, freed, buckets, high, low, ffactor, nkeys, pages, charkey = numbers[8:17]
    header = Header(
        lorder, bsize, point, freed, buckets, high, low, ffactor, nkeys, pages, numbers[17:49], numbers[49:]
    )
    if charkey != db185.CHARKEY_HASH:
        raise DamagedError("it was made with another hash function")
    if header.header_pages * bsize < HEADER.size:
        raise DamagedError("its first bucket is inside the header")
    if low & (low + 1) or high != 2 * low + 1 or not low <= buckets <= high:
        raise DamagedError("its bucket masks contradict each other")
    if header.ovfl_point >= db185.SPLITS:
        raise DamagedError(f"its split point is {header.ovfl_point}, not below {db185.SPLITS}")
    return header


def salvage(data: bytes) -> dict[bytes, bytes]:
    """Return the pairs that the library can still find, by bucket; raises DamagedError for the header.

    An unreadable bucket loses its own pairs only. Where buckets share too many pages, the last
    ones are left out.
    """
    header = read_header(data)
    found: dict[bytes, bytes] = {}
    pages = -(-len(data) // header.bsize)
    left = _SHARED * pages
    for bucket in range(min(header.max_bucket + 1, pages)):
        if left < 0:
            break
        reader = _Reader(data, header)
        try:
            pairs = reader.bucket(bucket)
        except DamagedError:
            continue
        finally:
            left -= len(reader.seen)
        for key, value in pairs:
            if header.bucket_of(key) == bucket:
                found.setdefault(key, value)
    return found


@dataclass(frozen=True, slots=True)
class _PageView:
    """A page in use: its slots, its bytes, and the free bytes that it claims."""

    slots: tuple[int, ...]
    bytes: bytes
    free: int

    @property
    def link(self) -> int:
        """Return the overflow address of the next page, or 0."""
        if len(self.slots) > 2 and (self.slots[-1] == OVERFLOW or self.slots[1] == FULL_KEY_DATA):
            return self.slots[-2]
        return self.slots[0] if self.slots[1:] == (OVERFLOW,) else 0


class _Reader:
    """Walks the pages of one file; remembers those seen."""

    def __init__(self, data: bytes, header: Header) -> None:
        self.data, self.header = data, header
        self.pages = -(-len(data) // header.bsize)
        self.order = ">" if header.lorder == db185.BIG_ENDIAN else "<"
        self.seen: set[int] = set()

    def bucket(self, bucket: int) -> list[tuple[bytes, bytes]]:
        """Return the pairs of a bucket, overflow pages included."""
        header = self.header
        view = self.view(db185.bucket_page(bucket, header.header_pages, header.spares))
        found: list[tuple[bytes, bytes]] = []
        while view is not None:
            if len(view.slots) > 1 and PARTIAL_KEY <= view.slots[1] <= FULL_KEY_DATA:
                pair, view = self.big(view)
                found.append(pair)
            else:
                found += self.small(view)
            address = view.link
            view = self.overflow(address) if address else None
        return found

    def small(self, view: _PageView) -> list[tuple[bytes, bytes]]:
        """Return the pairs of a page of whole pairs."""
        found: list[tuple[bytes, bytes]] = []
        end, low = self.header.bsize, 2 * (len(view.slots) + 3)
        slots = view.slots[:-2] if view.link else view.slots
        for index in range(0, len(slots), 2):
            key, data = slots[index], slots[index + 1]
            if not low <= data <= key <= end:
                raise DamagedError("the pairs of a page overlap")
            found.append((view.bytes[key:end], view.bytes[data:key]))
            end = data
        return found

    def big(self, view: _PageView) -> tuple[tuple[bytes, bytes], _PageView]:
        """Return a large pair that starts on this page, and its last page."""
        key: list[bytes] = []
        while view.slots[1] == PARTIAL_KEY:
            key.append(self.tail(view, view.slots[0]))
            view = self.following(view)
        key.append(self.tail(view, view.slots[0]))
        data: list[bytes] = []
        if view.slots[1] == FULL_KEY_DATA:
            if len(view.slots) != 4 or not self.low(view) <= view.slots[3] <= view.slots[0]:
                raise DamagedError("a large pair has no data")
            data.append(view.bytes[view.slots[3] : view.slots[0]])
            if view.free:
                return (b"".join(key), b"".join(data)), view
        elif view.slots[1] != FULL_KEY:
            raise DamagedError("a large pair breaks off")
        mark = OVERFLOW
        while mark != FULL_KEY_DATA:
            view = self.following(view)
            mark = view.slots[1]
            if mark not in (FULL_KEY, FULL_KEY_DATA):
                raise DamagedError("a large pair breaks off")
            data.append(self.tail(view, view.slots[0]))
        return (b"".join(key), b"".join(data)), view

    def following(self, view: _PageView) -> _PageView:
        """Return the next page of a large pair."""
        if len(view.slots) != 4:
            raise DamagedError("a large pair breaks off")
        after = self.overflow(view.slots[2])
        if after is None or len(after.slots) < 2:
            raise DamagedError("a large pair breaks off")
        return after

    def low(self, view: _PageView) -> int:
        """Return the lowest offset at which the bytes of a page may start."""
        return 2 * (len(view.slots) + 3)

    def tail(self, view: _PageView, start: int) -> bytes:
        """Return the bytes of a page from an offset to its end."""
        if not self.low(view) <= start <= self.header.bsize:
            raise DamagedError("an offset leads out of its page")
        return view.bytes[start:]

    def overflow(self, address: int) -> _PageView | None:
        """Return an overflow page; raises where it is marked free."""
        spares = self.header.spares
        split, number = address >> 11, address & 0x7FF
        if not number or split > self.header.ovfl_point:
            raise DamagedError(f"{address:#06x} is no address of an overflow page")
        bit = (spares[split - 1] if split else 0) + number - 1
        index, bit = divmod(bit, self.header.bsize * 8)
        if index >= db185.SPLITS or not self.header.bitmaps[index]:
            raise DamagedError(f"overflow page {address:#06x} is in no bitmap")
        where = self.page_at(self.header.bitmaps[index]) * self.header.bsize + bit // 32 * 4
        word = self.data[where : where + 4]
        if len(word) < 4 or not struct.unpack(f"{self.order}I", word)[0] >> bit % 32 & 1:
            raise DamagedError(f"overflow page {address:#06x} is in use and marked as free")
        page = self.page_at(address)
        if page >= self.pages:
            raise DamagedError(f"overflow page {address:#06x} is beyond the end of the file")
        return self.view(page)

    def page_at(self, address: int) -> int:
        return db185.overflow_page(address, self.header.header_pages, self.header.spares)

    def view(self, page: int) -> _PageView | None:
        """Return a page; None where it is empty or past the end of the file."""
        if page in self.seen:
            raise DamagedError(f"two ways lead to page {page}")
        self.seen.add(page)
        bsize = self.header.bsize
        content = self.data[page * bsize : (page + 1) * bsize]
        if page >= self.pages or not any(content[:2]):
            return None
        if len(content) < bsize:
            raise DamagedError(f"page {page} is cut off")
        (count,) = struct.unpack_from(f"{self.order}H", content)
        if count % 2 or 2 * (count + 3) > bsize:
            raise DamagedError(f"page {page} has {count} slots")
        *slots, free, _ = struct.unpack_from(f"{self.order}{count + 2}H", content, 2)
        return _PageView(tuple(slots), content, free)
