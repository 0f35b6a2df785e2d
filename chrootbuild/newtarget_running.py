"""Listening sockets of a program that runs on this machine: proc_pid_exe(5), proc_pid_fd(5)."""

from __future__ import annotations

import os

from chrootbuild.sockets import bound

__all__ = ["listens"]


def listens(program: str) -> tuple[str, str, int]:
    """Return protocol, address and number of a running program's lowest port; ``program`` is a real path.

    The address "" means any; ("", "", 0) if no process runs it, or none that we may inspect.
    """
    found: list[tuple[int, str, str]] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{name}/exe") != program:
                continue
            links = [os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")]
            inodes = {int(link[8:-1]) for link in links if link.startswith("socket:[")}
            for protocol in ("tcp", "udp"):
                found += [
                    (one.port, protocol, one.address)
                    for one in bound(f"/proc/{name}/net", protocol)
                    if one.inode in inodes
                ]
        except OSError:
            continue  # it ended, or is another user's
    if not found:
        return "", "", 0
    port, protocol, address = min(found)
    return protocol, "" if address in ("0.0.0.0", "::") else address, port  # noqa: S104 -- nothing is bound
