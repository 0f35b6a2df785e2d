"""Damaged records of a drifted database: it is read back and compared with the text it was made from."""

from __future__ import annotations

import os

from chrootbuild.accounts.damage import damaged_records, damaged_users
from chrootbuild.errors import Failure
from chrootbuild.files import sha256
from chrootbuild.paths import join, split
from chrootbuild.record import Record
from chrootbuild.root import Root

__all__ = ["damage"]

_LIMIT = 256 << 20  # bytes


def damage(record: Record, root: Root, path: str) -> str:
    """Return the damaged records of the database at ``path``, in words; empty where unknown.

    They are known only where the text beside it is as installed.
    """
    directory, name = split(path)
    users = name in ("pwd.db", "spwd.db")
    origin = join(directory, "master.passwd" if users else name.removesuffix(".db"))
    entry = record.artifacts.get(origin)
    data, text = _read(root, path), _read(root, origin)
    if data is None or text is None or entry is None or sha256(text) != entry.detail:
        return ""
    try:
        if users:
            return damaged_users(data, text, secure=name == "spwd.db")
        return damaged_records(data, text)
    except Failure:
        return ""


def _read(root: Root, path: str) -> bytes | None:
    """Return the content of a regular file of the root; None where there is none, or it is too large."""
    fd = root.open(path)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read(_LIMIT + 1)
    return content if len(content) <= _LIMIT else None
