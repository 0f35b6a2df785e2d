"""Runs doit's own commands over a project, as ``doit`` does in its folder; not a command itself."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from doit.cmd_base import TaskLoader2
from doit.doit_cmd import DoitMain
from doit.task import Task

from chrootbuild.commands import complain
from chrootbuild.errors import TryAgain
from chrootbuild.project import Project
from chrootbuild.tasklist import FAILED, cached_tasks, tasks
from chrootbuild.tasks import DOIT_CONFIG, Invocation

__all__ = ["run_doit"]


class _Loader(TaskLoader2):  # type: ignore[misc]
    """Gives doit tasks that are made when it asks for them."""

    def __init__(self, make: Callable[[], Iterable[Task]]) -> None:
        super().__init__()
        self.make = make

    def load_doit_config(self) -> dict[str, Any]:
        return {**DOIT_CONFIG, "verbosity": 2}

    def load_tasks(self, cmd: object, pos_args: Sequence[str]) -> list[Task]:  # noqa: ARG002
        return list(self.make())


def run_doit(project: Project, command: str, argv: Sequence[str], *, jobs: int | None = None) -> int:
    """Run one of doit's commands and return chrootbuild's exit code; raises Failure.

    ``jobs`` is how many artifacts are staged at once; None leaves it to us.
    """
    # Many small objects, and none of them in a cycle: the collector only costs here.
    gc.disable()
    names = tuple(word for word in argv if not word.startswith("-"))
    busy: list[TryAgain] = []
    found = cached_tasks(project, names) if command == "run" else None
    if found is None:
        found = _all_tasks(project, Invocation(command, names), busy)
    options: list[str] = []
    if command == "run" and jobs != 1 and (jobs or len(found) > _MANY):
        options = ["-n", str(jobs or os.cpu_count() or 1), "-P", "thread"]
    made = found
    main = DoitMain(
        _Loader(lambda: made),
        config_filenames=(),
        extra_config={"BACKEND": {"chrootbuild": "chrootbuild.tasks:Backend"}},
    )
    code = main.run([command, *options, *argv])
    for failure in busy:
        complain(failure)
    codes = [failure.code for failure in FAILED]
    # What is wrong stays wrong until somebody mends it; what was busy is worth another try.
    if codes:
        return max(codes)
    return TryAgain.code if busy else {0: 0, 3: 2}.get(code, 1)


_MANY = 8  # tasks; below that a second thread costs more than it saves


def _all_tasks(project: Project, invocation: Invocation, busy: list[TryAgain]) -> list[Task]:
    from chrootbuild.target import read_targets, select

    targets = read_targets(project)
    select(targets, [name.partition(":")[0] for name in invocation.names])
    return list(tasks(project, targets, invocation, busy))
