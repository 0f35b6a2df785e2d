"""Programs that ask for the same libraries in the same way load the same: worked out once."""

from __future__ import annotations

from typing import NamedTuple

from chrootbuild.elf.model import Closure, Load
from chrootbuild.elf.objects import Object
from chrootbuild.elf.process import Process
from chrootbuild.elf.search import Rules

__all__ = ["closure"]


class Told(NamedTuple):
    """A closure in two parts: what the program itself asks for, and all the rest."""

    head: tuple[Load, ...]
    tail: tuple[Load, ...]
    identities: frozenset[tuple[int, int]]


def closure(rules: Rules, main: Object) -> Closure:
    """Return the closure of a main object. Raises Failure for what stops the linker."""
    facts = main.facts
    if not (main.main and facts.plain):
        return Process(rules, main).closure()
    told = rules.told.get(facts.needed)
    if told is not None and main.identity not in told.identities:
        path = main.path
        mine = [Load(load.name, load.path, path, load.via, load.words, load.optional) for load in told.head]
        return Closure(path, "dynamic", (*mine, *told.tail))
    process = Process(rules, main)
    found = process.closure()
    whole = not (found.missing or found.warnings or found.cache or found.hints or found.hints32)
    if whole and rules.lasting and not any("$" in name for name in facts.needed):
        asked = sum(1 for load in found.loads if load.by == main.path)
        head, tail = found.loads[:asked], found.loads[asked:]
        if all(load.by == main.path for load in head):
            rules.told[facts.needed] = Told(head, tail, frozenset(process.identities) - {main.identity})
    return found
