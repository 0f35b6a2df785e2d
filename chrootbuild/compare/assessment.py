"""Assessment of a target before a build: plan, record, comparison."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from chrootbuild.artifact import Plan
from chrootbuild.compare.change import Comparison
from chrootbuild.compare.staleness import compare
from chrootbuild.plan.cache import Cached, save_plan
from chrootbuild.root.tree import Root, read_root
from chrootbuild.state.project import Project
from chrootbuild.state.record import Record, read_record
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.signature import Signature
from chrootbuild.target.model import Target


@dataclass(frozen=True, slots=True)
class Assessment:
    """A target, its plan, its record and their comparison with the root.

    ``seen`` and ``owners`` are the plan's inputs, as Sysroot notes them; ``sysroot`` is the reader
    that a new plan was made with, None for a cached one.
    """

    target: Target
    plan: Plan
    record: Record | None
    comparison: Comparison
    seen: Mapping[str, Signature]
    owners: Mapping[str, Signature]
    sysroot: Sysroot | None = field(default=None, compare=False, repr=False)


def make_plan(project: Project, target: Target, *, keep: bool = False) -> tuple[Plan, Sysroot]:
    """Return the plan of a target, and the reader of its sysroot.

    With ``keep`` the facts read are saved in the project's state.
    """
    from chrootbuild.elf.memo import Memo
    from chrootbuild.plan.make import plan

    sysroot = Sysroot(target.sysroot)
    memo = Memo.load(f"{project.state}/{target.name}.memo")
    made = plan(target, sysroot, memo)
    if keep:
        save_plan(project, target, made, sysroot, memo)
        memo.save()
    sysroot.forget()
    return made, sysroot


def assess(project: Project, target: Target, root: Root | None = None, *, keep: bool = False) -> Assessment:
    """Plan a target and compare it with its record and its root; changes neither.

    The root is opened, unless given. With ``keep`` the plan is cached for
    the next build. Raises TargetError and Failure.
    """
    made, sysroot = make_plan(project, target, keep=keep)
    return assess_made(project, target, made, sysroot, root)


def assess_made(
    project: Project, target: Target, made: Plan, sysroot: Sysroot, root: Root | None
) -> Assessment:
    """Do what ``assess`` does, with a new plan."""
    return replace(_compared(project, target, made, sysroot.seen, sysroot.owners, root), sysroot=sysroot)


def assess_cached(
    project: Project, cached: Cached, root: Root, changed: Collection[str] | None = None
) -> Assessment:
    """Do what ``assess`` does, with a cached plan; ``changed`` as in ``compare``."""
    return _compared(project, cached.target, cached.plan, cached.seen, cached.owners, root, changed)


def _compared(
    project: Project,
    target: Target,
    made: Plan,
    seen: Mapping[str, Signature],
    owners: Mapping[str, Signature],
    root: Root | None,
    changed: Collection[str] | None = None,
) -> Assessment:
    record = read_record(project, target.name, target.root)
    if root is not None:
        return Assessment(target, made, record, compare(made, record, root, seen, changed), seen, owners)
    found = read_root(target.root)
    if found is None:
        return Assessment(target, made, record, compare(made, record, None, seen), seen, owners)
    with found:
        return Assessment(target, made, record, compare(made, record, found, seen), seen, owners)
