"""Accounts that are root under another name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.accounts.db185 import reader
from chrootbuild.audit.facts import Entry, Facts, Rule
from chrootbuild.audit.rules.secrets import content
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding

SECOND = Rule(
    "second-root",
    "error; note for FreeBSD's toor without a password",
    "Every account with the uid 0 is root, whatever its name.",
    "leave the account out of the sysroot's file and of accounts.extra, and build",
)

_PLACES = {"/etc/passwd", "/etc/master.passwd", "/etc/pwd.db", "/etc/spwd.db"}
_ZERO = re.compile(rb"\s*[+-]?0+\s*\Z")  # as strtoul(3) takes it
_LIMIT = 64 << 20
_MANY = 5


def second_root(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge the accounts of uid 0 in the root's own files."""
    if entry.path not in _PLACES or not entry.is_file:
        return
    data = content(entry, facts, _LIMIT)
    if entry.path.endswith(".db"):
        data = lines_of(data)
    others, toor = roots_of(data, freebsd=facts.system == "freebsd")
    if others:
        names = ", ".join(name.decode("utf-8", "backslashreplace") for name in others[:_MANY])
        yield SECOND.error(entry.path, f"accounts with the uid 0: {names}")
    elif toor:
        yield SECOND.note(entry.path, "toor has the uid 0, and no password")


def lines_of(data: bytes) -> bytes:
    """Return the accounts of a database of pwd_mkdb(8) as lines; the uid is behind name and password."""
    try:
        records = sorted(set(reader.salvage(data).values()))
    except Failure:
        return b""
    parts = (record.split(b"\0", 2) for record in records)
    # A number in either byte order: only 0 is looked for.
    return b"\n".join(
        b"%s:%s:%d:" % (part[0], part[1], int.from_bytes(part[2][:4], "big"))
        for part in parts
        if len(part) == 3 and part[0] and len(part[2]) >= 4
    )


def roots_of(text: bytes, *, freebsd: bool) -> tuple[list[bytes], bool]:
    """Return the names of uid 0 but root's first line, and whether there is a toor that cannot log in."""
    found, toor, met = [], False, False
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if line.startswith((b"#", b"+", b"-")) or len(fields) < 4 or not _ZERO.match(fields[2]):
            continue
        if fields[0] == b"root" and not met:
            met = True
        elif freebsd and fields[0] == b"toor" and fields[1] in (b"*", b"x", b"!"):
            toor = True
        else:
            found.append(fields[0])
    return list(dict.fromkeys(found)), toor
