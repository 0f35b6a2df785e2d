"""Closures of usual programs, composed of parts that programs share.

Most objects have no search list, no filter and no note: DT_NEEDED alone
determines their loads, and a name leads all of them to the same file. Such a
closure is a walk over each object's loads, searched once. All others are left
to :mod:`chrootbuild.elf.process`, which gives the same answer for these too,
in three times the time.
"""

from __future__ import annotations

from typing import NamedTuple

from chrootbuild.elf.model import Closure, Load, Via
from chrootbuild.elf.objects import Object
from chrootbuild.elf.process import Process
from chrootbuild.elf.search import Rules
from chrootbuild.host import Unreadable

__all__ = ["Part", "Whole", "closure"]

_Identity = tuple[int, int]


class Part(NamedTuple):
    """Loads of one usual object, and their objects."""

    loads: tuple[Load, ...]
    targets: tuple[Object, ...]


class Whole(NamedTuple):
    """Loads for one interpreter and NEEDED: those the program requests, and the rest."""

    first: tuple[Load, ...]
    rest: tuple[Load, ...]
    identities: frozenset[_Identity]


def closure(rules: Rules, main: Object) -> Closure:
    """Return the closure of a main object; raises Failure for an error that stops the linker."""
    if not (rules.shares and main.main and main.facts.plain):
        return Process(rules, main).closure()
    needed, path = main.facts.needed, main.path
    whole = rules.wholes.get(needed) or _whole(rules, main)
    if whole is None or main.identity in whole.identities:
        return _worked_out(rules, main)
    rules.wholes[needed] = whole
    mine = [Load(load.name, load.path, path, load.via, load.words, load.optional) for load in whole.first]
    return Closure(path, "dynamic", (*mine, *whole.rest))


def _worked_out(rules: Rules, main: Object) -> Closure:
    """Load everything; memoize the closure if it has nothing but loads."""
    process = Process(rules, main)
    found = process.closure()
    needed = main.facts.needed
    asked = sum(1 for load in found.loads if load.by == main.path)
    if (
        needed not in rules.wholes
        and not (found.missing or found.warnings or found.cache)
        and not any("$" in name for name in needed)
        and all(load.by == main.path for load in found.loads[:asked])
        and main not in process.names.values()  # it is not its own library
    ):
        identities = frozenset(process.identities) - {main.identity}
        rules.wholes[needed] = Whole(found.loads[:asked], found.loads[asked:], identities)
    return found


def _whole(rules: Rules, main: Object) -> Whole | None:
    """Compose a closure of parts; None where parts do not suffice."""
    start = _start(rules, main)
    first = _make_part(rules, main) if start is not None else None
    if start is None or first is None:
        return None
    asked = main.facts.interpreter
    load = Load(asked, start.path, main.path, Via.INTERPRETER, f"has {asked} as its interpreter")
    seen = {start.identity}
    loads: list[Load] = []
    queue: list[Object] = []
    part, at = first, 0
    while True:
        for target in part.targets:
            if target.identity not in seen:
                seen.add(target.identity)
                queue.append(target)
        if at == len(queue):
            return Whole((load, *first.loads), tuple(loads), frozenset(seen))
        more = _part(rules, queue[at])
        if more is None:
            return None
        loads.extend(more.loads)
        part = more
        at += 1


def _start(rules: Rules, main: Object) -> Object | None:
    """Return the interpreter if it is sound and alone before the program's libraries, else None."""
    if rules.started is None:
        rules.started = (_interpreter(rules, main),)
    return rules.started[0]


def _interpreter(rules: Rules, main: Object) -> Object | None:
    facts = main.facts
    try:
        found = rules.objects.get(facts.interpreter) if facts.interpreter.startswith("/") else None
    except Unreadable:
        return None
    if found is None or found.facts.error or rules.warnings or rules.objects.host.exists(rules.preload):
        return None
    if (found.facts.bits, found.facts.little, found.facts.machine) != (
        facts.bits,
        facts.little,
        facts.machine,
    ):
        return None
    return found if _is_found_by_its_soname(rules, found) else None


def _is_found_by_its_soname(rules: Rules, target: Object) -> bool:
    """Return whether a search for an object's soname leads to the object."""
    if not target.facts.soname:
        return True
    answer = rules.search(target.facts.soname, target, ())
    return bool(answer.words) and answer.found[0].target.identity == target.identity


def _part(rules: Rules, target: Object) -> Part | None:
    """Return the loads of an object; None for one that is not usual."""
    if target in rules.parts:
        return rules.parts[target]
    made = rules.parts[target] = _make_part(rules, target)
    return made


def _make_part(rules: Rules, target: Object) -> Part | None:
    if not target.facts.usual or not _is_found_by_its_soname(rules, target):
        return None
    loads, targets = [], []
    for name in target.facts.needed:
        answer = rules.search(name, target, ())
        if not answer.words:
            return None
        first = answer.found[0]
        loads.append(Load(name, first.target.path, target.path, first.via, answer.words))
        targets.append(first.target)
    return Part(tuple(loads), tuple(targets))
