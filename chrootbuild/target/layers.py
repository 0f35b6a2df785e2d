"""Claims of a target file on exact paths: one path, one artifact."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chrootbuild.artifact import Origin
from chrootbuild.target import model, schema
from chrootbuild.target.messages import show_key
from chrootbuild.target.parse import Parsed
from chrootbuild.target.toml_lines import KeyPath
from chrootbuild.text import printable_or_quoted

_MAGIC = re.compile(r"[*?\[]")
_RESERVED = "/.chrootbuild/"  # in every root: where directories are exchanged


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
    """Refuse two different claims on one path in one file, and any on ROOT/.chrootbuild; raises TargetError."""
    claimed: dict[str, list[tuple[str, KeyPath]]] = {}
    for path, what, where in claims(parsed.data):
        if f"{path}/".startswith(_RESERVED):
            raise parsed.wrong(where, f"{_RESERVED[:-1]} is chrootbuild's own", "give it another name")
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


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers, and the claims on each exact path by the last file that has any."""

    layers: Sequence[Parsed]
    wanted: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for layer in reversed(self.layers):
            here: dict[str, set[str]] = {}
            for path, what, _ in claims(layer.data):
                here.setdefault(path, set()).add(what)
            for path, whats in here.items():
                self.wanted.setdefault(path, whats)

    def keeps(self, path: str, what: str) -> bool:
        """Return whether no later file has another claim on ``path``."""
        wanted = self.wanted.get(path.rstrip("/"))
        return wanted is None or what in wanted or compatible({what, *wanted})

    def last(self, get: Callable[[schema.TargetFile], _T | None]) -> _T | None:
        """Return the last given value, or None."""
        return next(
            (value for layer in reversed(self.layers) if (value := get(layer.data)) is not None), None
        )

    def entries(
        self, key: str, get: Callable[[schema.TargetFile], Iterable[_T]]
    ) -> Iterator[tuple[_T, Origin]]:
        """Yield every entry of a list, with its origin."""
        for layer in self.layers:
            for index, entry in enumerate(get(layer.data)):
                yield entry, layer.origin(key, index)

    def pairs(
        self, key: str, get: Callable[[schema.TargetFile], Mapping[str, _T]]
    ) -> Iterator[tuple[str, _T, Origin]]:
        """Yield every key and value of a table, with its origin."""
        for layer in self.layers:
            for name, value in get(layer.data).items():
                yield name, value, layer.origin(key, name)

    def items(
        self,
        key: str,
        get: Callable[[schema.TargetFile], Iterable[str]],
        what: str = "",
        *,
        globs: bool = False,
    ) -> tuple[model.Item, ...]:
        """Return the strings of a list, each once, without those that a later claim overrides."""
        found: dict[str, model.Item] = {}
        for value, origin in self.entries(key, get):
            if not what or (globs and is_glob(value)) or self.keeps(value, what):
                found[value] = model.Item(value, origin)
        return tuple(found.values())

    def table(
        self, key: str, get: Callable[[schema.TargetFile], Mapping[str, str]], what: str = ""
    ) -> dict[str, model.Item]:
        """Return a table of strings by key, without those that a later claim overrides."""
        return {
            name: model.Item(value, origin)
            for name, value, origin in self.pairs(key, get)
            if not what or self.keeps(name, what)
        }
