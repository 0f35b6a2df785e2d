"""Writer of Berkeley DB 1.85 hash files: dbopen(3) with DB_HASH, as on the BSDs.

Pairs are inserted in order, so that header, bitmaps and every reachable page
equal the C library's; bytes that it leaves uninitialised are zero here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from chrootbuild.accounts.db185.format import (
    BIG_ENDIAN,
    CHARKEY_HASH,
    FULL_KEY_DATA,
    HEADER,
    LITTLE_ENDIAN,
    MAGIC,
    OVERFLOW,
    SEGMENT,
    VERSION,
    bucket_page,
    hash4,
    log2,
    overflow_page,
)
from chrootbuild.accounts.db185.table import FIND_OUT, FullError, Page, Table
from chrootbuild.errors import Failure

_LARGEST = 256 << 20  # bytes; overflow pages of a high split point lie behind a hole
_DIGITS = bytes([ord("0"), ord("1")]).ljust(256, b"1")


def write(
    pairs: Iterable[tuple[bytes, bytes]],
    *,
    bsize: int = 4096,
    ffactor: int = 32,
    nelem: int = 256,
    lorder: int = BIG_ENDIAN,
) -> bytes:
    """Return the hash file of ``pairs`` inserted in this order; the first of equal keys wins.

    ``bsize`` is the page size in bytes, a power of two from 256 to 32768;
    ``ffactor`` the pairs per bucket (0: derived from the data); ``nelem`` the
    expected number of pairs. Where these run out of overflow pages, the table
    starts with more buckets. Raises Failure for other sizes, and for more data
    than the format holds.
    """
    if bsize not in (256, 512, 1024, 2048, 4096, 8192, 16384, 32768):
        raise Failure(
            f"cannot write a database with pages of {bsize} bytes: not a power of two, 256 to 32768"
        )
    if lorder not in (BIG_ENDIAN, LITTLE_ENDIAN):
        raise Failure(f"cannot write a database with byte order {lorder}: not 4321 or 1234")
    first: dict[bytes, bytes] = {}
    for key, data in pairs:
        first.setdefault(key, data)
    if b"" in first:
        raise Failure("cannot write the database: a key is empty")
    rows = [(key, data, hash4(key), 4 + len(key) + len(data)) for key, data in first.items()]
    while True:
        try:
            table = Table(bsize, ffactor or FIND_OUT, max(nelem, 1), lorder)
            table.put_all(rows)
            return _dump(table)
        except FullError:
            if nelem // (ffactor or FIND_OUT) > 8 * len(rows):
                raise Failure("cannot write the database: it is larger than the format allows") from None
            nelem = max(nelem, 1) * 4


def _dump(table: Table) -> bytes:
    """Return the file: header and pages at their offsets, zeros between."""
    pages: dict[int, bytes] = {}
    for bucket, chain in enumerate(table.chains):
        where = bucket_page(bucket, table.header_pages, table.spares)
        for place, page in enumerate(chain):
            link = chain[place + 1].address if place + 1 < len(chain) else 0
            if page.pairs or link or not page.blank:
                pages[where] = _page(table, page, link)
            where = overflow_page(link, table.header_pages, table.spares)
    for index, address in enumerate(table.bitmaps):
        if address:
            pages[overflow_page(address, table.header_pages, table.spares)] = _bitmap(table, index)
    count = max(*pages, bucket_page(len(table.chains) - 1, table.header_pages, table.spares)) + 1
    if count * table.bsize > _LARGEST:
        raise Failure("cannot write the database: its pages would lie too far apart")
    blank = bytes(table.bsize)
    head = _header(table).ljust(table.header_pages * table.bsize, b"\0")
    return head + b"".join([pages.get(number, blank) for number in range(table.header_pages, count)])


def _page(table: Table, page: Page, link: int) -> bytes:
    slots: list[int] = []
    parts: list[bytes] = []  # from the end of the page down
    offset = table.bsize
    if page.big is not None:
        big = page.big
        above, below = (big.key, big.data) if big.key else (big.data, b"")
        slots = [offset - len(above), big.mark]
        offset -= len(above) + len(below)
        parts = [above, below]
        if link:
            slots += [link, offset if big.key and big.mark == FULL_KEY_DATA else OVERFLOW]
    else:
        for key, data, _, _ in page.pairs:
            start = offset - len(key)
            offset = start - len(data)
            slots += (start, offset)
            parts += (key, data)
        if link:
            slots += (link, OVERFLOW)
    count = len(slots)
    order = ">" if table.lorder == BIG_ENDIAN else "<"
    free = offset - 2 * (count + 3)
    head = struct.pack(f"{order}{count + 3}H", count, *slots, free, offset)
    parts.append(bytes(free))
    parts.append(head)
    parts.reverse()
    return b"".join(parts)


def _bitmap(table: Table, index: int) -> bytes:
    """Return a bitmap page; bits beyond the pages that exist are set."""
    count = table.bsize * 8
    bits = table.used[index * count : (index + 1) * count].ljust(count, b"\1")
    # The first bit is the lowest of the first 32-bit word.
    value = int(bits[::-1].translate(_DIGITS), 2).to_bytes(table.bsize, "little")
    if table.lorder == LITTLE_ENDIAN:
        return value
    words = struct.unpack(f"<{table.bsize // 4}I", value)
    return struct.pack(f">{table.bsize // 4}I", *words)


def _header(table: Table) -> bytes:
    directory = SEGMENT
    while directory * SEGMENT < len(table.chains):
        directory *= 2
    return HEADER.pack(
        MAGIC,
        VERSION,
        table.lorder,
        table.bsize,
        log2(table.bsize),
        directory,
        SEGMENT,
        log2(SEGMENT),
        table.ovfl_point,
        table.last_freed,
        len(table.chains) - 1,
        table.high_mask,
        table.low_mask,
        table.ffactor,
        table.nkeys,
        table.header_pages,
        CHARKEY_HASH,
        *table.spares,
        *table.bitmaps,
    )
