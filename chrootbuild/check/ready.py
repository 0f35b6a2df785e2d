"""Readiness of a service: ``[check.service] ready``, parsed and tested."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from dataclasses import dataclass

from chrootbuild.errors import Failure
from chrootbuild.sandbox.box import Box
from chrootbuild.system import sockets

_SOCKET = re.compile(r"(tcp|udp):(?:\[([0-9A-Fa-f:.%]*)\]|([^:\[\]]*)):([0-9]{1,5})")
_EVERY = ("0.0.0.0", "::")  # noqa: S104 - as in the kernel's tables, nothing is bound here

# State of a path before the start and after: device, inode, change time; None: absent.
State = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Ready:
    """A parsed ``ready``: kind is "tcp", "udp", "unix", "file", "command" or "" (not given)."""

    kind: str
    value: str = ""  # the address, path or command
    port: int = 0


def parse_ready(text: str) -> Ready:
    """Parse ``tcp:ADDR:PORT``, ``udp:ADDR:PORT`` (IPv6 in brackets), ``unix:/PATH``, ``file:/PATH``.

    Anything else is a command. Raises Failure where one of these prefixes is followed by
    anything else.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("tcp", "udp", "unix", "file"):
        return Ready("command", text) if text else Ready("")
    if kind in ("unix", "file"):
        if not rest.startswith("/"):
            raise Failure(
                f"cannot read ready = {text!r}: the path is not absolute", hint=f"write {kind}:/PATH"
            )
        return Ready(kind, rest)
    match = _SOCKET.fullmatch(text)
    try:
        if not match or not 0 < int(match[4]) < 65536:
            raise ValueError
        return Ready(kind, str(ipaddress.ip_address(match[2] or match[3])), int(match[4]))
    except ValueError:
        raise Failure(
            f"cannot read ready = {text!r}: it is no address and port",
            hint=f"write {kind}:127.0.0.1:PORT or {kind}:[::1]:PORT",
        ) from None


def state_of(box: Box, path: str) -> State:
    """Return the state of a path inside, links resolved there."""
    try:
        fd = box.open(path, os.O_PATH, inside=True)
    except OSError:
        return None
    info = os.fstat(fd)
    os.close(fd)
    return (info.st_dev, info.st_ino, info.st_ctime_ns)


def look(box: Box, ready: Ready, before: State) -> str:
    """Return the reason why the service is not ready yet; empty when it is. Not for commands.

    A socket must be bound by a process of this root. The state of a file or a unix socket must
    differ from ``before`` the start: the root may hold one of a live service.
    """
    if ready.kind in ("tcp", "udp"):
        return _look_bound(box, ready)
    now = state_of(box, ready.value)
    if now is None:
        return f"{ready.value} is not there"
    if ready.kind == "unix" and not _is_socket(box, ready.value):
        return f"{ready.value} is no socket"
    if now == before:
        return f"{ready.value} was there before the start, and has not changed"
    return ""


def _look_bound(box: Box, ready: Ready) -> str:
    where = f"{ready.kind}:{ready.value}:{ready.port}"
    bound = sockets.bound(box.proc("1/net"), ready.kind)
    here = [one for one in bound if one.port == ready.port]
    inodes = {one.inode for one in here if one.address in (ready.value, *_EVERY)}
    if not inodes:
        other = sorted({one.address for one in here})
        return f"nobody is bound to {where}" + (f", only to {', '.join(other)}" if other else "")
    inside = {process.pid for process in box.running()}
    owners = {pid for pid in _pids(box) if inodes & _sockets(box, pid)}
    if owners & inside:
        return ""
    names = ", ".join(f"{_comm(box, pid)} (pid {pid})" for pid in sorted(owners))
    return f"{where} is bound by {names or 'nobody that can be seen'}, whose root is not this root"


def _is_socket(box: Box, path: str) -> bool:
    try:
        fd = box.open(path, os.O_PATH, inside=True)
    except OSError:
        return False
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _pids(box: Box) -> list[int]:
    return [int(name) for name in os.listdir(box.proc("")) if name.isdigit()]


def _sockets(box: Box, pid: int) -> set[int]:
    """Return the inodes of a process's sockets: proc_pid_fd(5)."""
    found = set()
    try:
        for name in os.listdir(box.proc(f"{pid}/fd")):
            link = os.readlink(box.proc(f"{pid}/fd/{name}"))
            if link.startswith("socket:["):
                found.add(int(link[8:-1]))
    except OSError:
        pass  # it ended meanwhile
    return found


def _comm(box: Box, pid: int) -> str:
    try:
        with open(box.proc(f"{pid}/comm"), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "a process that ended"
