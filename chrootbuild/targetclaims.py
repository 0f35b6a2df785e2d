"""Claims of a target file on exact paths: one path, one artifact."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild import schema
from chrootbuild.targetfile import Parsed
from chrootbuild.targetwords import show_key
from chrootbuild.text import printable_or_quoted
from chrootbuild.tomllines import KeyPath

__all__ = ["check_claims", "claims", "compatible", "is_glob"]

_MAGIC = re.compile(r"[*?\[]")


def claims(data: schema.TargetFile) -> Iterator[tuple[str, str, KeyPath]]:
    """Yield (path, kind of artifact, key) for every exact path in a file."""
    for path, where in _copies(data):
        if not is_glob(path):
            yield path.rstrip("/"), "copy", where
    for index, path in enumerate(data.binaries):  # no globs here: /usr/bin/[ is a program
        if path.startswith("/"):
            yield path, "copy", ("binaries", index)
    for index, path in enumerate(data.seed):
        yield path.rstrip("/"), "seed", ("seed", index)
    for index, device in enumerate(data.devices):
        name = device if isinstance(device, str) else device.name
        yield f"/dev/{name}", "device", ("devices", index)
    for key, what in (("directories", "directory"), ("links", "link"), ("text", "text")):
        for path in getattr(data, key):
            yield path, what, (key, path)
    if data.timezone is not None:
        yield "/etc/localtime", "time zone", ("timezone",)
    for path in _account_files(data.accounts, data.os):
        yield path, "accounts", ("accounts",)


def _copies(data: schema.TargetFile) -> Iterator[tuple[str, KeyPath]]:
    for index, entry in enumerate(data.files):
        yield (entry if isinstance(entry, str) else entry.path), ("files", index)
    for index, path in enumerate(data.libraries):
        yield path, ("libraries", index)


def _account_files(accounts: schema.Accounts | None, system: str | None) -> tuple[str, ...]:
    if accounts is None:
        return ()
    if (accounts.format or system) == "freebsd":
        return ("/etc/passwd", "/etc/group", "/etc/master.passwd", "/etc/pwd.db", "/etc/spwd.db")
    return ("/etc/passwd", "/etc/group", *(["/etc/shadow"] if accounts.passwords else []))


def check_claims(parsed: Parsed) -> None:
    """Refuse two different claims on one path in one file; raises TargetError."""
    claimed: dict[str, list[tuple[str, KeyPath]]] = {}
    for path, what, where in claims(parsed.data):
        others = claimed.setdefault(path, [])
        for other, first in others:
            if not compatible({other, what}):
                line = parsed.lines.get(first)
                place = f" in line {line}" if line else ""
                shown = printable_or_quoted(path)
                fact = f"two different things for {shown}: {show_key(first[:1])}{place} speaks of it too"
                raise parsed.wrong(where, fact, "keep one of them")
        others.append((what, where))


def is_glob(path: str) -> bool:
    """Return whether an entry of ``files`` or ``libraries`` is a glob."""
    return _MAGIC.search(path) is not None


def compatible(whats: set[str]) -> bool:
    """Return whether one path can have all these claims: [directories] may describe a copied one."""
    return len(whats) == 1 or whats <= {"copy", "directory"}
