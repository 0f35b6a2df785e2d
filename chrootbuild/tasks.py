"""Plan to doit tasks: one per artifact, its sources the file_dep; only what is stale is handed out.

doit sees every task for ``list``, ``info`` and ``clean``; for a run it gets
those that are stale. What is fresh is decided by record and stamp, not by
doit's own database: its backend here remembers nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from doit.dependency import FileChangedChecker
from doit.exceptions import InvalidCommand, TaskFailed
from doit.reporter import ConsoleReporter
from doit.task import Task

from chrootbuild.artifact import Artifact
from chrootbuild.build import Job, begin, finish, stage_one, together
from chrootbuild.clean import clean
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.fresh import Change
from chrootbuild.host import signature
from chrootbuild.prepare import Prepared, prepare
from chrootbuild.project import Project, find_project
from chrootbuild.spec import Target
from chrootbuild.quick import MANUAL
from chrootbuild.record import write_atomically
from chrootbuild.stamp import is_fresh, write_stamp
from chrootbuild.target import Targets, read_targets, select

__all__ = ["DOIT_CONFIG", "FAILED", "Backend", "Invocation", "settle", "task_name", "tasks", "tasks_of_dodo"]

_UNSAFE = "%=*?[]"  # doit refuses = in a task's name and takes * ? [ as a pattern


def task_name(target: str, path: str) -> str:
    """Return the task of a path: NAME:/path, with % = * ? [ ] as %XX."""
    return f"{target}:{''.join(f'%{ord(char):02X}' if char in _UNSAFE else char for char in path)}"


def path_of(name: str) -> tuple[str, str]:
    """Return target and path of a task's name; the path is empty for a target's own task."""
    target, _, path = name.partition(":")
    return target, unquote(path, errors="surrogateescape")


# -- what doit asks of a project -----------------------------------------------------------


class Checker(FileChangedChecker):  # type: ignore[misc]
    """Answers doit's questions about files: the tasks' own ``uptodate`` knows better."""

    def exists(self, path: str) -> bool:
        """Tell whether something is there; a dangling link counts."""
        return os.path.lexists(path)

    def info(self, path: str) -> object:
        """Return something for every path: a source that is gone is an error of the plan."""
        return path

    def check_modified(self, file_path: str, file_stat: object, state: object) -> bool:  # noqa: ARG002
        """Never: what changed is stale by its task's ``uptodate``."""
        return False

    def get_state(self, dep: str, current_state: object) -> object:  # noqa: ARG002
        """Nothing to save."""
        return None


class Backend:
    """doit's database, answered from the record: every known dependency is as it was."""

    desc = "chrootbuild's own record"

    def __init__(self, name: str, codec: object, module_name: object = None) -> None:
        self.name = name

    def get(self, task_id: str, dependency: str) -> object:
        """Return a state for a file, nothing for doit's own keys."""
        return None if dependency.endswith(":") else True

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Forget it."""

    def in_(self, task_id: str) -> bool:
        """No task is known."""
        return False

    def dump(self) -> None:
        """Nothing to write."""

    def remove(self, task_id: str) -> None:
        """Nothing to remove."""

    def remove_all(self) -> None:
        """Nothing to remove."""


class Reporter(ConsoleReporter):  # type: ignore[misc]
    """Failures as chrootbuild says them; what was built is told when it was published."""

    def execute_task(self, task: Task) -> None:
        """Say nothing yet."""

    def skip_uptodate(self, task: Task) -> None:
        """Say nothing."""

    def skip_ignore(self, task: Task) -> None:
        """Say nothing."""

    def _write_failure(self, result: dict[str, Any], write_exception: bool = True) -> None:  # noqa: ARG002
        text = result["exception"].get_msg().strip()
        if "UnmetDependency" in type(result["exception"]).__name__:
            return
        sys.stderr.write(f"error: {text}\n")

    def complete_run(self) -> None:
        """Everything was said when it happened, but for errors of doit itself."""
        for message in self.runtime_errors:
            sys.stderr.write(f"error: {message}\n")


DOIT_CONFIG: dict[str, Any] = {
    "backend": "chrootbuild",
    "dep_file": os.devnull,
    "check_file_uptodate": Checker,
    "reporter": Reporter,
    "continue": True,
    "minversion": "0.37.0",
}


# What went wrong in this process, for the exit code; doit keeps no more than the text.
FAILED: list[Failure] = []


def _failed(failure: Failure) -> TaskFailed:
    FAILED.append(failure)
    return TaskFailed(str(failure), report=True)


# -- actions -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Staleness:
    """A task's ``uptodate``: its repr is the reason, which ``doit info`` shows."""

    reason: str

    def __call__(self) -> bool:
        """Tell whether the artifact is fresh."""
        return not self.reason

    def __repr__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class StageAction:
    """Makes one artifact in the staging directory."""

    root: str
    artifact: Artifact

    def __call__(self) -> TaskFailed | None:
        """Stage it; a Failure becomes a failed task, without a traceback."""
        try:
            stage_one(self.root, self.artifact)
        except Failure as failure:
            return _failed(failure)
        return None

    def __str__(self) -> str:
        return f"stage {self.artifact.path}"


class PublishAction:
    """Publishes what was staged: all of it, or ``paths``."""

    def __init__(self, job: Job, paths: set[str] | None = None) -> None:
        self.job = job
        self.paths = paths

    def __call__(self) -> TaskFailed | None:
        """Publish; a Failure becomes a failed task."""
        try:
            finish(self.job, self.paths)
        except Failure as failure:
            return _failed(failure)
        return None


@dataclass(frozen=True, slots=True)
class FailAction:
    """The one task of a target that cannot be planned."""

    failure: Failure

    def __call__(self) -> TaskFailed:
        """Fail with the reason."""
        return _failed(self.failure)


@dataclass(frozen=True, slots=True)
class CleanAction:
    """Removes what is ours: one path, or a whole target's."""

    project: Project
    target: Target
    path: str = ""

    def __call__(self, dryrun: bool) -> TaskFailed | None:
        """Remove it, or say what would be removed; a Failure becomes a failed task."""
        try:
            clean(self.project, self.target, self.path, dry=dryrun)
        except Failure as failure:
            return _failed(failure)
        return None

    def __repr__(self) -> str:
        return f"<clean {self.target.name}{self.path}>"


# -- the tasks -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Invocation:
    """What doit was called for: its command, and the tasks that were named."""

    command: str
    names: tuple[str, ...] = ()

    @classmethod
    def of_argv(cls, argv: Sequence[str], commands: set[str]) -> Invocation:
        """Read it from a command line, as doit does: the command is the first word, else ``run``."""
        words = [word for word in argv if word.startswith("-") or "=" not in word]
        if words and words[0] in commands:
            return cls(words[0], tuple(word for word in words[1:] if not word.startswith("-")))
        return cls("run", tuple(word for word in words if not word.startswith("-")))

    def wants(self, target: str, root: str) -> bool:
        """Tell whether a target was named: itself, a task of it, a pattern, or a file of its root."""
        return any(_names(word, target, root) for word in self.names)

    def paths(self, target: str) -> set[str] | None:
        """Return the paths that were named one by one; None where it is the whole target."""
        found = set()
        for word in self.names:
            name, path = path_of(word)
            if name == target and not path:
                return None
            if name == target:
                found.add(path)
        return found or None


def _names(word: str, target: str, root: str) -> bool:
    name = path_of(word)[0]
    return name == target or "*" in word or word.startswith(root + "/")


def tasks_of_dodo(argv: Sequence[str], commands: set[str], out: str | None) -> Iterator[Task]:
    """Yield the tasks of the project in the current folder, for a dodo.py."""
    try:
        project = find_project(".", out)
        yield from tasks(project, read_targets(project), Invocation.of_argv(argv, commands))
    except TryAgain as failure:
        sys.stderr.write(f"error: {failure}\n")
        raise SystemExit(failure.code) from None
    except Failure as failure:
        raise InvalidCommand(str(failure)) from None


def tasks(
    project: Project, targets: Targets, invocation: Invocation, busy: list[TryAgain] | None = None
) -> Iterator[Task]:
    """Yield what doit needs for one invocation: the stale tasks for a run, all for the rest.

    A target that somebody else is at work on is noted in ``busy`` and left
    out; without it TryAgain is raised.
    """
    for name, failure in targets.failures.items():
        if invocation.command == "run" and invocation.names and name not in map(_target, invocation.names):
            continue
        yield _failing(name, failure)
    named = [_target(word) for word in invocation.names if ":" in word and "*" not in word]
    select(targets, [name for name in named if name not in targets.failures])
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
        else:
            yield from _show(project, target, invocation)


def settle(project: Project, targets: Targets) -> None:
    """Write down what a null build has to know: OUT, and which targets are built only when named."""
    for name, target in targets.targets.items():
        if target.manual and is_fresh(project.state, name + MANUAL) is None:
            files = {path: signature(os.lstat(path)) for path in target.read}
            write_stamp(project, name + MANUAL, "", files, ())
    out = f"{project.state}/out"
    if not os.path.isdir(project.state):
        return
    chosen = project.out_given
    try:
        with open(out, encoding="utf-8", errors="surrogateescape") as file:
            if file.read() == chosen:
                return
    except OSError:
        pass
    write_atomically(out, os.fsencode(chosen))


def _target(word: str) -> str:
    return path_of(word)[0]


def _failing(name: str, failure: Failure) -> Task:
    return Task(name, [FailAction(failure)], doc=f"cannot be built: {failure.message}", verbosity=2)


def _run(project: Project, target: Target, invocation: Invocation) -> Iterator[Task]:
    """Yield the stale tasks of one target, and the group that publishes them."""
    if is_fresh(project.state, target.name) == target.root and invocation.paths(target.name) is None:
        yield Task(target.name, None, doc=target.summary, has_subtask=True)
        return
    try:
        job = begin(project, target)
    except TryAgain:
        raise
    except Failure as failure:
        yield _failing(target.name, failure)
        return
    _KEPT.append(job)  # the lock is held until the process ends
    paths = invocation.paths(target.name)
    plan, stale = job.prepared.plan, job.stale
    if paths is None:
        made = [_stage(target, change) for change in stale.values() if change.artifact is not None]
        yield from made
        action = [PublishAction(job)] if stale or job.unplanted else None
        yield Task(
            target.name,
            action,
            doc=target.summary,
            has_subtask=True,
            task_dep=[task.name for task in made],
            io={"capture": False},
        )
        return
    waiting: set[str] = set()
    for path in sorted(paths):
        if path not in plan.artifacts:
            raise InvalidCommand(
                f'cannot find a task named "{task_name(target.name, path)}": {path} is not in the plan\n'
                f"hint: chrootbuild plan {target.name} lists what is"
            )
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


_KEPT: list[Job] = []


def _stage(target: Target, change: Change, *, hidden: bool = False) -> Task:
    artifact = change.artifact
    assert artifact is not None
    name = task_name(target.name, change.path)
    return Task(
        f"_stage:{name}" if hidden else name,
        [StageAction(target.root, artifact)],
        file_dep=_sources(target, artifact),
        targets=[] if hidden else [target.root + change.path],
        uptodate=[Staleness(change.reason)],
        doc=f"{artifact.kind}, {change.reason}",
        subtask_of=None if hidden else target.name,
    )


def _sources(target: Target, artifact: Artifact) -> list[str]:
    return [*artifact.sources, *(target.root + path for path in artifact.after)]


def _show(project: Project, target: Target, invocation: Invocation) -> Iterator[Task]:
    """Yield every task of one target, for list, info, clean and the like."""
    try:
        prepared = prepare(project, target)
    except Failure as failure:
        yield _failing(target.name, failure)
        return
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
        clean=[CleanAction(project, target)] if whole else [],
    )


def _shown(project: Project, prepared: Prepared, path: str, change: Change, *, clean: bool) -> Task:
    artifact, target = change.artifact, prepared.target
    assert artifact is not None
    return Task(
        task_name(target.name, path),
        [StageAction(target.root, artifact)],
        file_dep=_sources(target, artifact),
        targets=[target.root + path],
        uptodate=[Staleness(change.reason)],
        doc=str(artifact.kind),
        subtask_of=target.name,
        clean=[CleanAction(project, target, path)] if clean else [],
        meta={"why": [reason.words for reason in prepared.plan.reasons.get(path, ())]},
    )


