"""Plan to doit tasks: one per artifact, its sources the file_dep; only what is stale is handed out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from doit.task import Task

from chrootbuild.artifact import Plan
from chrootbuild.build.doit_invocation import Invocation, path_of, quoted, task_name
from chrootbuild.build.doit_tasks import (
    CleanAction,
    FailAction,
    PublishAction,
    StageAction,
    StageTask,
    Staleness,
    sources_of,
)
from chrootbuild.build.job import Job, begin, begin_cached
from chrootbuild.compare.assessment import Assessment, assess
from chrootbuild.compare.change import Change
from chrootbuild.errors import Failure, TryAgain, UsageError
from chrootbuild.publish.closure import publish_closure
from chrootbuild.state.null_build import candidates, holds
from chrootbuild.state.places import MANUAL
from chrootbuild.state.project import Project
from chrootbuild.state.stamp import is_fresh, look, write_stamp
from chrootbuild.system.signature import signature
from chrootbuild.target.model import Target
from chrootbuild.text import printable

if TYPE_CHECKING:
    from chrootbuild.state.null_build import Looks
    from chrootbuild.target.reader import Targets


@dataclass(frozen=True, slots=True)
class Run:
    """One call of doit over a project, and what it finds out beside doit's own answer.

    ``looks`` are stamps that were looked at before. The ``jobs`` that are begun are closed by
    whoever made the stack, at the end. A target that somebody else is at work on is noted in
    ``busy`` and left out; where that is None TryAgain is raised.
    """

    project: Project
    invocation: Invocation
    looks: Looks = field(default_factory=dict)
    jobs: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    failures: list[Failure] = field(default_factory=list)
    busy: list[TryAgain] | None = None


def tasks(run: Run, targets: Targets) -> Iterator[Task]:
    """Yield what doit needs for one invocation: the stale tasks for a run, all for the rest."""
    from chrootbuild.target.reader import select

    invocation = run.invocation
    for name, failure in targets.failures.items():
        if invocation.command == "run" and invocation.names and name not in map(_target, invocation.names):
            continue
        yield _failing(run, name, failure)
    # What has a slash before any colon is a file of a root, which doit knows to be some task's target.
    named = [_target(word) for word in invocation.names if "*" not in word]
    if invocation.command in ("run", "list", "info", "clean"):
        select(targets, [name for name in named if "/" not in name and name not in targets.failures])
    for target in targets.targets.values():
        if invocation.command == "run":
            if invocation.names and not invocation.wants(target.name, target.root):
                continue
            if not invocation.names and target.manual:
                continue
            try:
                yield from _run(run, target)
            except TryAgain as failure:
                if run.busy is None:
                    raise
                run.busy.append(failure)
                # What was named has to be there; it has nothing to do.
                words = {
                    word for word in invocation.names if _target(word) == target.name and "*" not in word
                }
                yield from (Task(word, None) for word in sorted({*words, target.name}))
        else:
            yield from _show(run, target)
    if invocation.command == "run":
        settle(run.project, targets)


def settle(project: Project, targets: Targets) -> None:
    """Write down what a null build has to know: which targets are built only when named."""
    for name, target in targets.targets.items():
        if target.manual and is_fresh(project.state, name + MANUAL) is None:
            files = {path: signature(os.lstat(path)) for path in target.read}
            write_stamp(project, name + MANUAL, "", files, {})


def _target(word: str) -> str:
    return path_of(word)[0]


def _failing(run: Run, name: str, failure: Failure) -> Task:
    name = printable(quoted(name))  # what is wrong may be the name
    return Task(
        name, [FailAction(failure, run.failures)], doc=f"cannot be built: {failure.message}", verbosity=2
    )


def cached_tasks(run: Run) -> list[Task] | None:
    """Return what a build of whole targets needs, if their last plans still hold; else None.

    No target file is read for it. What goes wrong is left to the way that does, which
    can say it well and go on with the other targets.
    """
    project = run.project
    wanted = candidates(project.directory, project.state, run.invocation.names)
    if wanted is None:
        return None
    found: list[Task] = []
    with contextlib.ExitStack() as jobs:
        for name in wanted:
            key = project.state, name
            stamp = run.looks[key] if key in run.looks else look(*key)
            if holds(stamp):
                found.append(Task(name, None, has_subtask=True))
                continue
            try:
                job = begin_cached(project, name, stamp)
            except Failure:
                job = None
            if job is None:
                return None
            jobs.push(job)
            if job.assessment.target.manual and not run.invocation.names:
                return None  # its mark is lost, and is written anew by the other way
            found += _build(run, job)
        run.jobs.push(jobs.pop_all())
    return found


def _run(run: Run, target: Target) -> Iterator[Task]:
    """Yield the stale tasks of one target, and the group that publishes them."""
    project, paths = run.project, run.invocation.paths(target.name)
    stale = (project.state, target.name) in run.looks and not holds(run.looks[project.state, target.name])
    if paths is None and not stale and is_fresh(project.state, target.name) == target.root:
        yield Task(target.name, None, doc=target.summary, has_subtask=True)
        return
    try:
        job = begin(project, target)
    except TryAgain:
        raise
    except Failure as failure:
        yield _failing(run, target.name, failure)
        return
    run.jobs.push(job)
    yield from _build(run, job) if paths is None else _build_paths(run, job, paths)


def _build(run: Run, job: Job) -> Iterator[Task]:
    made = list(_staging(run, job, hidden=False))
    yield from made
    yield Task(
        job.name,
        [PublishAction(job, run.failures)] if job.stale or job.unplanted else None,
        doc=job.assessment.target.summary,
        has_subtask=True,
        task_dep=[task.name for task in made],
        io={"capture": False},
    )


def _build_paths(run: Run, job: Job, paths: set[str]) -> Iterator[Task]:
    """Yield the tasks for single paths, and one that publishes them with what has to go along."""
    target, plan = job.assessment.target, job.assessment.plan
    waiting: set[str] = set()
    paths = _matching(target, plan, paths)
    for path in sorted(paths):
        waiting |= publish_closure(plan, job.stale, path)
    part = job.only(waiting)
    yield from _staging(run, part, hidden=True)
    publisher = f"_publish:{target.name}"
    yield Task(
        publisher,
        [PublishAction(part, run.failures)] if waiting else None,
        task_dep=[f"_stage:{task_name(target.name, path)}" for path in sorted(waiting)],
        io={"capture": False},
    )
    for path in sorted(paths):
        yield Task(task_name(target.name, path), None, task_dep=[publisher])


def _staging(run: Run, job: Job, *, hidden: bool) -> Iterator[Task]:
    """Yield a task for each artifact that is stale."""
    stage = StageAction(job, run.failures)
    for change in job.stale.values():
        if change.artifact is not None:
            yield StageTask(stage, change.artifact, change.reason, hidden=hidden)


def _matching(target: Target, plan: Plan, paths: set[str]) -> set[str]:
    """Return the paths of a plan that were named; a * matches as doit's own does. Raises UsageError."""
    found = set()
    for path in paths:
        if path in plan.artifacts:
            found.add(path)
            continue
        matches = [name for name in plan.artifacts if "*" in path and fnmatchcase(name, path)]
        if not matches:
            raise UsageError(
                f'cannot find a task named "{task_name(target.name, path)}": {path} is not in the plan',
                hint=f"chrootbuild plan {target.name} --json lists what is",
            )
        found.update(matches)
    return found


def _show(run: Run, target: Target) -> Iterator[Task]:
    """Yield every task of one target, for list, info, clean and the like."""
    invocation = run.invocation
    try:
        assessment = assess(run.project, target)
    except Failure as failure:
        yield _failing(run, target.name, failure)
        return
    if invocation.command in ("info", "clean"):
        _matching(target, assessment.plan, invocation.paths(target.name) or set())
    stale = len(assessment.comparison.stale)
    whole = not invocation.names or target.name in invocation.names
    names = []
    for path, change in assessment.comparison.changes.items():
        if change.artifact is not None:
            task = _shown(run, assessment, path, change, clean=not whole)
            names.append(task.name)
            yield task
    yield Task(
        target.name,
        None,
        doc=target.summary,
        has_subtask=True,
        task_dep=names,
        uptodate=[Staleness(f"{stale} of {len(names)} are stale" if stale else "")],
        clean=[CleanAction(run.project, target, run.failures)] if whole else [],
    )


def _shown(run: Run, assessment: Assessment, path: str, change: Change, *, clean: bool) -> Task:
    artifact, target = change.artifact, assessment.target
    assert artifact is not None
    return Task(
        task_name(target.name, path),
        None,
        file_dep=sources_of(target, artifact),
        targets=[target.root + path],
        uptodate=[Staleness(change.reason)],
        doc=str(artifact.kind),
        subtask_of=target.name,
        clean=[CleanAction(run.project, target, run.failures, path)] if clean else [],
        meta={"why": [reason.words for reason in assessment.plan.reasons.get(path, ())]},
    )
