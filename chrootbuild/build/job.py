"""One target's build: lock, plan and compare (begin), stage and publish (run), clear away (Job.close).

Every command that changes a root does it by ``run``; they differ in who begins the job and in who stages.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self

from chrootbuild.artifact import Artifact
from chrootbuild.build.stamping import changed_since, stamp, touches
from chrootbuild.compare.assessment import Assessment, assess_cached, assess_made, make_plan
from chrootbuild.compare.change import KEEP, Change, Comparison, by_directory
from chrootbuild.errors import Failure
from chrootbuild.plan.cache import cached_plan
from chrootbuild.publish.journal import is_pending
from chrootbuild.publish.publish import Published, publish, recover
from chrootbuild.root.seed import stage_seeds
from chrootbuild.root.stage import Stage, clear_stage, note, noted, open_stage
from chrootbuild.root.stage_artifact import stage_artifact
from chrootbuild.root.tree import Root, open_root, read_root
from chrootbuild.state.lock import locked
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, write_record
from chrootbuild.state.stamp import Look, drop_stamp
from chrootbuild.target.model import Target


@dataclass(frozen=True, slots=True)
class Job:
    """Build of one target, from the lock to ``close``; a context manager that closes it.

    ``lock`` undoes what was done for it: what was staged and not published is removed, then the
    target unlocked. ``stage`` is the staging directory, None where nothing is to be done. A
    ``partial`` job has not all that is stale: it plants no seeds. Without ``stamps`` the stamp is
    left to the caller.
    """

    project: Project
    assessment: Assessment
    lock: contextlib.ExitStack
    stage: Stage | None = None
    partial: bool = False
    stamps: bool = True

    @property
    def name(self) -> str:
        """The target's name."""
        return self.assessment.target.name

    @property
    def stale(self) -> Mapping[str, Change]:
        """What there is to do, by path."""
        return self.assessment.comparison.stale

    @property
    def unplanted(self) -> tuple[str, ...]:
        """The seeds that were never planted."""
        if self.partial:
            return ()
        record = self.assessment.record
        known = set(() if record is None else record.seeds)
        return tuple(path for path in self.assessment.plan.seeds if path not in known)

    def only(self, paths: Collection[str]) -> Job:
        """Return the part of this job that makes ``paths``; the record keeps the rest as it is."""
        comparison = self.assessment.comparison
        changes = {
            path: change
            for path, change in comparison.changes.items()
            if path in paths or change.action == KEEP
        }
        part = replace(comparison, changes=changes, children=by_directory(changes))
        return replace(self, assessment=replace(self.assessment, comparison=part), partial=True)

    def make(self, artifact: Artifact) -> None:
        """Stage one artifact, also in a thread or a forked process; raises Failure."""
        assert self.stage is not None
        note(self.stage, artifact.path, stage_artifact(self.stage, artifact))

    def close(self) -> None:
        """Remove what was staged and not published, and unlock."""
        self.lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begin(
    project: Project, target: Target, *, wait: float = 0.0, held: bool = False, keep: bool = True
) -> Job:
    """Lock a target, complete what was broken off, plan and compare; the staging is left empty.

    ``held``: the caller has the lock. Without ``keep`` this plan
    is not what later builds shall go by. Raises TryAgain where somebody else
    is at work, TargetError and Failure.
    """
    with contextlib.ExitStack() as stack:
        if not held:
            stack.enter_context(locked(project, target.name, wait))
        # The plan first: a target that cannot be satisfied leaves nothing behind, not even a folder.
        made, sysroot = make_plan(project, target, keep=keep)
        with open_root(target.root) as root:
            recover(project, target.name, root)
            assessment = assess_made(project, target, made, sysroot, root)
            return _begun(Job(project, assessment, stack.pop_all()), root, keep=keep)


def begin_cached(project: Project, name: str, look: Look | None = None) -> Job | None:
    """Do what ``begin`` does with a target's last plan; None where that does not hold any more.

    What a ``look`` at the stamp found unchanged a moment ago is not looked at again.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(project, name))
        changed = changed_since(project, name, look)
        cached = cached_plan(project, name, changed)
        if cached is None:
            return None
        with open_root(cached.target.root) as root:
            if recover(project, name, root) or touches(changed, root.path):
                changed = None
            assessment = assess_cached(project, cached, root, changed)
            return _begun(Job(project, assessment, stack.pop_all()), root)


def _begun(job: Job, root: Root, *, keep: bool = True) -> Job:
    try:
        if job.stale or job.unplanted or not keep:
            return opened(job, root)
        clear_stage(root)
        _settle_record(job.project, job.assessment, root)
    except BaseException:
        job.lock.close()
        raise
    return job


def opened(job: Job, root: Root) -> Job:
    """Return a job with an empty staging directory; the stamp goes, as the root is going to change."""
    clear_stage(root)
    drop_stamp(job.project, job.name)
    stage = open_stage(root)
    job.lock.callback(os.close, stage.fd)
    job.lock.callback(_abandon, job.project, job.assessment.target)
    return replace(job, stage=stage)


def _settle_record(project: Project, assessment: Assessment, root: Root) -> None:
    """Nothing is stale: write down what was seen, so that the next time is fast."""
    target, record = assessment.target, assessment.record
    known = {
        path: entry
        for path, entry in assessment.comparison.known.items()
        if path in assessment.plan.artifacts
    }
    seeds = () if record is None else record.seeds
    settled = Record(target.root, known, seeds, inode=os.fstat(root.fd).st_ino)
    if settled != record:
        write_record(project, target.name, settled)
    stamp(project, assessment, settled)


# -- from stale to published ---------------------------------------------------------------


def stage_all(job: Job) -> None:
    """Stage what is stale, one artifact after the other; raises Failure."""
    for change in job.stale.values():
        if change.artifact is not None:
            job.make(change.artifact)


def run(job: Job, stage: Callable[[Job], None] = stage_all) -> Published | None:
    """Stage what is stale and publish it: the one way into a root. None where there is nothing to do.

    ``stage`` makes the artifacts by Job.make, or sees to it that they were made; what it raises
    leaves the root as it is. Raises Failure.
    """
    if not job.stale and not job.unplanted:
        return None
    stage(job)
    assessment, project = job.assessment, job.project
    target, comparison = assessment.target, assessment.comparison
    root = read_root(target.root)
    if root is None:
        raise Failure(f"cannot build in {target.root}: the root is gone", hint="build again")
    with root, open_stage(root) as staging:
        staged = noted(staging, _artifacts(comparison))
        _require(comparison, staged)
        planted = () if assessment.record is None else assessment.record.seeds
        stage_seeds(root, staging, {path: assessment.plan.seeds[path] for path in job.unplanted})
        seeds = planted, job.unplanted
        published = publish(
            project, target.name, root, staging, comparison, staged, seeds, base=assessment.record
        )
    if job.stamps and not job.partial:
        stamp(project, replace(assessment, record=published.record), published.record)
    return published


def _artifacts(comparison: Comparison) -> dict[str, Artifact]:
    return {
        path: change.artifact for path, change in comparison.stale.items() if change.artifact is not None
    }


def _require(comparison: Comparison, staged: Mapping[str, Installed]) -> None:
    for path in _artifacts(comparison):
        if path not in staged:
            raise Failure(f"cannot publish: {path} was not staged", hint="build again; nothing was changed")


def abandon(project: Project, target: Target) -> None:
    """Remove what was staged for a target and not published: on a full disk it would keep it full.

    A publish that was broken off is left for the next build. Raises Failure.
    """
    if is_pending(project, target.name):
        return
    root = read_root(target.root)
    if root is not None:
        with root:
            clear_stage(root)


def _abandon(project: Project, target: Target) -> None:
    with contextlib.suppress(Failure, OSError):  # the next build tries again
        abandon(project, target)
