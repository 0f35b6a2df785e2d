"""Plan to doit tasks: one per artifact, its sources the file_dep; only what is stale is handed out."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from doit.task import Task

from chrootbuild.artifact import Plan
from chrootbuild.build import Job, abandon, begin, begin_cached, together
from chrootbuild.change import Change
from chrootbuild.errors import Failure, TryAgain, UsageError
from chrootbuild.places import MANUAL
from chrootbuild.prepare import Prepared, prepare
from chrootbuild.project import Project
from chrootbuild.quick import STALE, candidates
from chrootbuild.signature import signature
from chrootbuild.spec import Target
from chrootbuild.stamp import is_fresh, look, write_stamp
from chrootbuild.taskactions import (
    CleanAction,
    FailAction,
    PublishAction,
    StageAction,
    StageTask,
    Staleness,
    sources_of,
)
from chrootbuild.tasks import Invocation, path_of, quoted, task_name
from chrootbuild.text import printable

if TYPE_CHECKING:
    from chrootbuild.target import Targets

__all__ = ["cached_tasks", "settle", "tasks"]


def tasks(
    project: Project, targets: Targets, invocation: Invocation, busy: list[TryAgain] | None = None
) -> Iterator[Task]:
    """Yield what doit needs for one invocation: the stale tasks for a run, all for the rest.

    A target that somebody else is at work on is noted in ``busy`` and left
    out; without it TryAgain is raised.
    """
    from chrootbuild.target import select

    for name, failure in targets.failures.items():
        if invocation.command == "run" and invocation.names and name not in map(_target, invocation.names):
            continue
        yield _failing(name, failure)
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
                yield from _run(project, target, invocation)
            except TryAgain as failure:
                if busy is None:
                    raise
                busy.append(failure)
                # What was named has to be there; it has nothing to do.
                words = {
                    word for word in invocation.names if _target(word) == target.name and "*" not in word
                }
                yield from (Task(word, None) for word in sorted({*words, target.name}))
        else:
            yield from _show(project, target, invocation)
    if invocation.command == "run":
        settle(project, targets)


def settle(project: Project, targets: Targets) -> None:
    """Write down what a null build has to know: which targets are built only when named."""
    for name, target in targets.targets.items():
        if target.manual and is_fresh(project.state, name + MANUAL) is None:
            files = {path: signature(os.lstat(path)) for path in target.read}
            write_stamp(project, name + MANUAL, "", files, {})


def _target(word: str) -> str:
    return path_of(word)[0]


def _failing(name: str, failure: Failure) -> Task:
    name = printable(quoted(name))  # what is wrong may be the name
    return Task(name, [FailAction(failure)], doc=f"cannot be built: {failure.message}", verbosity=2)


def cached_tasks(project: Project, names: Sequence[str]) -> list[Task] | None:
    """Return what a build of whole targets needs, if their last plans still hold; else None.

    No target file is read for it. What goes wrong is left to the way that does, which
    can say it well and go on with the other targets.
    """
    wanted = candidates(project.directory, project.state, names)
    if wanted is None:
        return None
    found: list[Task] = []
    jobs: list[Job] = []
    for name in wanted:
        key = project.state, name
        stamp = STALE[key] if key in STALE else look(*key)
        if stamp is not None and not stamp.changed:
            found.append(Task(name, None, has_subtask=True))
            continue
        try:
            job = begin_cached(project, name, stamp)
        except Failure:
            job = None
        if job is None:
            for begun in jobs:
                begun.lock.close()
            return None
        jobs.append(job)
        found += _build(job)
    _keep(*jobs)
    return found


def _run(project: Project, target: Target, invocation: Invocation) -> Iterator[Task]:
    """Yield the stale tasks of one target, and the group that publishes them."""
    paths = invocation.paths(target.name)
    stale = (project.state, target.name) in STALE
    if paths is None and not stale and is_fresh(project.state, target.name) == target.root:
        yield Task(target.name, None, doc=target.summary, has_subtask=True)
        return
    try:
        job = begin(project, target)
    except TryAgain:
        raise
    except Failure as failure:
        yield _failing(target.name, failure)
        return
    _keep(job)
    yield from _build(job) if paths is None else _build_paths(job, paths)


def _build(job: Job) -> Iterator[Task]:
    target = job.prepared.target
    made = [_stage(target, change) for change in job.stale.values() if change.artifact is not None]
    yield from made
    yield Task(
        target.name,
        [PublishAction(job)] if job.stale or job.unplanted else None,
        doc=target.summary,
        has_subtask=True,
        task_dep=[task.name for task in made],
        io={"capture": False},
    )


def _build_paths(job: Job, paths: set[str]) -> Iterator[Task]:
    """Yield the tasks for single paths, and one that publishes them with what has to go along."""
    target, plan, stale = job.prepared.target, job.prepared.plan, job.stale
    waiting: set[str] = set()
    paths = _matching(target, plan, paths)
    for path in sorted(paths):
        waiting |= together(plan, stale, path)
    yield from (_stage(target, change, hidden=True) for path, change in stale.items() if path in waiting)
    publisher = f"_publish:{target.name}"
    yield Task(
        publisher,
        [PublishAction(job, waiting)] if waiting else None,
        task_dep=[f"_stage:{task_name(target.name, path)}" for path in sorted(waiting)],
        io={"capture": False},
    )
    for path in sorted(paths):
        yield Task(task_name(target.name, path), None, task_dep=[publisher])


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


_KEPT: list[Job] = []


def _keep(*jobs: Job) -> None:
    """Hold the locks of jobs until the process ends; what they staged and did not publish goes then."""
    if not _KEPT:
        atexit.register(_tidy, os.getpid())
    _KEPT.extend(jobs)


def _tidy(pid: int) -> None:
    if os.getpid() == pid:  # not in a worker of doit's
        for job in _KEPT:
            with contextlib.suppress(Failure, OSError):
                abandon(job)


def _stage(target: Target, change: Change, *, hidden: bool = False) -> Task:
    assert change.artifact is not None
    return StageTask(target, change.artifact, change.reason, hidden=hidden)


def _show(project: Project, target: Target, invocation: Invocation) -> Iterator[Task]:
    """Yield every task of one target, for list, info, clean and the like."""
    try:
        prepared = prepare(project, target)
    except Failure as failure:
        yield _failing(target.name, failure)
        return
    if invocation.command in ("info", "clean"):
        _matching(target, prepared.plan, invocation.paths(target.name) or set())
    stale = len(prepared.comparison.stale)
    whole = not invocation.names or target.name in invocation.names
    names = []
    for path, change in prepared.comparison.changes.items():
        if change.artifact is not None:
            task = _shown(project, prepared, path, change, clean=not whole)
            names.append(task.name)
            yield task
    yield Task(
        target.name,
        None,
        doc=target.summary,
        has_subtask=True,
        task_dep=names,
        uptodate=[Staleness(f"{stale} of {len(names)} are stale" if stale else "")],
        clean=[CleanAction(project, target)] if whole else [],
    )


def _shown(project: Project, prepared: Prepared, path: str, change: Change, *, clean: bool) -> Task:
    artifact, target = change.artifact, prepared.target
    assert artifact is not None
    return Task(
        task_name(target.name, path),
        [StageAction(target.root, artifact)],
        file_dep=sources_of(target, artifact),
        targets=[target.root + path],
        uptodate=[Staleness(change.reason)],
        doc=str(artifact.kind),
        subtask_of=target.name,
        clean=[CleanAction(project, target, path)] if clean else [],
        meta={"why": [reason.words for reason in prepared.plan.reasons.get(path, ())]},
    )
