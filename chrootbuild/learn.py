"""learn: a target's ``[check]`` traced on a copy of its sysroot, then inside its root, until it passes.

What was seen goes into targets/NAME.learned.toml (learn_file.py). Nothing that lives is touched
but the target's root, which is built as ever: every run is in a box (confine.py).
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chrootbuild.artifact import Kind, Plan
from chrootbuild.build import begin, finish, stage_one
from chrootbuild.check import Users, check, trial
from chrootbuild.confine import Confinement
from chrootbuild.elf import Memo, Resolver
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.findings import Finding, failed
from chrootbuild.foreign import refuse_foreign
from chrootbuild.host import Host
from chrootbuild.learn_file import LearnedFile
from chrootbuild.learn_lay import lay
from chrootbuild.plan import system_of
from chrootbuild.prepare import make_plan
from chrootbuild.project import Project
from chrootbuild.proof import users_of
from chrootbuild.record import locked, read_record
from chrootbuild.root import read_root
from chrootbuild.spec import Target
from chrootbuild.target import read_target
from chrootbuild.trace.access import Event
from chrootbuild.trace.closures import known
from chrootbuild.trace.detect import detect, parse
from chrootbuild.trace.follow import follow
from chrootbuild.trace.known import Known, Proposal, Proposals, Refusal
from chrootbuild.trace.propose import missing, propose
from chrootbuild.verify import verify

__all__ = ["Lesson", "Scene", "Tell", "build", "events_of", "learn", "learn_from", "prove", "tracer"]

_ROUNDS = 12  # of builds and checks; each but the last has added something
_HEAD = 1 << 16  # bytes that tell who wrote a trace

# Told what is going on, for whoever waits at a terminal.
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned, and whether the root serves with it."""

    file: str  # as people are shown it
    added: tuple[Proposal, ...] = ()
    refused: tuple[Refusal, ...] = ()
    findings: tuple[Finding, ...] = ()  # of the last check; an error among them: it does not serve
    dropped: tuple[tuple[str, str], ...] = ()  # by --minimize: (key, value)
    rounds: int = 0  # checks of the root


@dataclass(frozen=True, slots=True)
class Scene:
    """A target as it is now: what it is planned to have, and the sysroot."""

    target: Target
    plan: Plan
    host: Host
    users: Users
    known: Known

    @property
    def confinement(self) -> Confinement:
        """What a box of its root is made of."""
        nodes = {
            path: artifact.device
            for path, artifact in self.plan.artifacts.items()
            if artifact.kind is Kind.NODE and artifact.device is not None
        }
        return Confinement(self.target.root, tuple(item.value for item in self.target.mounts), nodes)


@dataclass(slots=True)
class _Course:
    """A lesson while it is being learned."""

    file: LearnedFile
    tell: Tell
    added: dict[tuple[str, str], Proposal] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    spare: tuple[Proposal, ...] = ()  # tried when nothing else is missing
    rounds: int = 0
    on_the_host: str = ""  # why the check fails there, if it does

    def take(self, proposals: Proposals) -> None:
        """Note what is left out, and what is tried later."""
        self.spare += proposals.optional
        for refusal in proposals.refused:
            self.refused.setdefault(refusal.path, refusal)

    def add(self, entries: Sequence[Proposal]) -> bool:
        """Write down what is new; tell whether anything was."""
        new, unfit = self.file.add([one for one in entries if one.value not in self.refused])
        self.added.update(((one.key, one.value), one) for one in new)
        self.refused.update((one.path, one) for one in unfit)
        return bool(new)

    def lesson(self, findings: Iterable[Finding]) -> Lesson:
        """Return what was learned so far."""
        found = tuple(findings)
        if failed(found) and self.on_the_host:
            fact = f"on a copy of the host it fails as well, so that files may not be the reason: {self.on_the_host}"
            found = (*found, Finding("note", "on-the-host", "", fact))
        return Lesson(
            self.file.shown,
            tuple(self.added.values()),
            tuple(one for _, one in sorted(self.refused.items())),
            found,
            rounds=self.rounds,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one traced check of the root showed."""

    findings: tuple[Finding, ...]
    missing: tuple[Proposals, ...]
    last: tuple[Proposals, ...]  # for the last resort


def _quiet(_: str) -> None:
    """Tell nobody."""


def learn(project: Project, name: str, tell: Tell = _quiet) -> Lesson:
    """Find what a target's service needs beside what the target names, and add it to its learned file.

    Raises Failure where nothing can be learned: no [check], no strace(1), no namespaces, a
    target that cannot be planned.
    """
    target = read_target(project, name)
    strace = tracer(target)
    with alone(project, name):
        course = _Course(LearnedFile(project, name), tell)
        if course.file.exists():
            findings = prove(project, _built(course))
            if not failed(findings):
                return course.lesson(findings)
        findings = _on_the_host(course, strace)
        return course.lesson(findings or _in_the_root(course, strace))


def learn_from(project: Project, name: str, path: str) -> Lesson:
    """Add what a trace taken anywhere shows to a target's learned file; nothing is run or built.

    ``path`` is a text of strace(1), kdump(1) or truss(1). Raises Failure.
    """
    course = _Course(LearnedFile(project, name), _quiet)
    scene = scene_of(project, name)
    proposals = propose(events_of(path), scene.host, scene.known)
    course.take(proposals)
    course.add(proposals.entries)
    return course.lesson(())


def tracer(target: Target) -> str:
    """Return the real path of strace(1); raises Failure where a target cannot be traced."""
    if not target.check.run and target.check.service is None:
        raise Failure(
            f"cannot learn {target.name}: [check] has no run and no service",
            hint="say in [check.service] how it is started and what proves that it serves;"
            f" a trace of your own does without: chrootbuild learn {target.name} --from FILE",
        )
    refuse_foreign(target, "learn")
    strace = shutil.which("strace")
    if strace is None:
        raise Failure(
            f"cannot learn {target.name}: strace is not installed",
            hint=f"apt-get install strace; or take a trace elsewhere: chrootbuild learn {target.name} --from FILE",
        )
    return strace


@contextlib.contextmanager
def alone(project: Project, name: str) -> Iterator[None]:
    """Let one learn of a target go on at a time; raises TryAgain."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(project, f"{name}.learn"))
        except TryAgain as busy:
            who = busy.message.partition(": ")[2].removesuffix(" on it")
            raise TryAgain(f"cannot learn {name}: {who} on it", hint="wait until it is done") from None
        yield


# -- the target as it is now ---------------------------------------------------------------


def scene_of(project: Project, name: str) -> Scene:
    """Plan a target as its files are now; raises TargetError."""
    target = read_target(project, name)
    plan, host = make_plan(project, target)
    return _scene(project, target, plan, host)


def build(project: Project, name: str) -> Scene:
    """Build a target as its files are now, and say nothing; raises TargetError, TryAgain and Failure."""
    target = read_target(project, name)
    job = begin(project, target)
    with job.lock:
        for change in job.stale.values():
            if change.artifact is not None:
                stage_one(target.root, change.artifact)
        if job.stale or job.unplanted:
            finish(job, quiet=True)
    plan, host = job.prepared.plan, job.prepared.host
    if host is None:
        return scene_of(project, name)
    return _scene(project, target, plan, host)


def _scene(project: Project, target: Target, plan: Plan, host: Host) -> Scene:
    users = users_of(target, host)
    service = target.check.service
    memo = Memo.load(f"{project.state}/{target.name}.memo")
    resolver = Resolver(host, memo, system_of(target, host))
    return Scene(target, plan, host, users, known(plan, resolver, users(service.user).uid if service else 0))


def events_of(path: str) -> Iterator[Event]:
    """Yield what the processes of a trace text did; raises Failure where it is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            if not head and path.startswith("/proc/"):
                return  # of a program that could not be started
            kind = detect(head, path)
            file.seek(0)
            yield from follow(parse(file, kind))
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", hint="name the text of a trace") from None


# -- one run -------------------------------------------------------------------------------


def _on_the_host(course: _Course, strace: str) -> tuple[Finding, ...]:
    """Trace the check on a throw-away overlay of the sysroot, and add what it used.

    Returns findings where there is no use in going on: what is to prepare it failed.
    """
    project, name = course.file.project, course.file.name
    scene = scene_of(project, name)
    course.tell("tracing the check on a copy of the host")
    run = trial(
        Confinement(scene.target.sysroot, system=True),
        scene.target.check,
        scene.users,
        strace=strace,
        privileges=bool(scene.target.setuid),
        arrange=lambda box: lay(box, scene.target, scene.plan, scene.host, scene.users),
    )
    try:
        if _hopeless(run.findings):
            return run.findings
        errors = (finding.message for finding in run.findings if finding.severity == "error")
        course.on_the_host = next(errors, "").partition("\n")[0]
        events = itertools.chain.from_iterable(
            events_of(f"/proc/self/fd/{file.fileno()}") for _, file in run.traces
        )
        proposals = propose(events, scene.host, scene.known)
    finally:
        for _, file in run.traces:
            file.close()
    course.take(proposals)
    course.add(proposals.entries)
    return ()


def _in_the_root(course: _Course, strace: str) -> tuple[Finding, ...]:
    """Build and check; while that fails, trace inside, add and build again. Returns the last check's findings."""
    project = course.file.project
    scene = _built(course)
    findings = prove(project, scene)
    while failed(findings) and not _hopeless(findings):
        added = False
        while course.rounds < _ROUNDS:
            course.tell("tracing the check in the root")
            seen = _inside(scene, strace)
            if not failed(seen.findings) or not _more(course, seen):
                break
            added, scene = True, _built(course)
        if not added:
            break
        findings = prove(project, scene)
    return findings


def _built(course: _Course) -> Scene:
    course.rounds += 1
    course.tell("building" if course.rounds == 1 else f"building, round {course.rounds}")
    scene = build(course.file.project, course.file.name)
    course.tell("checking")
    return scene


def _hopeless(findings: Iterable[Finding]) -> bool:
    """Tell whether the check failed before anything of the root ran."""
    return any(finding.severity == "error" and finding.rule in ("prepare", "drift") for finding in findings)


def _inside(scene: Scene, strace: str) -> _Seen:
    """Trace the check in the root."""
    target = scene.target
    privileges = bool(target.setuid)
    run = trial(scene.confinement, target.check, scene.users, strace=strace, privileges=privileges)
    missed: list[Proposals] = []
    last: list[Proposals] = []
    for name, file in run.traces:
        with file:
            if name in run.failed:
                path = f"/proc/self/fd/{file.fileno()}"
                missed.append(missing(events_of(path), scene.host, scene.known))
                last.append(missing(events_of(path), scene.host, scene.known, last_resort=True))
    return _Seen(run.findings, tuple(missed), tuple(last))


def prove(project: Project, scene: Scene) -> tuple[Finding, ...]:
    """Verify a root that was just built, and run its check; raises Failure as check does."""
    target = scene.target
    record, root = read_record(project, target.name, target.root), read_root(target.root)
    if record is None or root is None:
        raise Failure(f"cannot check {target.name}: {target.root} is gone", hint="learn again")
    with root:
        drifted = tuple(
            itertools.islice((item for item in verify(record, root) if item.rule != "extra"), 20)
        )
    if drifted:
        return drifted
    return check(target, target.root, users=scene.users, devices=scene.confinement.devices)


def _more(course: _Course, seen: _Seen) -> bool:
    """Add what a failed check shows to be missing: that, else what was only lying there, else the last resort."""
    for found in seen.missing:
        course.take(found)
    if course.add([entry for found in seen.missing for entry in found.entries]):
        return True
    spare, course.spare = course.spare, ()
    if spare and course.add(spare):
        return True
    return course.add([entry for found in seen.last for entry in found.entries])
