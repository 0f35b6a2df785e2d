"""Programs of the root with libraries missing in the root."""

from __future__ import annotations

from collections.abc import Iterator

from chrootbuild.auditrules.facts import Facts, Summary
from chrootbuild.auditrules.rule import Rule
from chrootbuild.elf import Missing, Resolver
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.host import Host

__all__ = ["MISSING", "missing_libraries"]

MISSING = Rule(
    "missing-library",
    "error; warning for the interpreter of a script",
    "A program that lacks a library does not start, or takes one from wherever somebody can put it.",
    "chrootbuild build NAME; chrootbuild locate FILE says which package has it",
)


def missing_libraries(facts: Facts, summary: Summary) -> Iterator[Finding]:
    """Compute the closure of every program and script within the root; nothing of it is run.

    A library alone is not judged: its program may load the ones it lacks.
    """
    host = Host(facts.root.path)
    resolver = Resolver(host, system=facts.system)
    said: set[tuple[str, str]] = set()
    for path in summary.programs:
        kind = resolver.classify(path)
        if kind not in ("program", "script"):
            continue
        try:
            missing = resolver.program(path).missing
        except Failure as failure:
            yield MISSING.error(path, failure.message)
            continue
        for item in missing:
            if not item.optional and (item.name, item.by) not in said:
                said.add((item.name, item.by))
                yield _finding(path, kind, item)


def _finding(path: str, kind: str, item: Missing) -> Finding:
    by = "" if item.by == path else f", which {path} loads"
    searched = f"searched: {', '.join(item.searched)}"
    if kind == "script" and item.by == path:
        return MISSING.warning(path, f"{item.name}, its interpreter, is not in the root", searched)
    return MISSING.error(item.by, f"{item.name} is needed{by}, and is not in the root", searched)
