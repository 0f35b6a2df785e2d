"""What doit needs to know of us: its settings, and the tasks of a project.

doit sees every task for ``list``, ``info`` and ``clean``; for a run it gets
those that are stale. What is fresh is decided by record and stamp, not by
doit's own database: its backend here remembers nothing. Where nothing is
stale, nothing else of the package is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import getopt
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from doit.cmd_base import DodoTaskLoader, DoitCmdBase
from doit.dependency import FileChangedChecker
from doit.exceptions import InvalidCommand
from doit.reporter import ConsoleReporter
from doit.task import Task

from chrootbuild.errors import Failure, TryAgain
from chrootbuild.project import find_project
from chrootbuild.quick import look_at, nothing_stale

if TYPE_CHECKING:
    from chrootbuild.console import Progress

__all__ = ["DOIT_CONFIG", "Backend", "Invocation", "path_of", "quoted", "task_name", "tasks_of_dodo"]

_UNSAFE = "%=*?[]"  # doit refuses = in a task's name and takes * ? [ as a pattern


def quoted(text: str) -> str:
    """Return a text as a part of a task's name: % = * ? [ ] as %XX."""
    return "".join(f"%{ord(char):02X}" if char in _UNSAFE else char for char in text)


def task_name(target: str, path: str) -> str:
    """Return the task of a path: NAME:/path, quoted."""
    return f"{target}:{quoted(path)}"


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


@dataclass(frozen=True, slots=True)
class Invocation:
    """What doit was called for: its command, and the tasks that were named."""

    command: str
    names: tuple[str, ...] = ()

    @classmethod
    def of_argv(cls, argv: Sequence[str], commands: AbstractSet[str]) -> Invocation:
        """Read it from a command line, as doit does: the command is the first word, else ``run``."""
        words = [word for word in argv if word.startswith("-") or "=" not in word]
        command = words.pop(0) if words and words[0] in commands else "run"
        return cls(command, tuple(_names_in(command, words)))

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


def _names_in(command: str, words: list[str]) -> list[str]:
    """Return the words that are no options of a doit command, nor the values of some (-n 2)."""
    if not any(word.startswith("-") for word in words):
        return words
    from doit.doit_cmd import DoitMain

    kind = next((kind for kind in DoitMain.DOIT_CMDS if kind.get_name() == command), DoitMain.DOIT_CMDS[0])
    options = [*DoitCmdBase.base_options, *DodoTaskLoader.cmd_options, *kind.cmd_options]
    short, long = "", []
    for option in options:
        valued = option["type"] is not bool
        short += option.get("short", "") + (":" if valued and option.get("short") else "")
        if option.get("long"):
            long.append(option["long"] + ("=" if valued else ""))
        if option.get("inverse"):
            long.append(option["inverse"])
    try:
        return getopt.getopt(words, short, long)[1]
    except getopt.GetoptError:  # doit says it better
        return [word for word in words if not word.startswith("-")]


def _names(word: str, target: str, root: str) -> bool:
    name = path_of(word)[0]
    return name == target or "*" in word or word.startswith(root + "/")


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
        from chrootbuild.tasklist import Run, cached_tasks, tasks

        run = Run(project, invocation, looks or {})
        atexit.register(_close, run.jobs, os.getpid())
        if building and (found := cached_tasks(run)) is not None:
            yield from found
            return
        from chrootbuild.target import read_targets

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
