"""What doit needs to know of us: its settings, and the tasks of a project.

doit sees every task for ``list``, ``info`` and ``clean``; for a run it gets
those that are stale. What is fresh is decided by record and stamp, not by
doit's own database: its backend here remembers nothing. Where nothing is
stale, nothing else of the package is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from doit.dependency import FileChangedChecker
from doit.exceptions import InvalidCommand
from doit.reporter import ConsoleReporter
from doit.task import Task

from chrootbuild.build.doit_invocation import Invocation, path_of
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.state.null_build import look_at, nothing_stale
from chrootbuild.state.project import find_project

if TYPE_CHECKING:
    from chrootbuild.console import Progress

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

    def __init__(self, name: str, codec: object, module_name: object = None) -> None:  # noqa: ARG002
        self.name = name

    def get(self, task_id: str, dependency: str) -> object:  # noqa: ARG002
        """Return a state for a file, nothing for doit's own keys."""
        return None if dependency.endswith(":") else True

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Forget it."""

    def in_(self, task_id: str) -> bool:  # noqa: ARG002
        """No task is known."""
        return False

    def dump(self) -> None:
        """Nothing to write."""

    def remove(self, task_id: str) -> None:
        """Nothing to remove."""

    def remove_all(self) -> None:
        """Nothing to remove."""


class Reporter(ConsoleReporter):  # type: ignore[misc]
    """Failures as chrootbuild says them; what was built is told when it was published.

    On a terminal a long run shows how far the staging is: on ``bar`` where there is one, else on its own.
    """

    bar: Progress | None = None
    _own: contextlib.ExitStack | None = None

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:  # noqa: ARG002
        """Start to count what is staged, unless whoever gave the bar does."""
        total = sum(":" in name for name in tasks)
        if self.bar is None and total:
            from chrootbuild.console import progress

            self._own = contextlib.ExitStack()
            self.bar = self._own.enter_context(progress("build"))
            self.bar.begin(total)

    def execute_task(self, task: Task) -> None:
        """Count what is staged."""
        if self.bar is None or not self.bar.visible:
            return
        if task.has_subtask or task.name.startswith("_publish:"):
            self.bar.now(f"publishing {task.name.removeprefix('_publish:')}")
        else:
            source = task.artifact.source if hasattr(task, "artifact") else ""
            self.bar.step(path_of(task.name.removeprefix("_stage:"))[1], _size_of(source))

    def skip_uptodate(self, task: Task) -> None:
        """Say nothing."""

    def skip_ignore(self, task: Task) -> None:
        """Say nothing."""

    def _write_failure(self, result: dict[str, Any], write_exception: bool = True) -> None:  # noqa: ARG002
        text = result["exception"].get_msg().strip()
        if "UnmetDependency" not in type(result["exception"]).__name__:
            from chrootbuild.console import error

            error(text)

    def complete_run(self) -> None:
        """Everything was said when it happened, but for errors of doit itself."""
        if self._own is not None:
            self._own.close()
            self._own = self.bar = None
        for message in self.runtime_errors:
            from chrootbuild.console import error

            error(message)


def _size_of(source: str) -> int:
    """Return the bytes of a source; 0 where it cannot be told, which whoever stages it says better."""
    try:
        return os.stat(source).st_size if source else 0
    except OSError:
        return 0


DOIT_CONFIG: dict[str, Any] = {
    "backend": "chrootbuild",
    "dep_file": os.devnull,
    "check_file_uptodate": Checker,
    "reporter": Reporter,
    "continue": True,
    "minversion": "0.37.0",
}


# -- the tasks -----------------------------------------------------------------------------


def tasks_of_dodo(argv: Sequence[str], commands: AbstractSet[str], out: str | None) -> Iterator[Task]:
    """Yield the tasks of the project in the current folder, for a dodo.py.

    Errors are doit's (InvalidCommand); where somebody else is at work the
    process ends with exit code 75.
    """
    invocation = Invocation.of_argv(argv, commands)
    try:
        project = find_project(".", out)
        building = invocation.command == "run"
        looks = look_at(project.directory, project.state, invocation.names) if building else None
        if looks is not None and nothing_stale(looks):
            yield from (Task(name, None, has_subtask=True) for _, name in looks)
            return
        from chrootbuild.build.doit_loader import Run, cached_tasks, tasks

        run = Run(project, invocation, looks or {})
        atexit.register(_close, run.jobs, os.getpid())
        if building and (found := cached_tasks(run)) is not None:
            yield from found
            return
        from chrootbuild.target.reader import read_targets

        yield from tasks(run, read_targets(project))
    except TryAgain as failure:
        from chrootbuild.console import complain

        complain(failure)
        raise SystemExit(failure.code) from None
    except Failure as failure:
        raise InvalidCommand(str(failure)) from None


def _close(jobs: contextlib.ExitStack, pid: int) -> None:
    if os.getpid() == pid:  # not in a worker of doit's
        jobs.close()
