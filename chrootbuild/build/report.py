"""What people read: changes and reasons, one fact a line; nothing here knows a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chrootbuild.artifact import Plan, Reason
from chrootbuild.console import table
from chrootbuild.text import printable

if TYPE_CHECKING:
    from chrootbuild.compare.change import Change
    from chrootbuild.publish.publish import Published

_MANY = 40  # installs; a first build's list says nothing that plan does not
_LONG = 100  # links of a chain that are told; a hostile library may be 10,000 away


def changes_text(
    name: str, root: str, stale: Mapping[str, Change], published: Published, first: bool
) -> str:
    """Return what a build did: a line each, but for the many of a first build."""
    rows = [(change.action, path, change.reason) for path, change in stale.items()]
    counts = {action: sum(row[0] == action for row in rows) for action in ("install", "replace", "remove")}
    if first or counts["install"] > _MANY:
        rows = [row for row in rows if row[0] != "install"] if counts["install"] > _MANY else rows
    lines = [f"{name}  {printable(root)}", *table(rows)]
    lines += table(("stays", path, "it holds what was not installed by us") for path in published.stays)
    lines.append(
        f"{counts['install']} installed, {counts['replace']} replaced, {counts['remove']} removed,"
        f" published in {published.window * 1000:.1f} ms"
    )
    return "\n".join(lines) + "\n"


def chains(plan: Plan, path: str) -> list[list[str]]:
    """Return for each reason of a path the shortest chain of words from a key to it."""
    return _chains(plan, path, _shortest(plan))


def all_chains(plan: Plan) -> dict[str, list[list[str]]]:
    """Return ``chains`` for every path of a plan."""
    best = _shortest(plan)
    return {path: _chains(plan, path, best) for path in plan.reasons}


@dataclass(frozen=True, slots=True)
class _Step:
    """The last link of a chain, and the one before it; None where this is a key."""

    words: str
    before: _Step | None = None
    length: int = 1

    def then(self, words: str) -> _Step:
        return _Step(words, self, self.length + 1)

    def chain(self) -> list[str]:
        """Return the words from the key on; of a very long chain the end, and how much was left out."""
        found: list[str] = []
        here = self
        while here.before is not None and len(found) < _LONG:
            found.append(here.words)
            here = here.before
        found.append(here.words if here.before is None else f"... ({here.length} more)")
        return found[::-1]


def _chains(plan: Plan, path: str, best: Mapping[str, _Step]) -> list[list[str]]:
    found = []
    for reason in plan.reasons.get(path, ()):
        if not reason.parent:
            found.append([reason.words])
        elif reason.parent in best:
            chain = best[reason.parent].chain()
            line = f"{reason.parent}  {reason.words}"
            if line not in chain:
                found.append([*chain, line])
    return found


def _shortest(plan: Plan) -> dict[str, _Step]:
    """Return the shortest chain to every path, found breadth-first from the keys."""
    children: dict[str, list[tuple[str, Reason]]] = {}
    best: dict[str, _Step] = {}
    level = []
    for path, reasons in plan.reasons.items():
        for reason in reasons:
            if reason.parent:
                children.setdefault(reason.parent, []).append((path, reason))
            elif path not in best:
                best[path] = _Step(reason.words)
                level.append(path)
    while level:
        deeper = []
        for parent in level:
            for path, reason in children.get(parent, ()):
                if path not in best:
                    best[path] = best[parent].then(f"{parent}  {reason.words}")
                    deeper.append(path)
        level = deeper
    return best


def why_text(plan: Plan, path: str) -> str:
    """Return the chains of a path as indented lines."""
    lines: list[str] = []
    for chain in chains(plan, path):
        lines += [f"{'  ' * depth}{printable(words)}" for depth, words in enumerate(chain)]
    return "\n".join(lines) + "\n"
