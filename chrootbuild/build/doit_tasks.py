"""What a task does when doit runs it: stage, publish, fail or clean; failures without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from doit.exceptions import TaskFailed
from doit.task import Task

from chrootbuild.artifact import Artifact
from chrootbuild.build.clean import clean
from chrootbuild.build.doit_invocation import task_name
from chrootbuild.build.job import Job, run
from chrootbuild.build.report import changes_text
from chrootbuild.errors import Failure
from chrootbuild.state.project import Project
from chrootbuild.target.model import Target

# What went wrong, for the exit code: doit keeps no more than the text. The actions of a run share one list.
Failures = list[Failure]


def _failed(failures: Failures, failure: Failure) -> TaskFailed:
    """Note a failure, and return what doit takes for one."""
    failures.append(failure)
    return TaskFailed(str(failure), report=True)


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
    """Makes artifacts of a job in its staging directory."""

    job: Job
    failures: Failures

    def __call__(self, artifact: Artifact) -> TaskFailed | None:
        """Stage one; a Failure becomes a failed task, without a traceback."""
        try:
            self.job.make(artifact)
        except Failure as failure:
            return _failed(self.failures, failure)
        return None


class PublishAction:
    """Publishes what the tasks of a job have staged, and prints what was done."""

    def __init__(self, job: Job, failures: Failures) -> None:
        self.job = job
        self.failures = failures

    def __call__(self) -> TaskFailed | None:
        """Publish; a Failure becomes a failed task."""
        assessment = self.job.assessment
        try:
            published = run(self.job, lambda _: None)
            if published is not None:
                first = assessment.record is None
                _tell(changes_text(self.job.name, assessment.target.root, self.job.stale, published, first))
        except Failure as failure:
            return _failed(self.failures, failure)
        return None


def _tell(text: str) -> None:
    """Print what was done. It is done whether somebody reads it or not."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise Failure(
            f"cannot write to standard output: {error.strerror}", hint="the build is done"
        ) from None


@dataclass(frozen=True, slots=True)
class FailAction:
    """The one task of a target that cannot be planned."""

    failure: Failure
    failures: Failures

    def __call__(self) -> TaskFailed:
        """Fail with the reason."""
        return _failed(self.failures, self.failure)


@dataclass(frozen=True, slots=True)
class CleanAction:
    """Removes what is ours: one path, or a whole target's."""

    project: Project
    target: Target
    failures: Failures
    path: str = ""

    def __call__(self, dryrun: bool) -> TaskFailed | None:
        """Remove it, or say what would be removed; a Failure becomes a failed task."""
        try:
            clean(self.project, self.target, self.path, dry=dryrun)
        except Failure as failure:
            return _failed(self.failures, failure)
        return None

    def __repr__(self) -> str:
        return f"<clean {self.target.name}{self.path and ':' + self.path}>"


# -- the tasks of a run --------------------------------------------------------------------


def sources_of(target: Target, artifact: Artifact) -> list[str]:
    """Return the real paths that an artifact is made from: its task's file_dep."""
    return [*artifact.sources, *(target.root + path for path in artifact.after)]


class StageTask(Task):  # type: ignore[misc]
    """A stale artifact's task in a run; it is made by the ten thousand.

    doit's own Task keeps some 3 KB of lists, sets and dicts. What is the same for all is the
    class's here, what follows from the artifact is made when doit asks, and execution is one call.
    """

    actions: Sequence[Any] = ()
    params: Sequence[Any] = ()
    setup_tasks: Sequence[str] = ()
    wild_dep: Sequence[str] = ()
    calc_dep: set[str] = set()  # noqa: RUF012  # doit reads these four only
    teardown: Sequence[Any] = ()
    value_savers: Sequence[Any] = ()
    uptodate: Sequence[Any] = ((False, (), {}),)  # what is fresh has no task in a run
    getargs: dict[str, Any] = {}  # noqa: RUF012
    options: dict[str, Any] = {}  # noqa: RUF012
    values: dict[str, Any] = {}  # noqa: RUF012
    meta = loader = pos_arg = result = verbosity = dep_changed = custom_title = None
    has_subtask = executed = False

    def __init__(self, stage: StageAction, artifact: Artifact, reason: str, *, hidden: bool = False) -> None:
        name = task_name(stage.job.name, artifact.path)
        self.name = f"_stage:{name}" if hidden else name
        self.subtask_of = None if hidden else stage.job.name
        self.stage = stage
        self.artifact = artifact
        self.reason = reason
        self.task_dep: list[str] = []  # doit adds to it what makes a file_dep

    @property
    def file_dep(self) -> set[str]:
        """Return what it is made from."""
        return set(sources_of(self.stage.job.assessment.target, self.artifact))

    @property
    def targets(self) -> list[str]:
        """Return the real path of what it makes."""
        root = self.stage.job.assessment.target.root
        return [root + self.artifact.path] if self.subtask_of else []

    @property
    def doc(self) -> str:
        """Return what it makes, and why."""
        return f"{self.artifact.kind}, {self.reason}"

    def init_options(self, args: Any = None) -> Any:
        """Take no options: return the arguments as they are."""
        return args

    def pickle_safe_dict(self) -> dict[str, Any]:
        """Return what a worker has to be told: the process it was forked from made the rest."""
        return {"name": self.name}

    def execute(self, stream: Any) -> TaskFailed | None:  # noqa: ARG002  # nothing is captured
        """Stage the artifact; a Failure becomes a failed task."""
        self.executed = True
        return self.stage(self.artifact)
