"""pwd.db and spwd.db: what pwd_mkdb(8) puts into them for a master.passwd.

Each account is stored three times, by name, by number from 1, and by uid, and
all three carry the whole record. Keys begin with a tag: the kind in the low
nibble, the version in the high one. Version 4 (FreeBSD 5.1 and later) has all
integers in network order; version 3 in the byte order of the machine. Source:
FreeBSD's pwd_mkdb.c, pw_scan.c and pwd.h.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from chrootbuild.accounts import db185
from chrootbuild.accounts.passwd import MASTER_FIELDS, User, parse_users
from chrootbuild.errors import Failure

__all__ = ["BY_NAME", "BY_NUMBER", "BY_UID", "CURRENT", "LEGACY", "VERSION_KEY", "Database", "pairs", "tag"]

BY_NAME, BY_NUMBER, BY_UID, YP_ENABLED, YP_BY_NUMBER = b"12345"
VERSION_KEY = b"\xffVERSION"
CURRENT, LEGACY = 4, 3

_FORMAT = 1  # raised when Database.render makes other bytes of the same input
_LONG = 1 << 63


@dataclass(frozen=True, slots=True)
class Database:
    """The recipe of pwd.db, or with ``secure`` of spwd.db, which carries the password fields.

    ``legacy`` adds version 3 records for programs older than FreeBSD 5.1;
    ``lorder`` (4321 big, 1234 little endian) is then their machine's.
    """

    master: bytes  # a whole master.passwd
    secure: bool
    legacy: bool = False
    lorder: int = db185.BIG_ENDIAN

    def render(self) -> bytes:
        """Return the file; raises Failure where a line of ``master`` is wrong."""
        return db185.write(
            pairs(self.master, secure=self.secure, legacy=self.legacy, lorder=self.lorder),
            lorder=self.lorder,
        )

    def digest(self) -> str:
        """Return a hex digest of everything that ``render`` depends on."""
        what = f"pwd.db {_FORMAT} {self.secure} {self.legacy} {self.lorder}\n".encode()
        return hashlib.sha256(what + self.master).hexdigest()


def tag(kind: int, version: int) -> bytes:
    """Return the first byte of a key."""
    return bytes([kind & 0xCF | version << 4])


def pairs(
    master: bytes, *, secure: bool, legacy: bool = False, lorder: int = db185.BIG_ENDIAN
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs in pwd_mkdb's order; of equal keys only the first counts.

    Raises Failure where a line of ``master`` is wrong.
    """
    parsed = parse_users(master, MASTER_FIELDS)
    if parsed.problems:
        problem = parsed.problems[0]
        raise Failure(f"cannot make a database of master.passwd: line {problem.number}, {problem.what}")
    yield VERSION_KEY, bytes([CURRENT])
    forms = [(CURRENT, ">")]
    if legacy:
        forms.append((LEGACY, ">" if lorder == db185.BIG_ENDIAN else "<"))
    layouts = [
        (
            [tag(kind, version) for kind in (BY_NAME, BY_NUMBER, BY_UID, YP_BY_NUMBER)],
            struct.Struct(order + "I").pack,
            struct.Struct(order + "III").pack,
            struct.Struct(order + "II").pack,
        )
        for version, order in forms
    ]
    nis = 0
    for number, user in enumerate(parsed.users, 1):
        name, password, _, _, login_class, change, expire, gecos, home, shell = user.fields
        start = name + b"\0" + (password if secure else b"*") + b"\0"
        text = b"\0".join((login_class, gecos, home, shell, b""))
        uid, gid = user.uid or 0, user.gid or 0
        numbers = (uid, gid, _time(change))
        end = (_time(expire), _present(user))
        for (by_name, by_number, by_uid, yp_by_number), one, three, two in layouts:
            data = start + three(*numbers) + text + two(*end)
            yield by_name + name, data
            yield by_number + one(number), data
            yield by_uid + one(uid), data
            if user.nis:
                nis += 1  # both versions count on in one row, as in pwd_mkdb
                yield yp_by_number + one(nis), data
    if nis:
        for version, _ in forms:
            yield tag(YP_ENABLED, version), b"\3"


def _time(field: bytes) -> int:
    """Return a time as atol(3) reads it, cut to 32 bits."""
    if field in (b"0", b""):
        return 0
    match = re.match(rb"[ \t\n\v\f\r]*([+-]?[0-9]{1,40})", field)
    value = int(match[1]) if match else 0
    return max(-_LONG, min(value, _LONG - 1)) & 0xFFFFFFFF


# Which of the ten fields sets which bit of pw_fields, where it is not empty (_PWF_* of pwd.h).
_BITS = (1, 2, 4, 8, 0x20, 0x10, 0x200, 0x40, 0x80, 0x100)
_ALL = sum(_BITS)


def _present(user: User) -> int:
    bits = _ALL
    if b"" in user.fields:
        bits = sum([bit for field, bit in zip(user.fields, _BITS, strict=True) if field])
    if user.name.startswith(b"+") and user.name != b"+":
        bits &= ~1
    return bits
