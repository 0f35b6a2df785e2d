"""Everything that is known about a target before anything is done: plan, record, comparison."""

from __future__ import annotations

from dataclasses import dataclass

from chrootbuild.artifact import Plan
from chrootbuild.elf import Memo
from chrootbuild.fresh import Comparison, compare
from chrootbuild.host import Host
from chrootbuild.plan import plan
from chrootbuild.project import Project
from chrootbuild.record import Record, read_record
from chrootbuild.root import Root, read_root
from chrootbuild.spec import Target

__all__ = ["Prepared", "make_plan", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A target, its plan, and how record and root stand to it."""

    target: Target
    host: Host
    plan: Plan
    record: Record | None
    comparison: Comparison


def make_plan(project: Project, target: Target) -> tuple[Plan, Host]:
    """Return the plan of a target, and the host that it was read from."""
    host = Host(target.sysroot)
    memo = Memo.load(f"{project.state}/memo") if hasattr(Memo, "load") else Memo()
    made = plan(target, host, memo)
    getattr(memo, "save", lambda: None)()
    return made, host


def prepare(project: Project, target: Target, root: Root | None = None) -> Prepared:
    """Plan a target and compare it with its record and its root; changes neither.

    Raises TargetError and Failure. The root is opened for the look, unless it is given.
    """
    made, host = make_plan(project, target)
    record = read_record(project, target.name, target.root)
    if root is not None:
        return Prepared(target, host, made, record, compare(made, record, root, host.seen))
    found = read_root(target.root)
    if found is None:
        return Prepared(target, host, made, record, compare(made, record, None, host.seen))
    with found:
        return Prepared(target, host, made, record, compare(made, record, found, host.seen))
