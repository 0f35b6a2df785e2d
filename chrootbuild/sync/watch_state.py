"""What watch knows: its targets, what is due, and what happened since."""

from __future__ import annotations

import os
import queue
import signal
import time
from dataclasses import dataclass, field

from chrootbuild.errors import Failure
from chrootbuild.state.project import Project
from chrootbuild.sync.incremental import Remembering
from chrootbuild.sync.log import say, tell
from chrootbuild.sync.refresh import Options
from chrootbuild.sysroot.package_locks import databases
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_targets


@dataclass(slots=True)
class Watched:
    """One target under watch, and what is to be done about it."""

    target: Target
    steps: Remembering = field(default_factory=Remembering)
    due: bool = True
    again: float = 0.0  # not before this time of time.monotonic()
    failed: bool = False


@dataclass(slots=True)
class State:
    """Everything that the loop knows."""

    project: Project
    names: tuple[str, ...]
    options: Options
    quiet: float
    items: queue.SimpleQueue[str]
    watched: dict[str, Watched] = field(default_factory=dict)
    read: frozenset[str] = frozenset()  # of all target files
    # What was said last, by target, so that it is said once: of its refresh, and of its file.
    said: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    limit: str = ""  # of the system, that keeps directories from being watched
    reread: bool = False
    signals: list[int] = field(default_factory=list)
    first: float = 0.0  # when the oldest event of those that wait came
    last: float = 0.0
    sweep: float = 0.0
    summary: str = ""
    litter: bool = False  # what a refresh leaves to the garbage collector

    @property
    def stopping(self) -> bool:
        """Whether this is to end."""
        return any(number in (signal.SIGTERM, signal.SIGINT) for number in self.signals)

    @property
    def folders(self) -> tuple[str, str]:
        """The folders of the target files."""
        return self.project.targets, f"{self.project.targets}/common"

    def is_target_file(self, path: str) -> bool:
        """Tell whether a path is, or could be, a target file."""
        return path in self.read or (path.endswith(".toml") and os.path.dirname(path) in self.folders)

    def touch(self) -> None:
        """Note that something happened now: the quiet time begins anew."""
        self.last = time.monotonic()
        self.first = self.first or self.last


def read(state: State) -> None:
    """Read the target files; what is wrong now is told, and its last good form is kept."""
    state.reread = False
    try:
        targets = read_targets(state.project)
    except Failure as failure:
        tell(state.wrong, "", failure)
        return
    state.wrong.pop("", None)
    wanted = state.names or [name for name, target in targets.targets.items() if not target.manual]
    for name, problem in targets.failures.items():
        if (
            (not state.names or name in state.names)
            and tell(state.wrong, name, problem)
            and name in state.watched
        ):
            say(f"{name}: the last good form of its target file stays in use")
    for name in wanted:
        target = targets.targets.get(name)
        if target is None:
            continue
        state.wrong.pop(name, None)
        watched = state.watched.get(name)
        if watched is None:
            state.watched[name] = Watched(target)
        elif watched.target != target:
            watched.target = target
            watched.due = watched.steps.anew = True
            watched.again = 0.0
    for name in [name for name in state.watched if name not in wanted and name not in targets.failures]:
        say(f"{name}: its target file is gone; its root stays as it is")
        del state.watched[name]
    found = [watched.target for watched in state.watched.values()]
    state.read = frozenset(path for target in found for path in (*target.read, *target.absent))


def directories(state: State) -> set[str]:
    """Return every directory that has to be watched."""
    found = {*state.folders, *(os.path.dirname(path) for path in state.read)}
    return found.union(*map(places, state.watched.values()))


def places(watched: Watched) -> frozenset[str]:
    """Return the directories that a target needs; where it failed, also what a package manager writes at its end."""
    memory = watched.steps.memory
    found = frozenset() if memory is None else memory.directories
    if watched.failed:
        found |= {os.path.dirname(path) for path in databases(watched.target.sysroot)}
    return found
