"""Format of Berkeley DB 1.85 hash files: constants and addressing for writer and reader.

A file is a header, then pages of ``bsize`` bytes: one for each bucket, and
overflow pages behind the buckets of their split point. The header is big
endian on every host; the 16-bit slots of the pages and the 32-bit words of the
bitmaps are in ``lorder``; keys and data are bytes as they are. Source: the
hash code of the 4.4BSD library (HASHMAGIC 0x61561, version 2).

A page begins with the count n of its slots, the n slots, the bytes left, and
the offset of the lowest byte in use; pairs fill it from its end down. A pair
has two slots, the offsets of key and data. The two last slots may be a link:
the address of the next page, and OVERFLOW. Small second slots mark the pages
of a pair that is too large for one: PARTIAL_KEY (key, more of it follows),
FULL_KEY (the key ends, or data of which more follows), FULL_KEY_DATA (the key
ends and data starts, its offset is in the place of OVERFLOW; or data ends).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

BIG_ENDIAN, LITTLE_ENDIAN = 4321, 1234
MAGIC, VERSION = 0x061561, 2
HEADER = struct.Struct(">17I32I32H")  # 260 bytes
SEGMENT = 256  # buckets; affects only the C library's layout in memory
OVERFLOW, PARTIAL_KEY, FULL_KEY, FULL_KEY_DATA = range(4)  # marks in the place of a data offset
SPLITS = 32  # split points, and the most bitmap pages
SPLIT_SHIFT, NUMBER_MASK = 11, 0x7FF  # an overflow address: split point, number from 1


def hash4(key: bytes) -> int:
    """Return the library's default hash of a key: 32 bits, h = h * 33 + byte."""
    value = 0
    for byte in key:
        value = value * 33 + byte
    return value & 0xFFFFFFFF


CHARKEY_HASH = hash4(b"%$sniglet^&\0")  # in every header, to tell hash functions apart


def log2(number: int) -> int:
    """Return the base-2 logarithm of ``number``, rounded up."""
    return (number - 1).bit_length()


def bucket_page(bucket: int, header_pages: int, spares: Sequence[int]) -> int:
    """Return the page number of a bucket: after the earlier buckets and their overflow pages."""
    return bucket + header_pages + (spares[log2(bucket + 1) - 1] if bucket else 0)


def overflow_page(address: int, header_pages: int, spares: Sequence[int]) -> int:
    """Return the page number of an overflow address."""
    last = (1 << (address >> SPLIT_SHIFT)) - 1
    return bucket_page(last, header_pages, spares) + (address & NUMBER_MASK)
