"""Content of a plan, in the form that proposals are compared with."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from chrootbuild.artifact import Plan
from chrootbuild.elf import Resolver
from chrootbuild.errors import Failure
from chrootbuild.trace.known import Known

__all__ = ["closures", "known"]


def known(plan: Plan, resolver: Resolver, uid: int = 0) -> Known:
    """Return the content of a plan; ``uid`` is the user that the service is started as."""
    return Known(plan.artifacts, tuple(plan.seeds), closures(resolver), uid)


def closures(resolver: Resolver) -> Callable[[str], AbstractSet[str]]:
    """Return a function from a path to its closure: canonical paths, and the links on the way.

    The closure of an unloadable file is its own path: the plan reports the error.
    """
    memo: dict[str, AbstractSet[str]] = {}

    def closure(path: str) -> AbstractSet[str]:
        if path not in memo:
            paths: set[str] = set()
            for loaded in (path, *_loads(resolver, path)):
                try:
                    canonical, links = resolver.host.resolve(loaded)
                except Failure:
                    continue
                paths.update((canonical, *(link.path for link in links)))
            memo[path] = frozenset(paths)
        return memo[path]

    return closure


def _loads(resolver: Resolver, path: str) -> list[str]:
    try:
        kind = resolver.classify(path)
        if not kind:
            return []
        found = resolver.library(path) if kind == "library" else resolver.program(path)
    except Failure:
        return []
    return [load.path for load in found.loads]
