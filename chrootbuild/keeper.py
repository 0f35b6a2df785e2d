"""Init of the sandbox's inside: makes the view of the root, and then only holds its namespaces."""

from __future__ import annotations

import functools
import json
import os
import signal
from typing import NoReturn

from chrootbuild import syscalls
from chrootbuild.artifact import Device
from chrootbuild.confinement import Confinement
from chrootbuild.errors import Failure
from chrootbuild.views import SYSTEM_MOUNTS, View, inside_view, is_node, overlay_of

__all__ = ["start_keeper"]


def start_keeper(confinement: Confinement, view: View) -> int:
    """Make the inside view and its pid namespace; return the pid of the process that holds both.

    Raises Failure.
    """
    told, tell = os.pipe()
    if os.fork() == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
            keeper = os.fork()
            if keeper == 0:
                _keep(confinement, view, tell)
            os.write(tell, f"{keeper}\n".encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as file:
        text = file.read().decode(errors="surrogateescape")
    lines = sorted(text.splitlines(), key=str.isdigit)
    if len(lines) != 2:
        raise Failure("cannot make the pid namespace of the root")
    answer, keeper_pid = lines
    if answer != "{}":
        message, hint = json.loads(answer)
        raise Failure(message, hint=hint)
    return int(keeper_pid)


def _keep(confinement: Confinement, view: View, tell: int) -> NoReturn:
    try:
        mounts, devices = _wanted(confinement, view)
        inside_view(view.root, mounts, devices, functools.partial(overlay_of, view))
        answer = "{}"
    except Failure as failure:
        answer = json.dumps([failure.message, failure.hint])
    except OSError as error:
        answer = json.dumps([f"cannot make the view of the root: {error}", ""])
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps orphans
    os.write(tell, f"{answer}\n".encode())
    os.closerange(0, 1 << 20)
    while answer == "{}":
        signal.pause()
    os._exit(1)


def _wanted(confinement: Confinement, view: View) -> tuple[tuple[str, ...], dict[str, Device]]:
    """Return the mounts of the inside view, and the devices that the root's own nodes cannot provide."""
    mounts = (*(SYSTEM_MOUNTS if confinement.system else ()), *confinement.mounts)
    devices = dict(confinement.devices)
    if view.privileged:  # mounts of a user namespace are nodev
        devices = {path: one for path, one in devices.items() if not is_node(view.root, path, one)}
    return tuple(dict.fromkeys(mounts)), devices
