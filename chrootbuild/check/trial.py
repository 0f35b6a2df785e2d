"""``[check]``: runs a target's programs and service on a throw-away overlay of its root.

Neither the root nor a live service is touched: see confine.py. The caller verifies the root first.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from chrootbuild.artifact import Device
from chrootbuild.check.ready import parse_ready
from chrootbuild.check.search import search
from chrootbuild.check.service import ended, last_lines, output_outside, run_outside, serve, words
from chrootbuild.console import SILENT, Progress
from chrootbuild.errors import Failure, TargetError
from chrootbuild.findings import Finding, failed
from chrootbuild.plan.users import Users
from chrootbuild.sandbox.bounds.limits import hit
from chrootbuild.sandbox.box import Box
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system.programs import find_program
from chrootbuild.system.rights.user import ROOT, User
from chrootbuild.target.model import Check, Command, Target

_COMMAND_SECONDS = 120.0  # for each command of prepare and run


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one run of ``[check]``."""

    findings: tuple[Finding, ...]
    traces: tuple[
        tuple[str, BinaryIO], ...
    ] = ()  # ("run-1", "service", ...; its strace text, in a file without a name)
    failed: tuple[str, ...] = ()  # those names that had an error
    changed: tuple[str, ...] = ()  # paths of the root that were made or written to


def check(
    target: Target,
    root: str,
    *,
    users: Users,
    devices: Mapping[str, Device] | None = None,
    logs: str = "",
    explain: Callable[[str], Iterable[tuple[str, str]]] | None = None,
    bar: Progress = SILENT,
) -> tuple[Finding, ...]:
    """Run a target's ``[check]`` on an overlay of ``root``; with an error among the findings it failed.

    ``devices`` are the plan's nodes by path, for those that could not be made. ``logs`` is a
    directory for the output. After a failure it is run once more under strace(1), and
    ``explain`` turns the path of a trace into missing paths, each with a line about it.
    Raises Failure where no check can run: no namespaces, no root, a wrong target file.
    """
    if target.os == "freebsd":
        raise Failure(
            f"cannot check {target.name}: its programs are FreeBSD's", hint="check it in a jail there"
        )
    if not target.check.run and not target.check.service:
        return (Finding("note", "nothing", "", "nothing is checked: [check] has no run and no service"),)
    mounts = tuple(item.value for item in target.mounts)
    confinement = Confinement(
        root, mounts, devices or {}, f"check {target.name}", limits=target.check.limits
    )
    findings = trial(confinement, target.check, users, logs=logs, bar=bar).findings
    rules = {finding.rule for finding in findings}
    if not failed(findings) or explain is None or rules == {"prepare"} or "limits" in rules:
        return findings
    strace = find_program("strace")
    if strace is None:
        return (
            *findings,
            Finding("note", "missing", "", "install strace to be told which paths were missing"),
        )
    bar.stage("once more under strace")
    again = trial(confinement, target.check, users, strace=strace, privileges=bool(target.setuid), bar=bar)
    hit_again = (
        finding for finding in again.findings if finding.rule == "limits"
    )  # of the trace, as it seems
    return (*findings, *hit_again, *_explained(again, explain))


def trial(
    confinement: Confinement,
    checks: Check,
    users: Users,
    *,
    logs: str = "",
    strace: str = "",
    privileges: bool = False,
    arrange: Callable[[Box], None] | None = None,
    bar: Progress = SILENT,
) -> Trial:
    """Run prepare, run and service once in a sandbox of their own; raises Failure as check does.

    With ``strace``, its real path, the programs of the root are traced; ``privileges``: see
    Box.inside. With ``logs`` their output is written there as NAME.log. ``arrange`` is called
    with the open box before anything runs in it.
    """
    service = checks.service
    user = users(service.user) if service else ROOT
    ready = parse_ready(service.ready) if service else None
    bar.begin()
    with confine(confinement) as box:
        if arrange is not None:
            arrange(box)
        env = {"OUT": box.path_of("service"), **({"PORT": str(ready.port)} if ready and ready.port else {})}
        parts = _parts(box, checks, user, env, strace=strace, privileges=privileges, bar=bar)
        box.end()
        if box.exceeded:  # what else its last part complains of comes of that
            last = next(reversed(parts), "arrange")
            parts[last] = [_exceeded(box, last)]
        if logs:
            probes = [f"probe-{number + 1}" for number in range(len(service.probe) if service else 0)]
            _keep(box, (*parts, "ready", *probes), logs)
        return Trial(
            (*(finding for found in parts.values() for finding in found), *_unproven(box, user)),
            tuple((name, box.trace(name)) for name in parts if strace and not name.startswith("prepare-")),
            tuple(name for name, found in parts.items() if failed(found)),
            box.changed(),
        )


def _parts(
    box: Box,
    checks: Check,
    user: User,
    env: Mapping[str, str],
    *,
    strace: str,
    privileges: bool,
    bar: Progress,
) -> dict[str, Sequence[Finding]]:
    """Run prepare, run and service in their order, up to a prepare that fails or a limit that is hit."""
    parts: dict[str, Sequence[Finding]] = {}
    for number, text in enumerate(checks.prepare, 1):
        name = f"prepare-{number}"
        bar.now(f"{name}: {words(text)}")
        parts[name] = _prepare(box, text, name, env)
        if parts[name] or box.exceeded:
            return parts
    for number, command in enumerate(checks.run, 1):
        name = f"run-{number}"
        bar.now(f"{name}: {words(command.argv)}")
        parts[name] = _run(box, command, name, strace=strace)
        if box.exceeded:
            return parts
    if checks.service:
        privileges = privileges and user != ROOT
        parts["service"] = serve(
            box, checks.service, user, env, strace=strace, privileges=privileges, bar=bar
        )
    return parts


def _exceeded(box: Box, name: str) -> Finding:
    """Return the finding of a limit that was hit while this part ran."""
    output = last_lines(box.output(name), "it printed")
    return Finding("error", "limits", "", "\n".join([hit(box.confinement.limits, box.exceeded), *output]))


def _prepare(
    box: Box, command: str | tuple[str, ...], name: str, env: Mapping[str, str]
) -> Sequence[Finding]:
    why = run_outside(box, command, name, _COMMAND_SECONDS, env)
    if not why:
        return ()
    output = output_outside(box, name, "it printed")
    return [Finding("error", "prepare", "", "\n".join([f"{words(command)}: {why}", *output]))]


def _run(box: Box, command: Command, name: str, *, strace: str) -> list[Finding]:
    """Run one command inside to its end, and compare its output."""
    program, shown = command.argv[0], words(command.argv)
    try:
        process = box.inside(command.argv, name=name, env=command.env, merge=False, strace=strace)
    except Failure as failure:
        return [Finding("error", "run", program, str(failure))]
    status = box.wait(process, _COMMAND_SECONDS)
    if status is None:
        box.signal(process, signal.SIGKILL, group=True)
        why = f"did not end within {_COMMAND_SECONDS:g} seconds"
    elif status:
        why = ended(status)
    else:
        why = _unlike(command, box.output(name))
    if not why:
        return []
    output = last_lines(box.output(name), "it printed") + last_lines(box.output(name, "err"), "its errors")
    return [Finding("error", "run", program, "\n".join([f"{shown}: {why}", *output]))]


def _unlike(command: Command, output: bytes) -> str:
    """Return the difference of an output from the expected one; empty when there is none."""
    if command.stdout is None:
        return ""
    try:
        return search(command.stdout, output)
    except re.error as error:
        raise TargetError(f"cannot use stdout = {command.stdout!r}: {error} ({command.origin})") from None


def _unproven(box: Box, user: User) -> list[Finding]:
    """Return notes on the conditions this sandbox cannot reproduce."""
    found = [Finding("note", "overlay", "", note) for note in box.notes]
    if not box.rights.mapped:
        who = f"user {user.uid}" if user.uid else "a user that the service switches to"
        found.append(
            Finding(
                "note",
                "unproven",
                "",
                f"without root all files count as one user's: whether {who} may use them is not proven",
            )
        )
    return found


def _explained(trial_: Trial, explain: Callable[[str], Iterable[tuple[str, str]]]) -> Iterable[Finding]:
    """Turn the traces of a failed run into findings, each path once."""
    said: set[str] = set()
    for name, file in trial_.traces:
        with file:
            found = explain(f"/proc/self/fd/{file.fileno()}") if name in trial_.failed else ()
            for path, line in found:
                if line not in said:
                    said.add(line)
                    yield Finding("note", "missing", path, line)


def _keep(box: Box, names: Iterable[str], logs: str) -> None:
    """Write the outputs to a directory of the caller's; a link there is not followed."""
    for name in names:
        text = box.output(name) + box.output(name, "err")
        path = os.path.join(logs, f"{name}.log")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if text:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(text)
