"""A root brought up to date with nobody watching: build, verify, check, restart once (cron, hooks, watch).

What was published and not yet checked, or not yet restarted, is remembered in
PROJECT state NAME.pending: a refresh that is killed, or whose check fails, is taken up by the next one.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from chrootbuild.build.job import Job, begin, run, stage_all
from chrootbuild.build.report import changes_text
from chrootbuild.compare.drift import inspect
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.findings import Finding, as_text, failed
from chrootbuild.publish.publish import Published
from chrootbuild.root.tree import Root, read_root
from chrootbuild.state.lock import alone
from chrootbuild.state.project import Project
from chrootbuild.state.record import Record, read_record
from chrootbuild.sync.pending import drop_pending, note_pending, read_pending
from chrootbuild.sync.rollback import backup, drop_backup, quarantine, refuse_quarantined, roll_back
from chrootbuild.sysroot.package_locks import at_work, state_of, wait_until_idle
from chrootbuild.system.processes import running_outdated
from chrootbuild.system.programs import find_shell
from chrootbuild.target.model import Target
from chrootbuild.text import printable

_RESTART_SECONDS = 300.0

# Runs a target's [check] on its root as it is now.
Checker = Callable[[Project, Target], tuple[Finding, ...]]


class Steps(Protocol):
    """How a refresh begins its builds, and who is told how they ended."""

    def begin(self, project: Project, target: Target, wait: float) -> Job:
        """Lock, plan and compare, as build.begin does."""

    def done(self, job: Job, published: Published | None) -> None:
        """Hear what a job has published, under its lock; None where nothing was stale."""


class Anew:
    """A build as everywhere else: a new plan, everything compared."""

    def begin(self, project: Project, target: Target, wait: float) -> Job:
        """Lock, plan and compare; raises as build.begin does."""
        return begin(project, target, wait=wait)

    def done(self, job: Job, published: Published | None) -> None:
        """Remember nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to refresh."""

    wait: float = 600.0  # seconds, for the lock and for the package manager
    checker: Checker | None = None  # None: without a check
    rollback: bool = False  # put the former files back where the check fails
    stopped: Callable[[], bool] = lambda: False  # asked while it waits: then it gives up


def refresh(project: Project, target: Target, options: Options, steps: Steps | None = None) -> str:
    """Bring one target up to date and return what was done, as text; empty where nothing was.

    Raises TryAgain where somebody else is at work longer than ``options.wait``, TargetError, and
    Failure: the one message says all that was done before it failed.
    """
    until = time.monotonic() + options.wait
    with alone(project, target.name, "refresh", max(0.0, until - time.monotonic())):
        built = _built(project, target, options, steps or Anew(), until)
        done = built.text
        with built.job:
            pending = read_pending(project, target)
            if not done and pending is None:
                drop_backup(project, target)
                return ""
            try:
                _prove(built.job, options)
            except _CheckError as failure:
                raise _refused(built.job, failure, done, options) from None
            drop_backup(project, target)
        # Without the lock: the service's unit may build by itself before it starts.
        done += _restart(target, done)
        if pending is not None:
            drop_pending(project, target.name)
        return done + _outdated(project, target, {*built.gone, *(pending or ())})


# -- building ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Built:
    job: Job  # to be closed
    text: str = ""  # what was done
    gone: tuple[str, ...] = ()  # the paths that were replaced or removed


class _MovedError(Exception):
    """A package manager came in between: the plan does not hold any more."""


def _built(project: Project, target: Target, options: Options, steps: Steps, until: float) -> _Built:
    """Plan, stage and publish while no package manager is at work; the lock is held."""
    while True:
        wait_until_idle(target.sysroot, until, name=target.name, stopped=options.stopped)
        before = state_of(target.sysroot)

        def moved(before: object = before) -> bool:
            return bool(at_work(target.sysroot)) or state_of(target.sysroot) != before

        if options.stopped():
            raise TryAgain(f"refresh {target.name}", "it was told to end")
        try:
            job = steps.begin(project, target, max(0.0, until - time.monotonic()))
        except TryAgain:
            raise
        except Failure:
            if not moved() or time.monotonic() >= until:
                raise
            continue
        with contextlib.ExitStack() as unless_built:
            unless_built.push(job)
            try:
                built = _published(job, options, steps, moved)
            except _MovedError:
                continue
            unless_built.pop_all()
            return built


def _published(job: Job, options: Options, steps: Steps, moved: Callable[[], bool]) -> _Built:
    """Stage what is stale and publish it; raises _MovedError and Failure."""
    target, record = job.assessment.target, job.assessment.record
    if options.rollback:
        refuse_quarantined(job)
    published = run(job, lambda job: _stage(job, options, moved))
    steps.done(job, published)
    if published is None:
        return _Built(job)
    gone = tuple(path for path in job.stale if record is not None and path in record.artifacts)
    return _Built(job, changes_text(job.name, target.root, job.stale, published, record is None), gone)


def _stage(job: Job, options: Options, moved: Callable[[], bool]) -> None:
    """Stage what is stale, and write down what is needed where the check fails or this is killed."""
    target = job.assessment.target
    try:
        stage_all(job)
    except Failure:
        if moved():
            raise _MovedError from None
        raise
    if moved():
        raise _MovedError
    checked = options.checker is not None and bool(target.check.run or target.check.service)
    if checked and options.rollback:
        backup(job, proven=read_pending(job.project, target) is None)
    if checked or target.host.restart:
        note_pending(job)


# -- proof ---------------------------------------------------------------------------------


class _CheckError(Exception):
    """The root was built and does not serve."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__()
        self.findings = findings


def _prove(job: Job, options: Options) -> None:
    """Look at what was installed, and run the target's check; raises _CheckError and Failure."""
    target = job.assessment.target
    if (
        job.assessment.sysroot is not None
    ):  # else only what was published now was looked at: publish has signed it
        root = read_root(target.root)
        record = None if root is None else read_record(job.project, target.name, target.root)
        if root is None or record is None:
            raise Failure(
                f"cannot check {target.name}: {target.root} is gone", hint=f"chrootbuild build {target.name}"
            )
        with root:
            drift = tuple(_drift(record, root))
        if drift:
            raise _CheckError(drift)
    if options.checker is not None and (target.check.run or target.check.service):
        findings = options.checker(job.project, target)
        if failed(findings):
            raise _CheckError(findings)


def _drift(record: Record, root: Root) -> Iterator[Finding]:
    """Yield what is not as it was installed, by signatures: verify reads every byte."""
    for path, entry in record.artifacts.items():
        info = root.lstat(path)
        difference = "is gone" if info is None else inspect(root, path, entry, info)
        if difference:
            yield Finding("error", "drift", path, difference)


def _refused(job: Job, failure: _CheckError, done: str, options: Options) -> Failure:
    """Return the one message of an update whose check failed, after the former files were put back."""
    name = job.name
    details = [*as_text(name, failure.findings).splitlines()[1:]]
    hint = f"chrootbuild check {name} shows it again; the service was not restarted"
    if options.rollback:
        restored = roll_back(job)
        if restored:
            quarantine(job)
            drop_pending(job.project, name)
            drop_backup(job.project, job.assessment.target)
            message = f"cannot update {name}: its check failed, and the former files were put back"
            hint = f"chrootbuild build {name} installs the update all the same, to look at it"
            return Failure(message, details=(*details, *restored), hint=hint)
    what = "after the update" if done else "again, after an earlier update"
    return Failure(
        f"cannot restart {name}: its check failed {what}", details=(*details, *done.splitlines()), hint=hint
    )


# -- restart -------------------------------------------------------------------------------


def _restart(target: Target, done: str) -> str:
    """Run the target's restart once, on the host; returns a line. Raises Failure."""
    command = target.host.restart
    if not command:
        return ""
    # A file, not a pipe: a daemon that keeps it open shall not keep us waiting.
    with tempfile.TemporaryFile() as output:
        try:
            status = subprocess.run(
                [find_shell(), "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_RESTART_SECONDS,
                check=False,
            ).returncode
            why = f"exit status {status}" if status > 0 else f"ended by signal {-status}" if status else ""
        except subprocess.TimeoutExpired:
            why = f"it did not end within {_RESTART_SECONDS:g} seconds"
        if not why:
            return f"restarted: {printable(command)}\n"
        output.seek(0)
        said = output.read(1 << 16).decode("utf-8", "replace").splitlines()[-10:]
    raise Failure(
        f"cannot restart {target.name}: {printable(command)}: {why}",
        details=(*map(printable, said), *done.splitlines()),
        hint="the root is up to date and passed its check; the next refresh tries to restart it again",
    )


def _outdated(project: Project, target: Target, gone: Iterable[str]) -> str:
    """Name the processes that still run on files that were replaced or removed."""

    def in_place() -> Iterator[int]:
        record = read_record(project, target.name, target.root)
        yield from () if record is None else (entry.root[0] for entry in record.artifacts.values())

    found = running_outdated(target.root, gone, in_place)
    if not found:
        return ""
    names = ", ".join(f"{name} (pid {pid})" for pid, name in found)
    verb, noun = ("runs", "process") if len(found) == 1 else ("run", "processes")
    return f"{len(found)} {noun} still {verb} on files that were replaced or removed: {names}\n"
