"""Read hash files strictly, and pwd.db and spwd.db back into accounts, whose three indexes have to agree."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from chrootbuild.accounts import pwd_mkdb
from chrootbuild.accounts.db185.reader import DamagedError, _Reader, read_header
from chrootbuild.accounts.passwd import shown
from chrootbuild.accounts.pwd_mkdb import BY_NUMBER, CURRENT, LEGACY, VERSION_KEY, tag
from chrootbuild.errors import Failure

__all__ = ["Record", "parse", "users"]

_THREE, _TWO = struct.Struct(">III"), struct.Struct(">II")


def parse(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return every pair, bucket by bucket; raises DamagedError.

    Also an error: a key in a bucket that it does not belong to, a key that is
    there twice, fewer keys than the header says, an overflow page in use that
    is marked as free. The library would lose or overwrite such pairs.
    """
    header = read_header(data)
    reader = _Reader(data, header)
    found: list[tuple[bytes, bytes]] = []
    # Bucket b is on page b or behind it: those beyond the end of the file are empty.
    for bucket in range(min(header.max_bucket + 1, reader.pages)):
        for key, value in reader.bucket(bucket):
            belongs = header.bucket_of(key)
            if belongs != bucket:
                raise DamagedError(f"a key of bucket {belongs} is in bucket {bucket}")
            found.append((key, value))
    if len({key for key, _ in found}) != len(found):
        raise DamagedError("a key is there twice")
    # The library counts one key too few for each that it has replaced.
    if len(found) < header.nkeys:
        raise DamagedError(f"it has {len(found)} keys, and the header says {header.nkeys}")
    return found


@dataclass(frozen=True, slots=True)
class Record:
    """One account as libc reads it; times are seconds since the Epoch, 0 for never."""

    name: bytes
    password: bytes  # "*" throughout in pwd.db
    uid: int
    gid: int
    change: int
    login_class: bytes
    gecos: bytes
    home: bytes
    shell: bytes
    expire: int
    fields: int  # bits of the fields that were not empty: _PWF_* of pwd.h

    def line(self) -> bytes:
        """Return the record as a line of master.passwd, without the newline."""

        def number(value: int, bit: int) -> bytes:
            return b"%d" % value if self.fields & bit else b""

        parts = (
            self.name,
            self.password if self.fields & 2 else b"",
            number(self.uid, 4),
            number(self.gid, 8),
            self.login_class,
            number(self.change, 0x10),
            number(self.expire, 0x200),
            self.gecos,
            self.home,
            self.shell,
        )
        return b":".join(parts)


def users(data: bytes) -> tuple[Record, ...]:
    """Return the accounts of a pwd.db or spwd.db, ordered by number.

    Raises DamagedError where the file is damaged, lacks version 4 records, or its
    by-name, by-number and by-uid keys contradict each other.
    """
    pairs = dict(parse(data))
    if pairs.get(VERSION_KEY) != bytes([CURRENT]):
        raise DamagedError("it has no records of version 4 (FreeBSD 5.1 or later)")
    records: list[Record] = []
    while True:
        key = tag(BY_NUMBER, CURRENT) + struct.pack(">I", len(records) + 1)
        if key not in pairs:
            break
        records.append(_record(pairs[key]))
    master = b"".join(record.line() + b"\n" for record in records)
    expected: dict[bytes, bytes] = {}
    try:
        for key, value in pwd_mkdb.pairs(
            master,
            secure=any(record.password != b"*" for record in records),
            legacy=tag(BY_NUMBER, LEGACY) + b"\0\0\0\1" in pairs
            or tag(BY_NUMBER, LEGACY) + b"\1\0\0\0" in pairs,
            lorder=read_header(data).lorder,
        ):
            expected.setdefault(key, value)
    except Failure:
        raise DamagedError("it holds an account that no line of master.passwd gives") from None
    if expected != pairs:
        wrong = min(key for key in expected.keys() | pairs.keys() if expected.get(key) != pairs.get(key))
        raise DamagedError(f"its keys contradict each other: {shown(wrong)}")
    return tuple(records)


def _record(data: bytes) -> Record:
    """Decode one record."""
    name, _, rest = data.partition(b"\0")
    password, _, rest = rest.partition(b"\0")
    strings = rest[_THREE.size :].split(b"\0", 4)
    if len(strings) != 5 or len(strings[4]) != _TWO.size:
        raise DamagedError("an account is cut off")
    login_class, gecos, home, shell, end = strings
    uid, gid, change = _THREE.unpack_from(rest)
    expire, fields = _TWO.unpack(end)
    return Record(name, password, uid, gid, change, login_class, gecos, home, shell, expire, fields)
