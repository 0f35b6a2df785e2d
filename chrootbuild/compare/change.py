"""Changes that a build would make: a path, what happens to it, and the reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chrootbuild.artifact import Artifact, Kind, Plan, Skipped
from chrootbuild.paths import split
from chrootbuild.state.record import Installed
from chrootbuild.system.rights.user import privileged

INSTALL, REPLACE, REMOVE, KEEP = "install", "replace", "remove", "keep"


class Change(NamedTuple):
    """A build's action for one path, and the reason."""

    path: str
    action: str  # install, replace, remove, keep
    reason: str
    artifact: Artifact | None = None  # None: remove


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every path of plan and record with its change; ``known`` is the record with current signatures."""

    changes: Mapping[str, Change]
    known: Mapping[str, Installed]  # of what is kept: signatures brought up to date
    children: Mapping[str, tuple[str, ...]]  # the paths of changes, by their directory
    skipped: tuple[Skipped, ...] = ()  # what cannot be applied without root
    stale: Mapping[str, Change] = field(init=False)  # what a build would do something about

    def __post_init__(self) -> None:
        stale = {path: change for path, change in self.changes.items() if change.action != KEEP}
        object.__setattr__(self, "stale", stale)


def applicable(plan: Plan) -> tuple[dict[str, Artifact], tuple[Skipped, ...]]:
    """Return the artifacts that this user can make, and those skipped.

    Without root there are no device nodes, and everything belongs to the caller.
    """
    if privileged():
        return dict(plan.artifacts), ()
    artifacts, skipped = {}, []
    uid, gid = os.geteuid(), os.getegid()
    for path, artifact in plan.artifacts.items():
        if artifact.kind is Kind.NODE:
            skipped.append(Skipped(path, f"a device node ({artifact.device}) needs root"))
            continue
        if (artifact.uid, artifact.gid) != (uid, gid):
            skipped.append(Skipped(path, f"the owner {artifact.uid}:{artifact.gid} needs root"))
        artifacts[path] = artifact._replace(uid=uid, gid=gid, capabilities=False)
    return artifacts, tuple(skipped)


def by_directory(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return paths grouped by the directory that holds them."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(split(path)[0], []).append(path)
    return {directory: tuple(group) for directory, group in groups.items()}
