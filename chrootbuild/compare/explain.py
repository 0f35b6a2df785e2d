"""Explanations of new installs: from the plan and the changes in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chrootbuild.artifact import Kind, Plan
from chrootbuild.paths import LinkLoopError, split, walk

if TYPE_CHECKING:
    from chrootbuild.compare.change import Change


def explained(
    plan: Plan, changes: Mapping[str, Change], installed: Mapping[str, object]
) -> dict[str, Change]:
    """Return the changes, with a reason for each install that is new in a root built before.

    "absent in the root" then means installed once and gone. ``installed`` are the
    record's artifacts, by path.
    """
    new = {path for path, change in changes.items() if change.action == "install" and path not in installed}
    if not installed or not new:
        return dict(changes)
    links: dict[str, str] = {}
    for path, change in changes.items():
        if change.action in ("install", "replace") and plan.artifacts[path].kind is Kind.LINK:
            links.setdefault(leads_to(plan, path), path)
    return {
        path: change._replace(reason=_reason(plan, path, links)) if path in new else change
        for path, change in changes.items()
    }


def _reason(plan: Plan, path: str, links: Mapping[str, str]) -> str:
    if path in links:
        return f"link {links[path]} points to it now"
    reasons = plan.reasons.get(path, ())
    if not reasons:
        return "absent in the root"
    return f"{reasons[0].parent} {reasons[0].words}" if reasons[0].parent else reasons[0].words


def leads_to(plan: Plan, path: str, *, last: bool = True) -> str:
    """Return the canonical form of ``path`` in the root, by the links of the plan alone.

    A link at the path itself is followed (one step) with ``last``. Links that loop lead
    nowhere: then it is ``path``.
    """

    def readlink(where: str) -> str | None:
        artifact = plan.artifacts.get(where)
        return (artifact.link or None) if artifact is not None else None

    try:
        where = walk(path, readlink, last=False)
        text = readlink(where) if last else None
        return where if text is None else walk(text, readlink, start=split(where)[0], last=False)
    except LinkLoopError:
        return path
