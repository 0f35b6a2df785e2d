"""``[check.service]``: start a real service in a sandbox, wait until it is ready, probe it, stop it."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from chrootbuild.check.ready import Ready, State, look, parse_ready, state_of
from chrootbuild.console import SILENT, Progress
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.sandbox.box import Box, Process
from chrootbuild.system.rights.user import User
from chrootbuild.target.model import Service

_STOP_SECONDS = 10.0  # between the signal and SIGKILL
_SETTLE_SECONDS = 1.0  # a service without ``ready`` has to live this long
_SHORTEST, _LONGEST = 0.005, 0.2  # seconds between two looks
_LINES, _COLUMNS = 10, 240  # of the output shown


@dataclass(frozen=True, slots=True)
class _Running:
    """A running service, with the state to monitor it."""

    box: Box
    service: Service
    process: Process
    env: Mapping[str, str]  # of the host's commands
    bar: Progress


def serve(
    box: Box,
    service: Service,
    user: User,
    env: Mapping[str, str],
    *,
    strace: str = "",
    privileges: bool = False,
    bar: Progress = SILENT,
) -> tuple[Finding, ...]:
    """Start, wait, probe, stop; return the findings. None of its processes is left then.

    Raises Failure where the target file is wrong.
    """
    ready, number = parse_ready(service.ready), stop_signal(service.stop_signal)
    before = state_of(box, ready.value) if ready.kind in ("unix", "file") else None
    program = service.start[0]
    bar.now(f"starting {program}")
    try:
        process = box.inside(
            service.start, name="service", env=service.env, user=user, strace=strace, privileges=privileges
        )
    except Failure as failure:
        return (Finding("error", "start", program, str(failure)),)
    running = _Running(box, service, process, env, bar)
    rule, problem = "ready", _wait_until_ready(running, ready, before)
    if not problem:
        rule, problem = "probe", _probe(running)
    late = _stop(running, number)
    findings = [Finding("note", "stop", program, late)] if late else []
    if problem:
        output = last_lines(box.output("service"), f"{program} printed")
        findings.insert(0, Finding("error", rule, program, "\n".join([problem, *output])))
    return tuple(findings)


def run_outside(
    box: Box, command: str | tuple[str, ...], name: str, seconds: float, env: Mapping[str, str]
) -> str:
    """Run a command of the host to its end; return its error, empty for exit 0.

    Its whole process group is killed after ``seconds``.
    """
    try:
        process = box.outside(command, name=name, env=env)
    except Failure as failure:
        if not box.exceeded:
            raise
        return failure.message
    status = box.wait(process, seconds)
    if status is None:
        box.signal(process, signal.SIGKILL, group=True)
        return f"it did not end within {seconds:.3g} seconds"
    return "" if status == 0 else ended(status)


def stop_signal(name: str) -> int:
    """Return the number of a signal, "TERM", "SIGTERM" or "15"; raises Failure."""
    if name.isdigit() and int(name) in signal.valid_signals():
        return int(name)
    try:
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except KeyError:
        raise Failure(
            f"cannot read stop_signal = {name!r}: there is no such signal", hint="see signal(7)"
        ) from None


def words(command: str | tuple[str, ...]) -> str:
    """Return a command for messages."""
    return command if isinstance(command, str) else " ".join(command)


def output_outside(box: Box, name: str, heading: str) -> list[str]:
    """Return the last lines of a host command's output, with a hint where it met a link in ROOT."""
    output = box.output(name)
    lines = last_lines(output, heading)
    if os.strerror(errno.ELOOP).encode() in output:
        lines.append(
            "hint: a link in ROOT is not followed, since it may lead out; write the path that it leads to"
        )
    return lines


def last_lines(output: bytes, heading: str) -> list[str]:
    """Return the last lines of an output below a heading; none if there is no output."""
    lines = [line.rstrip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return []
    shown = [line if len(line) <= _COLUMNS else f"{line[:_COLUMNS]}..." for line in lines[-_LINES:]]
    return [f"{heading}{', at the end' if len(lines) > _LINES else ''}:", *(f"  {line}" for line in shown)]


# -- the steps -----------------------------------------------------------------------------


def _wait_until_ready(running: _Running, ready: Ready, before: State) -> str:
    """Return the reason why the service did not become ready; empty when it did."""
    timeout = running.service.timeout
    until = time.monotonic() + timeout
    settled = time.monotonic() + min(timeout, _SETTLE_SECONDS)
    pause = _SHORTEST
    while True:
        died = _died(running)
        if ready.kind == "command":
            seconds = max(0.1, until - time.monotonic())
            why = run_outside(running.box, ready.value, "ready", seconds, running.env)
            why = why and f"{ready.value}: {why}"
        elif ready.kind:
            why = look(running.box, ready, before)
        else:
            why = "" if time.monotonic() >= settled else "it was only just started"
        if died:
            return f"{died} before it was ready"
        if not why:
            return ""
        running.bar.now(f"waiting until it is ready: {why}")
        if time.monotonic() >= until:
            return f"it is not ready after {timeout:g} seconds: {why}"
        if running.box.wait(running.process, pause) is not None:
            time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)


def _probe(running: _Running) -> str:
    """Return the first failed probe and its error; empty when all succeeded."""
    for number, probe in enumerate(running.service.probe, 1):
        until = time.monotonic() + running.service.timeout
        pause, name = _SHORTEST * 4, f"probe-{number}"
        running.bar.now(f"{name}: {words(probe)}")
        while why := run_outside(running.box, probe, name, max(0.1, until - time.monotonic()), running.env):
            died = _died(running)
            if died or time.monotonic() >= until:
                output = output_outside(running.box, name, "the probe printed")
                return "\n".join([f"{died or why}, while probed by: {words(probe)}", *output])
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
    return ""


def _died(running: _Running) -> str:
    """Return the exit of the service, if none of its processes is left."""
    status = running.box.wait(running.process, 0)
    if status is None or running.box.running():
        return ""
    return f"it {ended(status)}" + (", and left nothing in the background" if status == 0 else "")


def _stop(running: _Running, number: int) -> str:
    """Stop all of the service; return the processes that ignored the signal."""
    box = running.box
    running.bar.now(f"stopping {running.service.start[0]}")
    if box.wait(running.process, 0) is None:
        box.signal(running.process, number)
    else:  # it went into the background
        for process in box.running():
            box.signal(process, number)
    until, pause = time.monotonic() + _STOP_SECONDS, _SHORTEST
    while (left := box.running()) and time.monotonic() < until:
        if box.wait(running.process, pause) is not None:
            time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)
    if left:
        box.end()  # one by one they would go on to start each other
    names = ", ".join(sorted({process.name for process in left}))
    return (
        f"{names}: did not end within {_STOP_SECONDS:g} seconds of {_name(number)}, and was killed"
        if left
        else ""
    )


def ended(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {_name(-status)}"


def _name(number: int) -> str:
    """Return a signal's name, a real-time signal's number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
