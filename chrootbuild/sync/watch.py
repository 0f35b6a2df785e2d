"""Stays, and refreshes targets as their sources change: quiet time, then one refresh, in this process.

All work is done in one thread. What watchdog sees and the signals that arrive are put into a
queue; while nothing happens this process sleeps.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from chrootbuild.console import warn
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.state.project import Project
from chrootbuild.state.stamp import is_fresh
from chrootbuild.sync.events import Watcher
from chrootbuild.sync.log import end_line, notify, ping_seconds, reloading, say, show_status, status, tell
from chrootbuild.sync.refresh import Options, refresh
from chrootbuild.sync.watch_state import State, Watched, directories, places, read
from chrootbuild.target.reader import read_targets, select

_SWEEP = 600.0  # seconds; what no event told is found then, at the latest
_AGAIN = 0.2  # seconds, while somebody else is at work
_LONGEST = 30  # times the quiet time: then what keeps changing is refreshed all the same
_STAMP = 1.0  # seconds of rest before the stamps are written and garbage is collected

# Of the queue: a path that something happened to, or one of these.
_LOST = "\0lost"
_WAKE = "\0wake"


def watch(project: Project, names: Sequence[str], options: Options, quiet: float) -> int:
    """Watch targets until SIGTERM or SIGINT and return 0; ``quiet`` is the quiet time in seconds.

    Raises Failure where nothing can be watched at all, and UsageError for an unknown name.
    """
    items: queue.SimpleQueue[str] = queue.SimpleQueue()
    state = State(project, tuple(names), options, quiet, items)
    state.options = replace(options, wait=0.0, stopped=lambda: state.stopping)
    select(read_targets(project), [name for name in names if name in read_targets(project).targets])
    with _signals(state), _collected_at_rest(), Watcher(items.put, lambda: items.put(_LOST)) as watcher:
        read(state)
        state.sweep = time.monotonic() + _SWEEP
        for _ in range(2):  # the second looks at what changed while the first was not watching yet
            _work(state, watcher)
        notify("READY=1", f"STATUS={_status(state, watcher)}")
        show_status(_status(state, watcher))
        while not state.stopping:
            _step(state, watcher)
        notify("STOPPING=1")
    end_line()
    for watched in state.watched.values():
        _write_stamp(project, watched)
    return 0


@contextmanager
def _signals(state: State) -> Iterator[None]:
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


@contextmanager
def _collected_at_rest() -> Iterator[None]:
    """Leave garbage to _tidy: among so many objects the collector takes longer than a refresh."""
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


# -- the loop ------------------------------------------------------------------------------


def _step(state: State, watcher: Watcher) -> None:
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
            _tidy(state)
        return
    if state.reread:
        read(state)
    _work(state, watcher)
    notify(f"STATUS={_status(state, watcher)}")
    show_status(_status(state, watcher))


def _pause(state: State) -> float:
    """Return for how many seconds there is nothing to do but to wait for events."""
    now = time.monotonic()
    moments = [state.sweep]
    if state.first:
        moments.append(_moment(state))
    else:
        moments += [watched.again for watched in state.watched.values() if watched.due]
    if state.litter or any(watched.steps.unstamped for watched in state.watched.values()):
        moments.append(state.last + _STAMP + 0.01)
    if ping := ping_seconds():
        moments.append(now + ping)
    return max(0.0, min(moments) - now)


def _moment(state: State) -> float:
    """Return when the events that wait have been followed by a quiet time."""
    return min(state.last + state.quiet, state.first + _LONGEST * state.quiet)


def _is_due(state: State, now: float) -> bool:
    if state.first and now >= _moment(state):
        state.first = 0.0
        return True
    if state.first:
        return False
    return any(watched.due and now >= watched.again for watched in state.watched.values())


def _take(state: State, watcher: Watcher, item: str) -> None:
    """Note what happened to one path."""
    if item == _WAKE:
        return
    if item == _LOST:
        say("events were lost: everything is looked at")
        for watched in state.watched.values():
            watched.steps.anew = watched.due = True
        state.reread = True
        state.touch()
        return
    concerned = False
    if state.is_target_file(item):
        state.reread = concerned = True
    renewed = set(watcher.renew(item)) if item in watcher else set()
    for watched in state.watched.values():
        memory = watched.steps.memory
        hit = memory is not None and memory.concerns(item)
        if watched.failed:  # what is missing may turn up where nobody looked before
            hit = os.path.dirname(item) in places(watched)
        if memory is not None and not renewed.isdisjoint(memory.directories):
            watched.steps.anew = hit = True
        if hit:
            watched.steps.changed.add(item)
            watched.due = concerned = True
            watched.again = 0.0
    if concerned:
        state.touch()


def _sweep(state: State) -> None:
    """Look for what no event told: a stamp that still holds proves that there is nothing."""
    state.sweep = time.monotonic() + _SWEEP
    state.litter = True
    gc.unfreeze()
    for name, watched in state.watched.items():
        if is_fresh(state.project.state, name) != watched.target.root:
            watched.due = watched.steps.anew = True
            watched.again = 0.0


def _reload(state: State) -> None:
    """Read everything anew: SIGHUP."""
    state.signals = [number for number in state.signals if number != signal.SIGHUP]
    reloading()
    say("reading everything anew")
    state.reread = True
    for watched in state.watched.values():
        watched.due = watched.steps.anew = True
        watched.again = 0.0
    if not state.first:
        state.first = state.last = time.monotonic() - state.quiet
    notify("READY=1")


# -- the work ------------------------------------------------------------------------------


def _work(state: State, watcher: Watcher) -> None:
    """Refresh what is due, each target once, and watch the directories that count from now on."""
    now = time.monotonic()
    for name, watched in state.watched.items():
        if not watched.due or now < watched.again or state.stopping:
            continue
        try:
            done = refresh(state.project, watched.target, state.options, watched.steps)
        except TryAgain as busy:
            watched.again = time.monotonic() + _AGAIN
            tell(state.said, name, busy)
            continue
        except Failure as failure:
            watched.due, watched.again = False, 0.0
            watched.failed = watched.steps.anew = True
            tell(state.said, name, failure)
            continue
        watched.due, watched.again, watched.failed = False, 0.0, False
        state.said.pop(name, None)
        if done:
            say(done.removesuffix("\n"))
            state.litter = True
            state.summary = f"{name} {time.strftime('%H:%M:%S')}"
    new = watcher.watch(directories(state))
    _say_unwatched(state, watcher)
    for watched in state.watched.values() if new else ():
        # Something may have changed there after the plan was made, and before it was watched.
        memory = watched.steps.memory
        if memory is not None:
            watched.steps.changed |= {path for path in memory.names if os.path.dirname(path) in new}
            watched.due = watched.due or bool(watched.steps.changed)


def _say_unwatched(state: State, watcher: Watcher) -> None:
    """Say once which limit of the system was reached: what nobody tells of is found by the sweep."""
    count, limit = watcher.unwatched
    if limit and limit != state.limit:
        end_line()
        warn(
            f"{count:,} directories are not watched: {limit}; what changes there is found every"
            f" {_SWEEP / 60:.0f} minutes (hint: raise it with sysctl(8), see inotify(7))"
        )
    state.limit = limit


def _tidy(state: State) -> None:
    """Do what a refresh need not wait for."""
    for watched in state.watched.values():
        _write_stamp(state.project, watched)
    if state.litter:
        state.litter = False
        gc.collect()
        gc.freeze()  # what is left stays for long: the next time it is not looked at, until the next sweep


def _write_stamp(project: Project, watched: Watched) -> None:
    if watched.steps.unstamped and not watched.due:
        with suppress(Failure):
            watched.steps.write_stamp(project)


def _status(state: State, watcher: Watcher) -> str:
    memories = [
        watched.steps.memory for watched in state.watched.values() if watched.steps.memory is not None
    ]
    count = sum(len(memory.assessment.plan.artifacts) for memory in memories)
    waiting = {*state.said, *state.wrong} - {""}
    return status(len(state.watched), count, watcher.directories, state.summary, waiting)
