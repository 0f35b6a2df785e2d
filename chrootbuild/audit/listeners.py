"""Bound unix sockets of this machine by their inode, whatever their name is now: sock_diag(7)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_NETLINK_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301  # linux/netlink.h, linux/sock_diag.h
_ERROR, _DONE = 2, 3
_SHOW_NAME_AND_INODE = 3
_NAME, _VFS = 0, 1  # linux/unix_diag.h
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_BODY = 16  # bytes of a unix_diag_msg
_MOST = 1 << 20  # sockets, and
_FILES = 1 << 16  # open files examined of one process


class Listener(NamedTuple):
    """A socket that a process bound: its name as given to bind(2), the inode of the socket, and that of its file.

    ``file`` is (device, inode) as stat(2) has it, the inode cut to 32 bits; None where it is not known.
    """

    name: str
    inode: int
    file: tuple[int, int] | None = None


class Listeners:
    """The bound sockets of this machine."""

    def __init__(self, found: Iterable[Listener]) -> None:
        self._by_file: dict[tuple[int, int], Listener] = {}
        self._by_name: dict[str, Listener] = {}
        self._holders: dict[int, list[tuple[int, str]]] | None = None
        for listener in found:
            if listener.file is not None:
                self._by_file.setdefault(listener.file, listener)
            if listener.name.startswith("/"):
                self._by_name.setdefault(listener.name, listener)

    def of(self, path: str, info: os.stat_result) -> Listener | None:
        """Return who listens on a socket: by the file's inode, else by its real path."""
        return self._by_file.get((info.st_dev, info.st_ino & 0xFFFFFFFF)) or self._by_name.get(path)

    def holders(self, listener: Listener) -> tuple[tuple[int, str], ...]:
        """Return the processes that hold a socket, (pid, name), as of the first call."""
        if self._holders is None:  # once: a daemon may have bound any number of sockets
            try:
                self._holders = _holders()
            except OSError:
                self._holders = {}
        return tuple(self._holders.get(listener.inode, ()))


NO_LISTENERS = Listeners(())


def read_listeners() -> Listeners:
    """Return the bound sockets: of the kernel's list by inode, else of /proc/net/unix by name alone."""
    try:
        return Listeners(_dumped())
    except OSError:
        return Listeners(_listed())


def parse_dump(data: bytes) -> Iterator[Listener]:
    """Yield the sockets of one answer; raises EOFError at the end of the list, OSError for an error."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _DONE:
            raise EOFError
        if kind == _ERROR or length < _HEADER.size:
            raise OSError("the kernel lists no sockets")
        body = data[at + _HEADER.size : at + length]
        if len(body) >= _BODY:
            yield _listener(body)
        at += length + 3 & ~3


def _listener(body: bytes) -> Listener:
    (inode,) = struct.unpack_from("=I", body, 4)
    name, file, at = b"", None, _BODY
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        value = body[at + _ATTRIBUTE.size : at + length]
        if kind == _NAME:
            name = value.rstrip(b"\0")
        elif kind == _VFS and len(value) >= 8:
            number, device = struct.unpack_from("=II", value)
            file = os.makedev(device >> 20, device & 0xFFFFF), number  # the kernel's own dev_t
        at += max(length, _ATTRIBUTE.size) + 3 & ~3
    return Listener(os.fsdecode(name), inode, file)


def _dumped() -> Iterator[Listener]:
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME_AND_INODE, 0, 0)
    header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 1, 0)
    found: list[Listener] = []  # kept though the list's end is told by an exception
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        raise OSError("no netlink(7)")
    with socket.socket(family, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as end:
        end.settimeout(10)
        end.send(header + request)
        try:
            while len(found) < _MOST:
                found.extend(one for one in parse_dump(end.recv(1 << 20)) if one.file is not None)
        except EOFError:
            pass
    return iter(found)


def _listed() -> Iterator[Listener]:
    """Yield the sockets of proc_net_unix(5) that have a path."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(None, 7) for line in file]
    except OSError:
        return
    for row in rows[1:]:
        if len(row) > 7 and row[7].startswith("/") and row[6].isdigit():
            yield Listener(row[7], int(row[6]))


def _holders() -> dict[int, list[tuple[int, str]]]:
    """Return the processes that hold each socket, by its inode; those of others are seen by root alone."""
    found: dict[int, list[tuple[int, str]]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            texts = {_link(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")[:_FILES]}
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().rstrip("\n")
        except OSError:
            continue  # it has ended, or is somebody else's
        for text in texts:
            if text.startswith("socket:["):
                found.setdefault(int(text[len("socket:[") : -1]), []).append((int(pid), name))
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
