"""A shell or command inside the real root: what is done there stays.

It sees the root alone (pivot_root(2)) and processes of its own, has the capabilities of
user.CONFINED, and a terminal of its own. The network is the host's.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from chrootbuild.artifact import Device
from chrootbuild.enter import terminal
from chrootbuild.sandbox.box import PATH
from chrootbuild.sandbox.child import Report, is_there, start_failure
from chrootbuild.sandbox.namespaces import Rights, canonical, reason, refuse, start_helper, wait_for
from chrootbuild.sandbox.privileges import cut_capabilities, reset_signals
from chrootbuild.sandbox.view.overlay import doing, open_directory
from chrootbuild.sandbox.view.views import inside_view
from chrootbuild.system import syscalls
from chrootbuild.system.rights.seccomp import confine_calls

_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC


@dataclass(frozen=True, slots=True)
class _Visit:
    root: str
    argv: Sequence[str]
    mounts: tuple[str, ...]
    devices: Mapping[str, Device]
    env: Mapping[str, str]
    tty: int  # the program's end of its terminal; -1: it has none
    plain: frozenset[int]  # of 0, 1, 2 those that are no terminal: the caller's own


def enter(
    root: str,
    argv: Sequence[str],
    mounts: tuple[str, ...] = (),
    devices: Mapping[str, Device] | None = None,
) -> int:
    """Run a command inside ``root`` and return its exit status, 128 + the number for a signal.

    Its environment is PATH and TERM, its mounts are seen by it alone. Without root it runs in a
    user namespace, as root, and where ``devices`` are given a /dev of its own shows the host's
    nodes. All that it leaves running is ended. Raises Failure.
    """
    env = {"PATH": PATH, **({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})}
    ours, theirs = terminal.open_terminal() if terminal.terminals() else (-1, -1)
    plain = frozenset((0, 1, 2)) - terminal.terminals()
    keep = (*plain, *((theirs,) if theirs >= 0 else ()))
    visit = _Visit(canonical(root), argv, mounts, devices or {}, env, theirs, plain)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        helper, channel, _ = start_helper(
            _NAMESPACES, functools.partial(_visit, visit), *keep, task=f"enter {visit.root}"
        )
        if theirs >= 0:
            os.close(theirs)
            theirs = -1
        try:
            if ours >= 0:
                terminal.pass_on(ours)
            failure = reason(json.loads(_all(channel) or b"null"))
        except BaseException:
            os.kill(helper, signal.SIGKILL)
            raise
        finally:
            channel.close()
            status = wait_for(helper, seconds=None)
    finally:
        for fd in (ours, theirs):
            if fd >= 0:
                os.close(fd)
    if failure:
        raise failure
    return status


def _all(channel: socket.socket) -> bytes:
    """Return all that is said until the other end is closed: nothing, when the program was started."""
    data = b""
    while more := channel.recv(1 << 16):
        data += more
    return data


def _visit(visit: _Visit, rights: Rights, channel: socket.socket) -> NoReturn:
    """Be the first process inside: start the program, and end with everything when it ends."""
    with doing(f"enter {visit.root}", "build the root first"):
        os.close(open_directory(visit.root))
        syscalls.mount_setattr("/", syscalls.AT_RECURSIVE, 0, syscalls.MS_PRIVATE)
        syscalls.mount(visit.root, visit.root, "", syscalls.MS_BIND | syscalls.MS_REC)
    mounts, devices = visit.mounts, visit.devices
    if rights.privileged:
        devices = {}  # the root has its nodes
    elif devices and "/dev" not in mounts:
        mounts = (*mounts, "/dev")  # for nothing may be made in the real one
    inside_view(visit.root, mounts, devices, syscalls.clone_mount)
    program = os.fork()
    if program == 0:
        _become(visit, rights, channel)
    channel.close()
    os.closerange(0, 1 << 20)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _become(visit: _Visit, rights: Rights, channel: socket.socket) -> NoReturn:
    try:
        if visit.tty >= 0:
            kept = {fd: os.dup(fd) for fd in visit.plain}
            os.login_tty(visit.tty)
            for fd, copy in kept.items():
                os.dup2(copy, fd)
        else:
            os.setsid()
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, 1 << 20)
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        reset_signals()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # its memory is still that of chrootbuild
        confine_calls()  # while CAP_SYS_ADMIN is there
        cut_capabilities()
        os.execvpe(visit.argv[0], list(visit.argv), dict(visit.env))  # noqa: S606
    except OSError as error:
        found = is_there(visit.argv[0], visit.env)
        report = Report(step=f"run {visit.argv[0]}", errno=error.errno or errno.EIO, found=found)
        refuse(channel, start_failure(report, rights.privileged))
    finally:
        os._exit(127)
