"""Holder of the inside view: the first process of its pid namespace, which makes the view and then only waits."""

from __future__ import annotations

import functools
import json
import os
import signal
from typing import NoReturn

from chrootbuild.artifact import Device
from chrootbuild.errors import Failure
from chrootbuild.sandbox.bounds.limits import bound_pids
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.view.views import SYSTEM_MOUNTS, View, inside_view, is_node, overlay_of
from chrootbuild.system import syscalls


def start_holder(confinement: Confinement, view: View) -> int:
    """Make the inside view and its pid namespace; return the pid of the process that holds both.

    Raises Failure.
    """
    told, tell = os.pipe()
    if os.fork() == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
            holder = os.fork()
            if holder == 0:
                _hold(confinement, view, tell)
            _tell(tell, "pid", holder)
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as file:
        said = dict(json.loads(line) for line in file)
    if said.keys() != {"pid", "view"}:
        raise Failure("cannot make the pid namespace of the root")
    if said["view"] is not None:
        message, hint = said["view"]
        raise Failure(message, hint=hint)
    return int(said["pid"])


def _tell(tell: int, key: str, value: object) -> None:
    """Write a line [key, value] in one call: two processes write to the pipe, in either order."""
    os.write(tell, json.dumps([key, value]).encode() + b"\n")


def _hold(confinement: Confinement, view: View, tell: int) -> NoReturn:
    try:
        bound_pids(confinement.limits)
        mounts, devices = _wanted(confinement, view)
        inside_view(view.root, mounts, devices, functools.partial(overlay_of, view), confinement.limits)
        failed = None
    except Failure as failure:
        failed = [failure.message, failure.hint]
    except OSError as error:
        failed = [f"cannot make the view of the root: {error}", ""]
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps orphans
    _tell(tell, "view", failed)
    os.closerange(0, 1 << 20)
    while failed is None:
        signal.pause()
    os._exit(1)


def _wanted(confinement: Confinement, view: View) -> tuple[tuple[str, ...], dict[str, Device]]:
    """Return the mounts of the inside view, and the devices that the root's own nodes cannot provide."""
    mounts = (*(SYSTEM_MOUNTS if confinement.system else ()), *confinement.mounts)
    devices = dict(confinement.devices)
    if view.privileged:  # mounts of a user namespace are nodev
        devices = {path: one for path, one in devices.items() if not is_node(view.root, path, one)}
    return tuple(dict.fromkeys(mounts)), devices
