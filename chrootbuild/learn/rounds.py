"""learn: a target's ``[check]`` traced on a copy of its sysroot, then inside its root, until it passes.

What was seen goes into targets/NAME.learned.toml (learn_file.py). Nothing that lives is touched
but the target's root, which is built as ever: every run is in a box (confine.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chrootbuild.check.trial import trial
from chrootbuild.console import SILENT, Progress
from chrootbuild.errors import Failure, TargetError
from chrootbuild.findings import Finding, failed
from chrootbuild.learn.learned_file import LearnedFile
from chrootbuild.learn.session import LearnContext, build, context_of, proved, tracer
from chrootbuild.learn.target_overlay import overlay_target
from chrootbuild.propose.model import Proposal, Proposals, Refusal
from chrootbuild.propose.propose import missing, propose
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.state.lock import alone
from chrootbuild.state.project import Project
from chrootbuild.target.reader import read_target

_ROUNDS = 12  # of builds and checks; each but the last has added something


@dataclass(frozen=True, slots=True)
class LearnResult:
    """What was learned, and whether the root serves with it."""

    file: str  # as people are shown it
    added: tuple[Proposal, ...] = ()
    refused: tuple[Refusal, ...] = ()
    findings: tuple[Finding, ...] = ()  # of the last check; an error among them: it does not serve
    dropped: tuple[tuple[str, str], ...] = ()  # by --minimize: (key, value)
    rounds: int = 0  # checks of the root


@dataclass(slots=True)
class _LearnSession:
    """A lesson while it is being learned."""

    file: LearnedFile
    bar: Progress
    added: dict[tuple[str, str], Proposal] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    unfit: set[tuple[str, str]] = field(default_factory=set)  # no plan can be made with them
    tried: set[tuple[str, str]] = field(default_factory=set)  # added because nothing else was missing
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
        new, unfit = self.file.add([one for one in entries if (one.key, one.value) not in self.unfit])
        self.added.update(((one.key, one.value), one) for one in new)
        for entry, why in unfit:
            self.unfit.add((entry.key, entry.value))
            self.refused[entry.value] = Refusal(entry.value, why, entry.program, entry.call)
        return bool(new)

    def attempt(self, entries: Sequence[Proposal]) -> bool:
        """Do as ``add`` does, with what may be of no use."""
        before = set(self.added)
        new = self.add(entries)
        self.tried.update(self.added.keys() - before)
        return new

    def take_back(self) -> bool:
        """Take out what was of no use; tell whether anything was."""
        if not self.tried:
            return False
        self.file.drop(self.tried)
        for pair in self.tried:
            del self.added[pair]
        self.tried.clear()
        return True

    def lesson(self, findings: Iterable[Finding]) -> LearnResult:
        """Return what was learned so far."""
        found = tuple(findings)
        if failed(found) and self.on_the_host:
            found = (*found, Finding("note", "on-the-host", "", self.on_the_host))
        taken = {path for _, path in self.added}
        return LearnResult(
            self.file.shown,
            tuple(self.added.values()),
            tuple(one for path, one in sorted(self.refused.items()) if path not in taken),
            found,
            rounds=self.rounds,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one traced check of the root showed."""

    findings: tuple[Finding, ...]
    missing: tuple[Proposals, ...]
    last: tuple[Proposals, ...]  # for the last resort


def learn(project: Project, name: str, bar: Progress = SILENT) -> LearnResult:
    """Find what a target's service needs beside what the target names, and add it to its learned file.

    Raises Failure where nothing can be learned: no [check], no strace(1), no namespaces, a
    target that cannot be planned.
    """
    target = read_target(project, name)
    strace = tracer(target)
    with alone(project, name, "learn"):
        session = _LearnSession(LearnedFile(project, name), bar)
        if session.file.exists():
            findings = proved(project, _built(session), bar)
            if not failed(findings):
                return session.lesson(findings)
        _on_the_host(session, strace)
        return session.lesson(_in_the_root(session, strace))


def learn_from(project: Project, name: str, path: str) -> LearnResult:
    """Add what a trace taken anywhere shows to a target's learned file; nothing is run or built.

    ``path`` is a text of strace(1), kdump(1) or truss(1). Raises Failure.
    """
    session = _LearnSession(LearnedFile(project, name), SILENT)
    context = context_of(project, name)
    proposals = propose(context.events(path), context.sysroot, context.known)
    session.take(proposals)
    session.add(proposals.entries)
    return session.lesson(())


# -- one run -------------------------------------------------------------------------------


def _on_the_host(session: _LearnSession, strace: str) -> None:
    """Trace the check on a throw-away overlay of the sysroot, and add what it used.

    It may not be possible: without root not every sysroot can be copied so.
    """
    project, name = session.file.project, session.file.name
    context = context_of(project, name)
    session.bar.stage("running on a copy of the host, traced")
    try:
        run = trial(
            Confinement(
                context.target.sysroot,
                task=f"learn {name}",
                system=True,
                limits=context.target.check.limits,
            ),
            context.target.check,
            context.users,
            strace=strace,
            privileges=bool(context.target.setuid),
            arrange=lambda box: overlay_target(
                box, context.target, context.plan, context.sysroot, context.users
            ),
            bar=session.bar,
        )
    except TargetError:
        raise
    except Failure as failure:
        session.on_the_host = f"it was not traced on a copy of the host: {failure.message}"
        return
    errors = [finding.message for finding in run.findings if finding.severity == "error"]
    if errors:
        fact = "it fails on a copy of the host as well, so that files may not be the reason"
        session.on_the_host = f"{fact}: {errors[0].partition(chr(10))[0]}"
    try:
        events = itertools.chain.from_iterable(
            context.events(f"/proc/self/fd/{file.fileno()}") for _, file in run.traces
        )
        proposals = propose(events, context.sysroot, context.known)
    finally:
        for _, file in run.traces:
            file.close()
    session.take(proposals)
    session.add(proposals.entries)


def _in_the_root(session: _LearnSession, strace: str) -> tuple[Finding, ...]:
    """Build and check; while that fails, trace inside, add and build again. Returns the last check's findings."""
    project = session.file.project
    context = _built(session)
    findings = proved(project, context, session.bar)
    while failed(findings) and not _hopeless(findings):
        added = False
        while session.rounds < _ROUNDS:
            session.bar.stage(f"round {session.rounds}, tracing in the root")
            seen = _inside(context, strace, session.bar)
            more = failed(seen.findings) and _more(session, seen)
            if any(finding.rule == "limits" for finding in seen.findings):  # of the trace, as it seems
                return (*findings, *(finding for finding in seen.findings if finding.rule == "limits"))
            if not more:
                break
            added, context = True, _built(session)
        if not added:
            break
        findings = proved(project, context, session.bar)
    if failed(findings) and session.take_back():
        session.bar.stage("taking back what did not help")
        build(project, session.file.name)
    return findings


def _built(session: _LearnSession) -> LearnContext:
    session.rounds += 1
    session.bar.stage(f"round {session.rounds}, building")
    context = build(session.file.project, session.file.name)
    session.bar.stage(f"round {session.rounds}, checking")
    return context


def _hopeless(findings: Iterable[Finding]) -> bool:
    """Tell whether the check failed before anything of the root ran, or for another reason than a missing path."""
    return any(
        finding.severity == "error" and finding.rule in ("prepare", "drift", "limits")
        for finding in findings
    )


def _inside(context: LearnContext, strace: str, bar: Progress) -> _Seen:
    """Trace the check in the root."""
    target = context.target
    privileges = bool(target.setuid)
    run = trial(
        context.confinement, target.check, context.users, strace=strace, privileges=privileges, bar=bar
    )
    missed: list[Proposals] = []
    last: list[Proposals] = []
    for name, file in run.traces:
        with file:
            if name in run.failed:
                path = f"/proc/self/fd/{file.fileno()}"
                missed.append(missing(context.events(path), context.sysroot, context.known))
                last.append(missing(context.events(path), context.sysroot, context.known, last_resort=True))
    return _Seen(run.findings, tuple(missed), tuple(last))


def _more(session: _LearnSession, seen: _Seen) -> bool:
    """Add what a failed check shows to be missing: that, else what was only lying there, else the last resort."""
    for found in seen.missing:
        session.take(found)
    if session.add([entry for found in seen.missing for entry in found.entries]):
        return True
    spare, session.spare = session.spare, ()
    if spare and session.attempt(spare):
        return True
    return session.attempt([entry for found in seen.last for entry in found.entries])
