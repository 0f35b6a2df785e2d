"""The init process (pid 1) of a sandbox: makes its views, starts programs on request, stores their output.

Requests are lines of JSON through a socket; when it is closed, for whatever reason, init
ends with everything it started. Nothing of the root runs with its rights.

Requests: {"start": {...}}, {"signal": [pid, number]}, {"flush": name}, {"end": null}.
Answers: {"pid": n, "tracer": n}, {"failure": [message, hint]}, {"done": null}, and whenever a process
has ended {"exit": [pid, status]} (status as subprocess has it), and once a limit was hit {"limit": key}.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

from chrootbuild.errors import Failure
from chrootbuild.sandbox.bounds.limits import bound_user
from chrootbuild.sandbox.bounds.warden import Places, full, open_places, start_warden
from chrootbuild.sandbox.child import Entry, read_report, start, start_failure, trace_failure, traced_argv
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.holder import start_holder
from chrootbuild.sandbox.namespaces import Rights
from chrootbuild.sandbox.output import Pump, new_pump
from chrootbuild.sandbox.privileges import reset_signals
from chrootbuild.sandbox.view.outside import Outside, confine_command, outside
from chrootbuild.sandbox.view.overlay import doing
from chrootbuild.sandbox.view.own_root import Place, place_of
from chrootbuild.sandbox.view.views import View, host_view, shows_shm
from chrootbuild.system import sockets
from chrootbuild.system.processes import tracer_of
from chrootbuild.system.rights.user import User
from chrootbuild.target.model import Limits

_FLUSH_SECONDS = 2.0  # a tracer whose program has ended gets this long to write its text


@dataclass(slots=True)
class _State:
    rights: Rights
    view: View
    outside: Outside
    channel: socket.socket
    selector: selectors.BaseSelector
    holder: int  # the inside's init, its pid here
    inside_view: int
    root: Place  # of the inside view
    inside_pids: int
    limits: Limits
    places: Places
    warden: int  # its pipe
    pumps: dict[str, list[Pump]] = field(default_factory=dict)
    tracers: set[int] = field(default_factory=set)


def run(confinement: Confinement, rights: Rights, channel: socket.socket) -> NoReturn:
    """Be the first process of a new pid, mount, network and IPC namespace; never returns."""
    reset_signals()  # pid 1 gets no signal that it has no handler for
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    state = _set_up(confinement, rights, channel)
    state.selector.register(wake, selectors.EVENT_READ)
    state.selector.register(channel, selectors.EVENT_READ)
    buffer = b""
    while True:
        for key, _ in state.selector.select():
            if key.fd == wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                _reap(state)
            elif key.fileobj is channel:
                data = channel.recv(1 << 16)
                if not data:
                    os._exit(0)  # the kernel kills the rest of the pid namespace
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    answer = _obey(state, json.loads(line))
                    _heed(state)
                    _send(channel, answer)
            elif key.data.open and not key.data.pass_on():  # it may have been closed in this round
                _close(state, key.data)


def _set_up(confinement: Confinement, rights: Rights, channel: socket.socket) -> _State:
    view = host_view(
        confinement.lower,
        system=confinement.system,
        privileged=rights.privileged,
        limits=confinement.limits,
    )
    with doing("set up the network of the box"):
        sockets.loopback_up()
        sockets.answer_everywhere()
    with doing("look at the links of the root"):
        place = outside(view, confinement.lower)
    holder = start_holder(confinement, view)
    places = open_places(view.scratch, view.root, holder, shm=shows_shm(confinement))
    state = _State(
        rights,
        view,
        place,
        channel,
        selectors.DefaultSelector(),
        holder,
        os.open(f"/proc/{holder}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC),
        place_of(f"/proc/{holder}/root"),
        os.open(f"/proc/{holder}/ns/pid", os.O_RDONLY | os.O_CLOEXEC),
        confinement.limits,
        places,
        start_warden(confinement.limits, places),
    )
    directories = ("/proc", view.scratch, view.root, f"/proc/{holder}/root")
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in directories]
    hello = {
        "scratch": view.scratch,
        "root": view.root,
        "work": view.work,
        "uppers": view.uppers,
        "notes": view.notes,
        "holder": holder,
    }
    socket.send_fds(channel, [json.dumps(hello).encode() + b"\n"], fds)
    for fd in fds:
        os.close(fd)
    return state


# -- requests ------------------------------------------------------------------------------


def _obey(state: _State, line: dict[str, Any]) -> dict[str, Any]:
    [(word, value)] = line.items()
    if word == "start":
        try:
            return _start(state, **value)
        except Failure as failure:
            return {"failure": [failure.message, failure.hint]}
    if word == "signal":
        with contextlib.suppress(ProcessLookupError):
            (os.kill if value[0] > 0 else os.killpg)(abs(value[0]), value[1])
    elif word == "flush":
        for pump in state.pumps.get(value, []):
            pump.pass_on()
            pump.flush()
    elif word == "end":
        _end(state)
    return {"done": None}


def _start(
    state: _State,
    name: str,
    argv: list[str],
    env: dict[str, str],
    user: list[Any] | None,
    merge: bool,
    strace: str,
    privileges: bool,
) -> dict[str, Any]:
    """Start a program, in the inside view where a user is given; its output goes to log/NAME.out (and .err)."""
    log = f"{state.view.scratch}/log/{name}"
    ends = [new_pump(f"{log}.out")] if merge else [new_pump(f"{log}.out"), new_pump(f"{log}.err")]
    state.pumps[name] = [pump for pump, _ in ends]
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for fd, number in ((null, 0), (ends[0][1], 1), (ends[-1][1], 2)):
                os.dup2(fd, number)
            if user is None:
                _run_outside(state, argv, env, tell)
            if not state.rights.privileged:
                bound_user(state.limits)
            uid, gid, groups = user
            switch = User(uid, gid, tuple(groups))
            entry = Entry(
                argv,
                env,
                switch,
                state.rights.mapped,
                state.inside_view,
                state.root,
                state.inside_pids,
                tell,
            )
            if strace:
                reset_signals()
                command = traced_argv(entry, strace, f"{log}.strace", privileges=privileges)
                os.execve(command[0], command, {"PATH": os.defpath})  # noqa: S606
            start(entry)
        finally:
            os._exit(127)
    for fd in (tell, *(end for _, end in ends)):
        os.close(fd)
    report = read_report(told)
    for pump, _ in ends:
        state.selector.register(pump.source, selectors.EVENT_READ, pump)
    if report.errno or not report.pid:
        for pump in list(state.pumps[name]):
            pump.pass_on()
        if not report.errno and not strace:
            raise Failure(f"cannot run {argv[0]}: it was killed before it was started")
        if not report.errno:
            raise trace_failure(argv[0], f"{log}.{'out' if merge else 'err'}")
        raise start_failure(report, state.rights.privileged)
    tracer = tracer_of(report.pid) if strace else 0
    state.tracers |= {tracer} - {0}
    return {"pid": report.pid, "tracer": tracer}


def _run_outside(state: _State, argv: list[str], env: dict[str, str], tell: int) -> NoReturn:
    """Exec a program of the host view."""
    try:
        os.setsid()
        reset_signals()
        confine_command(state.outside)
        os.chdir(state.view.work)
        os.write(tell, json.dumps({"pid": os.getpid()}).encode() + b"\n")
        os.closerange(3, 1 << 20)
        os.execvpe(argv[0], argv, env)  # noqa: S606
    except OSError as error:
        os.write(2, f"cannot run {argv[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(127)


def _close(state: _State, pump: Pump) -> None:
    state.selector.unregister(pump.source)
    pump.close()
    for pumps in state.pumps.values():
        if pump in pumps:
            pumps.remove(pump)


# -- ends ----------------------------------------------------------------------------------


def _heed(state: _State) -> None:
    """Report the limit that was hit, if one was: before the ends and failures that come of it."""
    with contextlib.suppress(BlockingIOError):
        if key := os.read(state.warden, 64):
            _send(state.channel, {"limit": key.decode()})


def _reap(state: _State) -> None:
    """Report every process that has ended, after its output is written."""
    _heed(state)
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        state.tracers.discard(pid)
        for pumps in list(state.pumps.values()):
            for pump in list(pumps):
                if not pump.pass_on():
                    _close(state, pump)
        _send(state.channel, {"exit": [pid, os.waitstatus_to_exitcode(status)]})


def _end(state: _State) -> None:
    """Kill all that was started, let the tracers write to the end, then flush the output."""
    _reap(state)
    if key := full(state.limits, state.places):  # since the warden's last look
        _send(state.channel, {"limit": key})
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.holder, signal.SIGKILL)
    until = time.monotonic() + _FLUSH_SECONDS
    _reap(state)
    while state.tracers and time.monotonic() < until:
        time.sleep(0.002)
        _reap(state)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    for pumps in state.pumps.values():
        for pump in pumps:
            pump.pass_on()
            pump.flush()


def _send(channel: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(json.dumps(message).encode() + b"\n")
