"""Accounts that are root under another name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule
from chrootbuild.audit.rules.secrets import content
from chrootbuild.findings import Finding

SECOND = Rule(
    "second-root",
    "error; note for FreeBSD's toor without a password",
    "Every account with the uid 0 is root, whatever its name.",
    "leave the account out of the sysroot's file and of accounts.extra, and build",
)

_PLACES = {"/etc/passwd", "/etc/master.passwd"}
_ZERO = re.compile(rb"\s*[+-]?0+\s*\Z")  # as strtoul(3) takes it
_LIMIT = 64 << 20
_MANY = 5


def second_root(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge the accounts of uid 0 in the root's own files."""
    if entry.path not in _PLACES or not entry.is_file:
        return
    others, toor = roots_of(content(entry, facts, _LIMIT), freebsd=facts.system == "freebsd")
    if others:
        names = ", ".join(name.decode("utf-8", "backslashreplace") for name in others[:_MANY])
        yield SECOND.error(entry.path, f"accounts with the uid 0: {names}")
    elif toor:
        yield SECOND.note(entry.path, "toor has the uid 0, and no password")


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
