"""Records of a database that differ from those built from its text file."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chrootbuild.accounts import cap_mkdb, pwd_mkdb
from chrootbuild.accounts.db185 import reader
from chrootbuild.accounts.db185.reader import DamagedError
from chrootbuild.accounts.passwd import shown
from chrootbuild.accounts.pwd_mkdb import BY_NAME, CURRENT, LEGACY, VERSION_KEY, tag

_NAMED = 5  # names in a message


def damaged_users(data: bytes, master: bytes, *, secure: bool) -> str:
    """Describe the accounts of a pwd.db (``secure``: spwd.db) that differ from ``master``; "" for none.

    Accounts missing from ``master`` count. Raises Failure where a line of ``master`` is wrong.
    """

    def expected(lorder: int, found: dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
        legacy = any(key[:1] == tag(BY_NAME, LEGACY) for key in found)
        return pwd_mkdb.pairs(master, secure=secure, legacy=legacy, lorder=lorder)

    def name(key: bytes, value: bytes) -> bytes:
        if key == VERSION_KEY:
            return b"the version"
        if key[:1] in (tag(BY_NAME, CURRENT), tag(BY_NAME, LEGACY)):
            return key[1:]
        return value.partition(b"\0")[0] if b"\0" in value else b"the NIS lines"

    return _compare(data, expected, name)


def damaged_records(data: bytes, text: bytes) -> str:
    """Describe the records of a capability database that differ from its text; raises as ``cap_mkdb``."""
    return _compare(data, lambda _order, _found: cap_mkdb.pairs(text), lambda key, _: key.partition(b"|")[0])


def _compare(
    data: bytes,
    expected: Callable[[int, dict[bytes, bytes]], Iterable[tuple[bytes, bytes]]],
    name: Callable[[bytes, bytes], bytes],
) -> str:
    try:
        found = reader.salvage(data)
        lorder = reader.read_header(data).lorder
    except DamagedError as error:
        return error.fact
    right: dict[bytes, bytes] = {}
    for key, value in expected(lorder, found):
        right.setdefault(key, value)
    # The expected data names a record better than the damaged data, and in a stable order.
    wrong = {name(key, value): None for key, value in right.items() if found.get(key) != value}
    wrong |= {name(key, value): None for key, value in found.items() if key not in right}
    if not wrong:
        return "every record still reads as it should"
    names = [shown(each) for each in wrong]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"damaged: {', '.join(names[:_NAMED])}{more}"
