"""Builder of proposals: entries, refusals, and the paths the root will have."""

from __future__ import annotations

from dataclasses import dataclass, field

from chrootbuild.propose.model import Known, Proposal, Refusal
from chrootbuild.propose.uses import By, Use, Uses
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Deed

OPENED = frozenset({Deed.READ, Deed.UPDATE, Deed.MAP, Deed.EXEC})
# Operations that need the path to exist, the strongest first.
INPUT = (
    Deed.EXEC,
    Deed.READ,
    Deed.UPDATE,
    Deed.MAP,
    Deed.ACCESS_EXEC,
    Deed.STAT,
    Deed.ACCESS,
    Deed.READLINK,
    Deed.HOLD,
)
_WORDS = {
    Deed.EXEC: "executes it",
    Deed.ACCESS_EXEC: "asks whether it can execute it",
    Deed.READ: "opens it",
    Deed.UPDATE: "opens it for writing",
    Deed.MAP: "maps it",
    Deed.READLINK: "reads the link",
}


@dataclass(slots=True)
class ProposalBuilder:
    """Proposals under construction, filled by each step in turn."""

    found: Uses
    sysroot: Sysroot
    known: Known
    have: set[str]  # canonical paths the root has or will have
    seeds: set[str]  # tops of the state trees
    entries: dict[tuple[str, str], Proposal] = field(default_factory=dict)
    spares: dict[tuple[str, str], Proposal] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def take(self, key: str, use: Use, *deeds: Deed) -> None:
        """Propose a path for a key; its reason is the first of ``deeds`` that it has."""
        deed = best(use, *deeds)
        self.enter(key, use.path, _WORDS.get(deed, "looks for it"), use.deeds[deed])
        self.have.update((use.canonical, *(link.path for link in use.links)))

    def spare(self, key: str, use: Use) -> None:
        """Add a path that is proposed only if a check fails without it."""
        by = min(use.deeds.values())
        words = reason(by, "finds it in a directory that it lists")
        self.spares.setdefault((key, use.path), Proposal(key, use.path, words, by.program, by.call))

    def enter(self, key: str, value: str, words: str, by: By, text: str = "") -> None:
        """Propose an entry, unless already proposed."""
        entry = Proposal(key, value, reason(by, words), by.program, by.call, text=text)
        self.entries.setdefault((key, value), entry)

    def refuse(self, path: str, why: str, by: By, *, nameable: bool = False) -> None:
        """Refuse a path with a reason; the first reason wins."""
        self.refused.setdefault(path, Refusal(path, why, by.program, by.call, nameable))

    def has(self, use: Use) -> bool:
        """Return whether the root has a path and the links to it, or a seed above it."""
        if any(use.canonical == top or use.canonical.startswith(f"{top}/") for top in self.seeds):
            return True
        return use.canonical in self.have and all(link.path in self.have for link in use.links)


def best(use: Use, *deeds: Deed) -> Deed:
    """Return the first of ``deeds`` that a path has, else any of its own."""
    return next((deed for deed in deeds if deed in use.deeds), min(use.deeds))


def name_of(program: str) -> str:
    """Return a program's name for messages."""
    return program.rpartition("/")[2] or "the program"


def reason(by: By, words: str) -> str:
    """Return a reason's text: the program's name, then the words."""
    return f"{name_of(by.program)} {words}"
