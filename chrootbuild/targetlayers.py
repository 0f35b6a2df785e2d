"""Layers of one target, the lowest first; the last value wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chrootbuild import schema, spec
from chrootbuild.artifact import Origin
from chrootbuild.targetclaims import claims, compatible, is_glob
from chrootbuild.targetfile import Parsed

__all__ = ["Stack"]

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
    ) -> tuple[spec.Item, ...]:
        """Return the strings of a list, each once, without those that a later claim overrides."""
        found: dict[str, spec.Item] = {}
        for value, origin in self.entries(key, get):
            if not what or (globs and is_glob(value)) or self.keeps(value, what):
                found[value] = spec.Item(value, origin)
        return tuple(found.values())

    def table(
        self, key: str, get: Callable[[schema.TargetFile], Mapping[str, str]], what: str = ""
    ) -> dict[str, spec.Item]:
        """Return a table of strings by key, without those that a later claim overrides."""
        return {
            name: spec.Item(value, origin)
            for name, value, origin in self.pairs(key, get)
            if not what or self.keeps(name, what)
        }
