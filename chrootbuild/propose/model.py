"""Proposals and refusals, and the content of a target that they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from chrootbuild.accounts.passwd import User, parse_groups, parse_users
from chrootbuild.artifact import Artifact, Plan
from chrootbuild.errors import Failure
from chrootbuild.rtld.resolver import Resolver

# The keys of a target file that a proposal may be for, in file order.
KEYS = (
    *"binaries libraries files seed timezone devices mounts".split(),
    *("accounts.users", "accounts.groups", "directories", "links"),
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry for a target file, and the program and call that need it.

    ``table`` is the value of an entry of [directories]; ``text`` that of [links].
    """

    key: str
    value: str
    reason: str  # "nginx opens it"
    program: str = ""
    call: str = ""
    table: tuple[tuple[str, str], ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A path that was used but is not proposed, and the reason.

    ``nameable``: a target file can have it all the same.
    """

    path: str
    why: str
    program: str = ""
    call: str = ""
    nameable: bool = False


@dataclass(frozen=True, slots=True)
class Proposals:
    """Entries to add, sorted by key and value, and refusals, sorted by path.

    ``optional`` was used only because it was found in a listing: to add when a
    check fails and nothing else is missing.
    """

    entries: tuple[Proposal, ...]
    refused: tuple[Refusal, ...] = ()
    optional: tuple[Proposal, ...] = ()


def _alone(path: str) -> AbstractSet[str]:
    return frozenset((path,))


@dataclass(frozen=True, slots=True)
class Known:
    """Content of a target: the artifacts of its plan, and the tops of its seeds.

    ``closure`` returns the canonical paths that a program, script or library
    loads, itself and the links on the way included. ``uid`` is the user that
    the service is started as.
    """

    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    seeds: Iterable[str] = ()
    closure: Callable[[str], AbstractSet[str]] = _alone
    uid: int = 0

    def users(self) -> tuple[User, ...]:
        """Return the accounts of the root."""
        artifact = self.artifacts.get("/etc/passwd")
        return parse_users(artifact.content).users if artifact else ()

    def groups(self) -> frozenset[int]:
        """Return the gids of the root's groups."""
        artifact = self.artifacts.get("/etc/group")
        groups = parse_groups(artifact.content).groups if artifact else ()
        return frozenset(group.gid for group in groups if group.gid is not None)

    def homes(self) -> dict[str, tuple[int, int]]:
        """Return the homes of the root's accounts, except uid 0's, with uid and gid."""
        found: dict[str, tuple[int, int]] = {}
        for user in self.users():
            home = user.fields[5].decode("utf-8", "surrogateescape").rstrip("/")
            if user.uid and home.startswith("/") and ".." not in home:
                found.setdefault(home, (user.uid, user.gid or 0))
        return found


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
                    canonical, links = resolver.sysroot.resolve(loaded)
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
