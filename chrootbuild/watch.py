"""Stays, and refreshes targets as their sources change: quiet time, then one refresh, in this process.

All work is done in one thread. What watchdog sees and the signals that arrive are put into a
queue; while nothing happens this process sleeps.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import FrameType

from chrootbuild.commands import complain
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.packagemanager import databases
from chrootbuild.project import Project
from chrootbuild.refresh import Options, refresh
from chrootbuild.report import printable
from chrootbuild.spec import Target
from chrootbuild.stamp import is_fresh
from chrootbuild.target import read_targets, select
from chrootbuild.watchevents import Watcher
from chrootbuild.watchmemory import Remembering
from chrootbuild.watchnotify import notify, ping_seconds, reloading

__all__ = ["watch"]

_SWEEP = 600.0  # seconds; what no event told is found then, at the latest
_AGAIN = 0.2  # seconds, while somebody else is at work
_LONGEST = 30  # times the quiet time: then what keeps changing is refreshed all the same
_STAMP = 1.0  # seconds of rest before the stamps are written

# Of the queue: a path that something happened to, or one of these.
_LOST = "\0lost"
_WAKE = "\0wake"


@dataclass(slots=True)
class _Watched:
    """One target under watch, and what is to be done about it."""

    target: Target
    steps: Remembering = field(default_factory=Remembering)
    due: bool = True
    again: float = 0.0  # not before this time of time.monotonic()
    failed: bool = False


@dataclass(slots=True)
class _State:
    """Everything that the loop knows."""

    project: Project
    names: tuple[str, ...]
    options: Options
    quiet: float
    items: queue.SimpleQueue[str]
    watched: dict[str, _Watched] = field(default_factory=dict)
    read: frozenset[str] = frozenset()  # of all target files
    # What was said last, by target, so that it is said once: of its refresh, and of its file.
    said: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    reread: bool = False
    signals: list[int] = field(default_factory=list)
    first: float = 0.0  # when the oldest event of those that wait came
    last: float = 0.0
    sweep: float = 0.0
    summary: str = ""

    @property
    def stopping(self) -> bool:
        """Whether this is to end."""
        return any(number in (signal.SIGTERM, signal.SIGINT) for number in self.signals)


def watch(project: Project, names: Sequence[str], options: Options, quiet: float) -> int:
    """Watch targets until SIGTERM or SIGINT and return 0; ``quiet`` is the quiet time in seconds.

    Raises Failure where nothing can be watched at all, and UsageError for an unknown name.
    """
    items: queue.SimpleQueue[str] = queue.SimpleQueue()
    state = _State(project, tuple(names), options, quiet, items)
    state.options = replace(options, wait=0.0, stopped=lambda: state.stopping)
    select(read_targets(project), [name for name in names if name in read_targets(project).targets])
    with _signals(state), Watcher(items.put, lambda: items.put(_LOST)) as watcher:
        _read(state)
        state.sweep = time.monotonic() + _SWEEP
        for _ in range(2):  # the second looks at what changed while the first was not watching yet
            _work(state, watcher)
        notify("READY=1", f"STATUS={_status(state, watcher)}")
        _say_status(state, watcher)
        while not state.stopping:
            _step(state, watcher)
        notify("STOPPING=1")
    _end_line()
    for watched in state.watched.values():
        _write_stamp(project, watched)
    return 0


@contextmanager
def _signals(state: _State) -> Iterator[None]:
    """Let signals be noted and wake the loop."""

    def note(number: int, _: FrameType | None) -> None:
        state.signals.append(number)
        state.items.put(_WAKE)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- the loop ------------------------------------------------------------------------------


def _step(state: _State, watcher: Watcher) -> None:
    """Wait for what comes next, and do what is due."""
    with suppress(queue.Empty):
        item = state.items.get(timeout=_pause(state))
        while True:
            _take(state, watcher, item)
            item = state.items.get_nowait()
    if ping_seconds():
        notify("WATCHDOG=1")
    if signal.SIGHUP in state.signals:
        _reload(state)
    now = time.monotonic()
    if now >= state.sweep:
        _sweep(state)
    if state.stopping or not _is_due(state, now):
        if not state.first and now - state.last > _STAMP:
            for watched in state.watched.values():
                _write_stamp(state.project, watched)
        return
    if state.reread:
        _read(state)
    _work(state, watcher)
    notify(f"STATUS={_status(state, watcher)}")
    _say_status(state, watcher)


def _pause(state: _State) -> float:
    """Return for how many seconds there is nothing to do but to wait for events."""
    now = time.monotonic()
    moments = [state.sweep]
    if state.first:
        moments.append(_moment(state))
    else:
        moments += [watched.again for watched in state.watched.values() if watched.due]
    if any(watched.steps.unstamped for watched in state.watched.values()):
        moments.append(state.last + _STAMP + 0.01)
    if ping := ping_seconds():
        moments.append(now + ping)
    return max(0.0, min(moments) - now)


def _moment(state: _State) -> float:
    """Return when the events that wait have been followed by a quiet time."""
    return min(state.last + state.quiet, state.first + _LONGEST * state.quiet)


def _is_due(state: _State, now: float) -> bool:
    if state.first and now >= _moment(state):
        state.first = 0.0
        return True
    if state.first:
        return False
    return any(watched.due and now >= watched.again for watched in state.watched.values())


def _take(state: _State, watcher: Watcher, item: str) -> None:
    """Note what happened to one path."""
    if item == _WAKE:
        return
    if item == _LOST:
        _say("events were lost: everything is looked at")
        for watched in state.watched.values():
            watched.steps.anew = watched.due = True
        state.reread = True
        _touch(state)
        return
    concerned = False
    if item in state.read or _is_target_file(state, item):
        state.reread = concerned = True
    renewed = set(watcher.renew(item)) if item in watcher else set()
    for watched in state.watched.values():
        memory = watched.steps.memory
        hit = memory is not None and memory.concerns(item)
        if watched.failed:  # what is missing may turn up where nobody looked before
            hit = os.path.dirname(item) in _places(watched)
        if memory is not None and not renewed.isdisjoint(memory.directories):
            watched.steps.anew = hit = True
        if hit:
            watched.steps.changed.add(item)
            watched.due = concerned = True
            watched.again = 0.0
    if concerned:
        _touch(state)


def _touch(state: _State) -> None:
    state.last = time.monotonic()
    state.first = state.first or state.last


def _is_target_file(state: _State, path: str) -> bool:
    return path.endswith(".toml") and os.path.dirname(path) in _target_folders(state)


def _target_folders(state: _State) -> tuple[str, ...]:
    return state.project.targets, f"{state.project.targets}/common"


def _sweep(state: _State) -> None:
    """Look for what no event told: a stamp that still holds proves that there is nothing."""
    state.sweep = time.monotonic() + _SWEEP
    for name, watched in state.watched.items():
        if is_fresh(state.project.state, name) != watched.target.root:
            watched.due = watched.steps.anew = True
            watched.again = 0.0


def _reload(state: _State) -> None:
    """Read everything anew: SIGHUP."""
    state.signals = [number for number in state.signals if number != signal.SIGHUP]
    reloading()
    _say("reading everything anew")
    state.reread = True
    for watched in state.watched.values():
        watched.due = watched.steps.anew = True
        watched.again = 0.0
    if not state.first:
        state.first = state.last = time.monotonic() - state.quiet
    notify("READY=1")


# -- the work ------------------------------------------------------------------------------


def _read(state: _State) -> None:
    """Read the target files; what is wrong now is told, and its last good form is kept."""
    state.reread = False
    try:
        targets = read_targets(state.project)
    except Failure as failure:
        _tell(state.wrong, "", failure)
        return
    state.wrong.pop("", None)
    wanted = state.names or [name for name, target in targets.targets.items() if not target.manual]
    for name, problem in targets.failures.items():
        if (
            (not state.names or name in state.names)
            and _tell(state.wrong, name, problem)
            and name in state.watched
        ):
            _say(f"{name}: the last good form of its target file stays in use")
    for name in wanted:
        target = targets.targets.get(name)
        if target is None:
            continue
        state.wrong.pop(name, None)
        watched = state.watched.get(name)
        if watched is None:
            state.watched[name] = _Watched(target)
        elif watched.target != target:
            watched.target = target
            watched.due = watched.steps.anew = True
            watched.again = 0.0
    for name in [name for name in state.watched if name not in wanted and name not in targets.failures]:
        _say(f"{name}: its target file is gone; its root stays as it is")
        del state.watched[name]
    found = [watched.target for watched in state.watched.values()]
    state.read = frozenset(path for target in found for path in (*target.read, *target.absent))


def _work(state: _State, watcher: Watcher) -> None:
    """Refresh what is due, each target once, and watch the directories that count from now on."""
    now = time.monotonic()
    for name, watched in state.watched.items():
        if not watched.due or now < watched.again or state.stopping:
            continue
        try:
            done = refresh(state.project, watched.target, state.options, watched.steps)
        except TryAgain as busy:
            watched.again = time.monotonic() + _AGAIN
            _tell(state.said, name, busy)
            continue
        except Failure as failure:
            watched.due, watched.again = False, 0.0
            watched.failed = watched.steps.anew = True
            _tell(state.said, name, failure)
            continue
        watched.due, watched.again, watched.failed = False, 0.0, False
        state.said.pop(name, None)
        if done:
            _say(done.removesuffix("\n"))
            state.summary = f"{name} {time.strftime('%H:%M:%S')}"
    new = watcher.watch(_directories(state))
    for watched in state.watched.values() if new else ():
        # Something may have changed there after the plan was made, and before it was watched.
        memory = watched.steps.memory
        if memory is not None:
            watched.steps.changed |= {path for path in memory.names if os.path.dirname(path) in new}
            watched.due = watched.due or bool(watched.steps.changed)


def _directories(state: _State) -> set[str]:
    found = {*_target_folders(state), *(os.path.dirname(path) for path in state.read)}
    return found.union(*map(_places, state.watched.values()))


def _places(watched: _Watched) -> frozenset[str]:
    """Return the directories that a target needs; where it failed, also what a package manager writes at its end."""
    memory = watched.steps.memory
    found = frozenset() if memory is None else memory.directories
    if watched.failed:
        found |= {os.path.dirname(path) for path in databases(watched.target.sysroot)}
    return found


def _write_stamp(project: Project, watched: _Watched) -> None:
    if watched.steps.unstamped and not watched.due:
        with suppress(Failure):
            watched.steps.write_stamp(project)


# -- what people see -----------------------------------------------------------------------


def _tell(said: dict[str, str], key: str, failure: Failure) -> bool:
    """Print what went wrong, if it is not what was said of it last; that somebody is at work is worth one line."""
    if said.get(key) == str(failure):
        return False
    said[key] = str(failure)
    if isinstance(failure, TryAgain):
        _say(f"{key} waits: {failure.message.partition(': ')[2]}")
    else:
        _end_line()
        complain(failure)
    return True


def _status(state: _State, watcher: Watcher) -> str:
    count = sum(
        len(watched.steps.memory.prepared.plan.artifacts)
        for watched in state.watched.values()
        if watched.steps.memory is not None
    )
    waiting = sorted({*state.said, *state.wrong} - {""})
    text = f"watching {len(state.watched)} targets, {count} artifacts, {watcher.directories} directories"
    text = text.replace(" 1 targets", " 1 target")
    text += f"; last refresh: {state.summary}" if state.summary else ""
    return text + (f"; not up to date: {', '.join(waiting)}" if waiting else "")


def _say(text: str) -> None:
    """Print log lines."""
    _end_line()
    with suppress(OSError):
        sys.stdout.write(printable_lines(text) + "\n")
        sys.stdout.flush()


def printable_lines(text: str) -> str:
    """Return a text of several lines without what could move a cursor."""
    return "\n".join(map(printable, text.split("\n")))


def _say_status(state: _State, watcher: Watcher) -> None:
    """Show the status line on a terminal; log nothing."""
    if sys.stdout.isatty():
        with suppress(OSError):
            sys.stdout.write(f"\r\x1b[K{printable(_status(state, watcher))}")
            sys.stdout.flush()


def _end_line() -> None:
    """Clear the status line before something else is printed."""
    if sys.stdout.isatty():
        with suppress(OSError):
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
