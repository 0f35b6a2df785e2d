"""Runs doit's commands on a project, as ``doit`` in its folder; not a command itself."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from doit.cmd_base import TaskLoader2
from doit.doit_cmd import DoitMain
from doit.task import Task

from chrootbuild.build.doit_invocation import Invocation
from chrootbuild.build.doit_loader import Run, cached_tasks, tasks
from chrootbuild.build.doit_settings import DOIT_CONFIG, Reporter
from chrootbuild.build.doit_tasks import StageTask
from chrootbuild.console import SILENT, Progress, complain, progress
from chrootbuild.errors import TryAgain
from chrootbuild.state.project import Project

if TYPE_CHECKING:
    from chrootbuild.state.up_to_date import Looks


class _Loader(TaskLoader2):  # type: ignore[misc]
    """A doit task loader for existing tasks."""

    def __init__(self, tasks: list[Task], reporter: Reporter) -> None:
        super().__init__()
        self.tasks = tasks
        self.reporter = reporter

    def load_doit_config(self) -> dict[str, Any]:
        return {**DOIT_CONFIG, "verbosity": 2, "reporter": self.reporter}

    def load_tasks(self, cmd: object, pos_args: Sequence[str]) -> list[Task]:  # noqa: ARG002
        return self.tasks


def run_doit(
    project: Project,
    command: str,
    argv: Sequence[str],
    *,
    jobs: int | None = None,
    looks: Looks | None = None,
) -> int:
    """Run one of doit's commands and return chrootbuild's exit code; raises Failure.

    ``jobs`` is how many artifacts are staged at once; None leaves it to us. ``looks`` are stamps
    that were looked at before.
    """
    with progress("build") if command == "run" else contextlib.nullcontext(SILENT) as bar:
        return _run_doit(project, command, argv, jobs, looks or {}, bar)


def _run_doit(
    project: Project, command: str, argv: Sequence[str], jobs: int | None, looks: Looks, bar: Progress
) -> int:
    # Many small objects that stay to the end: the collector only costs here.
    gc.disable()
    bar.now("planning")
    names = tuple(word for word in argv if not word.startswith("-"))
    busy: list[TryAgain] = []
    with contextlib.ExitStack() as begun:
        run = Run(project, Invocation(command, names), looks, begun, busy=busy)
        code = _run_tasks(run, argv, jobs, bar)
    for failure in busy:
        complain(failure)
    # What is wrong stays wrong until somebody mends it; what was busy is worth another try.
    if run.failures:
        return max(failure.code for failure in run.failures)
    return TryAgain.code if busy else {0: 0, 3: 2}.get(code, 1)


def _run_tasks(run: Run, argv: Sequence[str], jobs: int | None, bar: Progress) -> int:
    """Have doit do what there is to do, and return its code."""
    command = run.invocation.command
    found = cached_tasks(run) if command == "run" else None
    if found is None:
        found = _all_tasks(run)
    options: list[str] = []
    if command == "run" and jobs != 1 and (jobs or len(found) > _MANY):
        options = ["-n", str(jobs or os.cpu_count() or 1), "-P", "thread"]
    reporter = Reporter(sys.stdout, {})
    reporter.bar = bar
    bar.begin(sum(isinstance(task, StageTask) for task in found))
    code = 0
    if (
        command == "run"
        and len(found) > _TURN
        and set(argv) <= {task.name for task in found if task.has_subtask}
    ):
        found, code = _in_turns(found, [command, *options], reporter)
    return max(code, _doit([command, *options, *argv], found, reporter))


_MANY = 8  # tasks; below that a second thread costs more than it saves
_TURN = 4000  # tasks; for each of them doit keeps 2 KB until it ends


def _doit(argv: list[str], tasks: list[Task], reporter: Reporter) -> int:
    extra = {"BACKEND": {"chrootbuild": "chrootbuild.tasks:Backend"}}
    code: int = DoitMain(_Loader(tasks, reporter), config_filenames=(), extra_config=extra).run(argv)
    return code


def _in_turns(tasks: list[Task], argv: list[str], reporter: Reporter) -> tuple[list[Task], int]:
    """Stage whole targets, some thousand artifacts at a time; return the tasks that are left, and doit's code.

    What was staged needs no task any more. A target of which something could not be staged is not published.
    """
    left: list[Task] = []
    turn: list[Task] = []
    code = worst = 0
    tasks.reverse()
    while tasks:
        task = tasks.pop()
        if isinstance(task, StageTask):
            turn.append(task)
        if turn and (len(turn) == _TURN or task.has_subtask):
            code = max(code, _doit(argv, turn, reporter))
            turn = []
            gc.collect()  # a node of doit's and its generator hold each other
        if task.has_subtask:
            task.task_dep.clear()
            left.append(Task(task.name, None, has_subtask=True) if code else task)
            worst, code = max(worst, code), 0
        elif not isinstance(task, StageTask):
            left.append(task)
    return left, worst


def _all_tasks(run: Run) -> list[Task]:
    from chrootbuild.target.reader import read_targets, select

    targets = read_targets(run.project)
    select(targets, [name.partition(":")[0] for name in run.invocation.names])
    return list(tasks(run, targets))
