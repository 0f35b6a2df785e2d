"""A target as learn looks at it: planned, built, and traces of it read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chrootbuild.artifact import Plan
from chrootbuild.build.job import begin, run
from chrootbuild.check.prove import prove
from chrootbuild.compare.assessment import make_plan
from chrootbuild.console import SILENT, Progress
from chrootbuild.elf.memo import Memo
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.learn.target_overlay import own_links, through
from chrootbuild.plan.make import system_of
from chrootbuild.plan.users import Users, refuse_foreign, users_of
from chrootbuild.propose.model import Known, known
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.state.project import Project
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.programs import find_program
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_target
from chrootbuild.trace.events import Event
from chrootbuild.trace.open import events_of


@dataclass(frozen=True, slots=True)
class LearnContext:
    """A target as it is now: what it is planned to have, and the sysroot."""

    target: Target
    plan: Plan
    sysroot: Sysroot
    users: Users
    known: Known

    def events(self, trace: str) -> Iterator[Event]:
        """Yield what a trace text shows, also beyond the target's own links; raises Failure where it is none."""
        return through(events_of(trace), own_links(self.plan, self.sysroot))

    @property
    def confinement(self) -> Confinement:
        """What a box of its root is made of."""
        return Confinement(
            self.target.root,
            tuple(item.value for item in self.target.mounts),
            self.plan.devices,
            f"learn {self.target.name}",
            limits=self.target.check.limits,
        )


def tracer(target: Target) -> str:
    """Return the real path of strace(1); raises Failure where a target cannot be traced."""
    if not target.check.run and target.check.service is None:
        raise Failure(
            f"cannot learn {target.name}: [check] has no run and no service",
            hint="say in [check.service] how it is started and what proves that it serves;"
            f" a trace of your own does without: chrootbuild learn {target.name} --from FILE",
        )
    refuse_foreign(target, "learn")
    strace = find_program("strace")
    if strace is None:
        raise Failure(
            f"cannot learn {target.name}: strace is not installed",
            hint=f"apt-get install strace; or take a trace elsewhere: chrootbuild learn {target.name} --from FILE",
        )
    return strace


def context_of(project: Project, name: str) -> LearnContext:
    """Plan a target as its files are now; raises TargetError."""
    target = read_target(project, name)
    plan, sysroot = make_plan(project, target)
    return _context(project, target, plan, sysroot)


def build(project: Project, name: str) -> LearnContext:
    """Build a target as its files are now, and say nothing; raises TargetError, TryAgain and Failure."""
    target = read_target(project, name)
    with begin(project, target) as job:
        run(job)
    plan, sysroot = job.assessment.plan, job.assessment.sysroot
    if sysroot is None:
        return context_of(project, name)
    return _context(project, target, plan, sysroot)


def proved(project: Project, context: LearnContext, bar: Progress = SILENT) -> tuple[Finding, ...]:
    """Return what the check of a target that was just built showed; raises Failure as prove does."""
    return prove(project, context.target, (context.plan, context.sysroot), explain=False, bar=bar)


def _context(project: Project, target: Target, plan: Plan, sysroot: Sysroot) -> LearnContext:
    users = users_of(target, sysroot)
    service = target.check.service
    memo = Memo.load(f"{project.state}/{target.name}.memo")
    resolver = Resolver(sysroot, memo, system_of(target, sysroot))
    return LearnContext(
        target, plan, sysroot, users, known(plan, resolver, users(service.user).uid if service else 0)
    )
