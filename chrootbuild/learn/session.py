"""A target as learn looks at it: planned, built, and traces of it read."""

from __future__ import annotations

import shutil
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
from chrootbuild.sandbox.create import Confinement
from chrootbuild.state.project import Project
from chrootbuild.sysroot.reader import Host
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_target
from chrootbuild.trace.events import Event
from chrootbuild.trace.open import events_of

__all__ = ["Scene", "build", "proved", "scene_of", "tracer"]


@dataclass(frozen=True, slots=True)
class Scene:
    """A target as it is now: what it is planned to have, and the sysroot."""

    target: Target
    plan: Plan
    host: Host
    users: Users
    known: Known

    def events(self, trace: str) -> Iterator[Event]:
        """Yield what a trace text shows, also beyond the target's own links; raises Failure where it is none."""
        return through(events_of(trace), own_links(self.plan, self.host))

    @property
    def confinement(self) -> Confinement:
        """What a box of its root is made of."""
        return Confinement(
            self.target.root, tuple(item.value for item in self.target.mounts), self.plan.devices
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
    strace = shutil.which("strace")
    if strace is None:
        raise Failure(
            f"cannot learn {target.name}: strace is not installed",
            hint=f"apt-get install strace; or take a trace elsewhere: chrootbuild learn {target.name} --from FILE",
        )
    return strace


def scene_of(project: Project, name: str) -> Scene:
    """Plan a target as its files are now; raises TargetError."""
    target = read_target(project, name)
    plan, host = make_plan(project, target)
    return _scene(project, target, plan, host)


def build(project: Project, name: str) -> Scene:
    """Build a target as its files are now, and say nothing; raises TargetError, TryAgain and Failure."""
    target = read_target(project, name)
    with begin(project, target) as job:
        run(job)
    plan, host = job.prepared.plan, job.prepared.host
    if host is None:
        return scene_of(project, name)
    return _scene(project, target, plan, host)


def proved(project: Project, scene: Scene, bar: Progress = SILENT) -> tuple[Finding, ...]:
    """Return what the check of a target that was just built showed; raises Failure as prove does."""
    return prove(project, scene.target, (scene.plan, scene.host), explain=False, bar=bar)


def _scene(project: Project, target: Target, plan: Plan, host: Host) -> Scene:
    users = users_of(target, host)
    service = target.check.service
    memo = Memo.load(f"{project.state}/{target.name}.memo")
    resolver = Resolver(host, memo, system_of(target, host))
    return Scene(target, plan, host, users, known(plan, resolver, users(service.user).uid if service else 0))
