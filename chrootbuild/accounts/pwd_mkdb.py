"""Records of pwd.db and spwd.db, as pwd_mkdb(8) builds them from a master.passwd.

Each account is stored three times, by name, by number from 1, and by uid, each
time the whole record. Keys begin with a tag: the kind in the low nibble, the
version in the high one. Integers are in network order in version 4 (FreeBSD
5.1 and later), in the machine's in version 3. Source: FreeBSD's pwd_mkdb.c,
pw_scan.c and pwd.h.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from chrootbuild.accounts.db185 import writer
from chrootbuild.accounts.db185.format import BIG_ENDIAN
from chrootbuild.accounts.passwd import MASTER_FIELDS, User, parse_users
from chrootbuild.errors import Failure

BY_NAME, BY_NUMBER, BY_UID, YP_ENABLED, YP_BY_NUMBER = b"12345"
VERSION_KEY = b"\xffVERSION"
CURRENT, LEGACY = 4, 3

_FORMAT = 1  # raise it when Database.render gives other bytes for the same input
_LONG = 1 << 63


@dataclass(frozen=True, slots=True)
class Database:
    """Recipe of pwd.db, or with ``secure`` of spwd.db, which has the password fields.

    ``legacy`` adds version 3 records for programs older than FreeBSD 5.1;
    ``lorder`` (4321 big, 1234 little endian) is their byte order.
    """

    master: bytes  # a whole master.passwd
    secure: bool
    legacy: bool = False
    lorder: int = BIG_ENDIAN

    def render(self) -> bytes:
        """Return the database's bytes; raises Failure where a line of ``master`` is wrong."""
        return writer.write(
            pairs(self.master, secure=self.secure, legacy=self.legacy, lorder=self.lorder),
            lorder=self.lorder,
        )

    def digest(self) -> str:
        """Return a hex digest of the inputs of ``render``."""
        what = f"pwd.db {_FORMAT} {self.secure} {self.legacy} {self.lorder}\n".encode()
        return hashlib.sha256(what + self.master).hexdigest()


def tag(kind: int, version: int) -> bytes:
    """Return the tag that begins a key."""
    return bytes([kind & 0xCF | version << 4])


def pairs(
    master: bytes, *, secure: bool, legacy: bool = False, lorder: int = BIG_ENDIAN
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, data) in pwd_mkdb's order; the first of equal keys wins.

    Raises Failure where a line of ``master`` is wrong.
    """
    parsed = parse_users(master, MASTER_FIELDS)
    if parsed.problems:
        problem = parsed.problems[0]
        raise Failure(f"cannot make a database of master.passwd: line {problem.number}, {problem.what}")
    yield VERSION_KEY, bytes([CURRENT])
    forms = [(CURRENT, ">")]
    if legacy:
        forms.append((LEGACY, ">" if lorder == BIG_ENDIAN else "<"))
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
                nis += 1  # one count runs through both versions, as in pwd_mkdb
                yield yp_by_number + one(nis), data
    if nis:
        for version, _ in forms:
            yield tag(YP_ENABLED, version), b"\3"


def _time(field: bytes) -> int:
    """Return a time as atol(3) reads it, truncated to 32 bits."""
    if field in (b"0", b""):
        return 0
    match = re.match(rb"[ \t\n\v\f\r]*([+-]?[0-9]{1,40})", field)
    value = int(match[1]) if match else 0
    return max(-_LONG, min(value, _LONG - 1)) & 0xFFFFFFFF


# Bit of pw_fields that each of the ten fields sets if not empty (_PWF_* of pwd.h).
_BITS = (1, 2, 4, 8, 0x20, 0x10, 0x200, 0x40, 0x80, 0x100)
_ALL = sum(_BITS)


def _present(user: User) -> int:
    bits = _ALL
    if b"" in user.fields:
        bits = sum([bit for field, bit in zip(user.fields, _BITS, strict=True) if field])
    if user.name.startswith(b"+") and user.name != b"+":
        bits &= ~1
    return bits
