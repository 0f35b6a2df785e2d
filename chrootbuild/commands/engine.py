"""Runs doit's own commands over a project, as ``doit`` does in its folder; not a command itself."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import Any

from doit.cmd_base import TaskLoader2
from doit.doit_cmd import DoitMain

from chrootbuild.commands import complain
from chrootbuild.errors import TryAgain
from chrootbuild.project import Project
from chrootbuild.target import Targets, read_targets, select
from chrootbuild.tasklist import FAILED, tasks
from chrootbuild.tasks import DOIT_CONFIG, Invocation

__all__ = ["run_doit"]


class _Loader(TaskLoader2):  # type: ignore[misc]
    """Gives doit the tasks of a project; says what failed to load, and goes on."""

    def __init__(self, project: Project, targets: Targets, invocation: Invocation) -> None:
        super().__init__()
        self.project, self.targets, self.invocation = project, targets, invocation
        self.busy: list[TryAgain] = []

    def load_doit_config(self) -> dict[str, Any]:
        return {**DOIT_CONFIG, "verbosity": 2}

    def load_tasks(self, cmd: object, pos_args: Sequence[str]) -> list[Any]:  # noqa: ARG002
        return list(tasks(self.project, self.targets, self.invocation, self.busy))


def run_doit(project: Project, command: str, argv: Sequence[str], *, jobs: int | None = None) -> int:
    """Run one of doit's commands and return chrootbuild's exit code; raises Failure.

    ``jobs`` is how many artifacts are staged at once; None leaves it to us.
    """
    # Millions of small objects, none of them in a cycle: the collector only costs here.
    gc.disable()
    targets = read_targets(project)
    names = [word for word in argv if not word.startswith("-")]
    select(targets, [name.partition(":")[0] for name in names])
    loader = _Loader(project, targets, Invocation(command, tuple(names)))
    main = DoitMain(
        loader, config_filenames=(), extra_config={"BACKEND": {"chrootbuild": "chrootbuild.tasks:Backend"}}
    )
    options = (
        ["-n", str(jobs or os.cpu_count() or 1), "-P", "thread"] if command == "run" and jobs != 1 else []
    )
    code = main.run([command, *options, *argv])
    for failure in loader.busy:
        complain(failure)
    codes = [failure.code for failure in FAILED]
    # What is wrong stays wrong until somebody mends it; what was busy is worth another try.
    if codes:
        return max(codes)
    return TryAgain.code if loader.busy else {0: 0, 3: 2}.get(code, 1)
