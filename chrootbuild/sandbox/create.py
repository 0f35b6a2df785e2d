"""Sandboxes: a root on a throw-away overlay, in mount, pid, network and IPC namespaces of its own.

The programs of the root see only the overlay (pivot_root(2)), with the capabilities of
user.CONFINED; commands of the host see the host read-only and the overlay at ROOT. Both have a
network of their own, with lo alone. Nothing of a sandbox has a name on the host: when its init
ends, all its processes, mounts and files end with it, also when this process is killed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from chrootbuild.errors import Failure
from chrootbuild.sandbox.box import Box
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.init import run
from chrootbuild.sandbox.namespaces import canonical, reason, start_helper, wait_for
from chrootbuild.system import syscalls

_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC


@contextlib.contextmanager
def confine(confinement: Confinement) -> Iterator[Box]:
    """Open a sandbox, and kill everything in it afterwards; raises Failure.

    Without root it is made in a user namespace: user_namespaces(7).
    """
    confinement = replace(confinement, lower=canonical(confinement.lower))
    helper, channel, rights = start_helper(
        _NAMESPACES, functools.partial(run, confinement), task=confinement.task
    )
    fds: list[int] = []
    try:
        hello, fds = _hello(channel)
        yield Box(
            confinement,
            hello["root"],
            hello["work"],
            hello["scratch"],
            rights,
            tuple(hello["notes"]),
            tuple((prefix, upper) for prefix, upper in hello["uppers"]),
            channel,
            _proc=fds[0],
            _scratch=fds[1],
            _root=fds[2],
            _inside=fds[3],
            _holder=hello["holder"],
        )
    finally:
        channel.close()
        for fd in fds:
            os.close(fd)
        wait_for(helper)


def _hello(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return init's description of the sandbox, and the directories that it opened for us."""
    data, fds, _, _ = socket.recv_fds(channel, 1 << 16, 4)
    while data and not data.endswith(b"\n"):
        more = channel.recv(1 << 16)
        if not more:
            break
        data += more
    if not data.endswith(b"\n"):
        raise Failure("cannot set up the box: its first process ended")
    hello: dict[str, Any] = json.loads(data)
    if failure := reason(hello):
        raise failure
    return hello, list(fds)
