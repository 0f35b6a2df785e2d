"""The standard device nodes of Linux and FreeBSD: numbers, modes and owners by name.

A bare name in ``devices`` is the node of that name in the system's own /dev,
or one of the sets below. Any other is given with its
numbers: ``{ name = "fuse", char = "10:229" }``.

Linux: numbers of the kernel's Documentation/admin-guide/devices.txt, modes as
devtmpfs and udev give them. ``std`` is null, zero, full, random, urandom, tty,
and the links fd, stdin, stdout, stderr to /proc/self/fd, which devices.txt
calls compulsory (they dangle without /proc among ``mounts``).

FreeBSD 4.x, and 5.x without devfs (later kernels know only devfs): numbers and
modes of etc/MAKEDEV, FreeBSD's last one; for random, urandom and stdin, stdout,
stderr, which 5.x has otherwise, those of DragonFly's, which comes from FreeBSD
4.x. ``std`` and ``jail`` are its sets (without mdctl, whose minor number Linux
cannot make, and without jail's terminals, which are ``pty0``); ``fd`` is fd/0
to fd/63.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chrootbuild.artifact import Device, Origin
from chrootbuild.errors import TargetError
from chrootbuild.target.model import DeviceItem
from chrootbuild.text import did_you_mean

Standard = tuple[Device, int, str, str]  # device, mode, owner, group


@dataclass(frozen=True, slots=True)
class Node:
    """A device node below /dev, or with ``link`` a symlink there."""

    name: str  # below /dev: "null", "net/tun"
    device: Device | None = None
    mode: int = 0
    owner: str = ""  # a name, or a number as text
    group: str = ""
    link: str = ""


def _char(major: int, minor: int, mode: int, group: str = "root", owner: str = "root") -> Standard:
    return Device(True, major, minor), mode, owner, group


def _linux() -> dict[str, Standard]:
    table = {
        "mem": _char(1, 1, 0o640, "kmem"),
        "null": _char(1, 3, 0o666),
        "port": _char(1, 4, 0o640, "kmem"),
        "zero": _char(1, 5, 0o666),
        "full": _char(1, 7, 0o666),
        "random": _char(1, 8, 0o666),
        "urandom": _char(1, 9, 0o666),
        "kmsg": _char(1, 11, 0o644),
        "tty": _char(5, 0, 0o666, "tty"),
        "console": _char(5, 1, 0o600),
        "ptmx": _char(5, 2, 0o666, "tty"),
        "hwrng": _char(10, 183, 0o600),
        "net/tun": _char(10, 200, 0o666),
        "fuse": _char(10, 229, 0o666),
        "kvm": _char(10, 232, 0o660, "kvm"),
        "loop-control": _char(10, 237, 0o660, "disk"),
        "vhost-net": _char(10, 238, 0o660, "kvm"),
        "ppp": _char(108, 0, 0o600),
    }
    table |= {f"tty{unit}": _char(4, unit, 0o620, "tty") for unit in range(64)}
    table |= {f"ttyS{unit}": _char(4, 64 + unit, 0o660, "dialout") for unit in range(32)}
    table |= {f"loop{unit}": (Device(False, 7, unit), 0o660, "root", "disk") for unit in range(8)}
    return table


_PTY_UNITS = "0123456789abcdefghijklmnopqrstuv"


def _freebsd() -> dict[str, Standard]:
    table = {
        "console": _char(0, 0, 0o600, "wheel"),
        "tty": _char(1, 0, 0o666, "wheel"),
        "mem": _char(2, 0, 0o640, "kmem"),
        "kmem": _char(2, 1, 0o640, "kmem"),
        "null": _char(2, 2, 0o666, "wheel"),
        "random": _char(2, 3, 0o644, "wheel"),
        "urandom": _char(2, 4, 0o644, "wheel"),
        "zero": _char(2, 12, 0o666, "wheel"),
        "io": _char(2, 14, 0o600, "wheel"),
        "klog": _char(7, 0, 0o600, "wheel"),
        "stdin": _char(22, 0, 0o666, "wheel"),
        "stdout": _char(22, 1, 0o666, "wheel"),
        "stderr": _char(22, 2, 0o666, "wheel"),
        "pci": _char(78, 0, 0o644, "wheel"),
    }
    table |= {f"fd/{number}": _char(22, number, 0o666, "wheel") for number in range(64)}
    for group, letter in enumerate("pqrsPQRS"):
        for unit, last in enumerate(_PTY_UNITS):
            table[f"tty{letter}{last}"] = _char(5, 32 * group + unit, 0o666, "wheel")
            table[f"pty{letter}{last}"] = _char(6, 32 * group + unit, 0o666, "wheel")
    return table


_TABLES = {"linux": _linux(), "freebsd": _freebsd()}

_LINKS = {
    "linux": {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    },
    "freebsd": {},
}

_FD = tuple(f"fd/{number}" for number in range(64))
_JAIL = ("null", "random", "urandom", "zero", "tty", "stdin", "stdout", "stderr", *_FD)
_SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "linux": {
        "std": ("null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr"),
    },
    "freebsd": {
        "std": ("console", "mem", "kmem", "io", "klog", "pci", *_JAIL),
        "jail": _JAIL,
        "fd": _FD,
        **{
            f"pty{group}": tuple(f"{kind}{letter}{unit}" for unit in _PTY_UNITS for kind in ("tty", "pty"))
            for group, letter in enumerate("pqrsPQRS")
        },
    },
}

# MAKEDEV jail links these in place of nodes it leaves out, for programs that only open them.
_JAIL_LINKS = ("mem", "kmem", "console")

# Names that the shipped includes list for every system, but MAKEDEV lacks.
DEVFS_ONLY = frozenset({"full"})

_NO_NODES = {
    "log": "it is the socket of the system's logger: [syslog] socket = true",
    "pts": 'it is a file system of its own: mounts = ["/dev/pts"]',
    "shm": 'it is a directory: [directories] "/dev/shm" = { mode = "1777" }',
}


def names(system: str) -> tuple[str, ...]:
    """Return all bare names known on "linux" or "freebsd"."""
    return tuple(sorted({*_TABLES[system], *_LINKS[system], *_SETS[system]}))


def device(name: str, system: str, origin: Origin | None = None) -> Standard:
    """Return (device, mode, owner, group) of a standard node of "linux" or "freebsd".

    Owner and group are names. Raises TargetError for a name that is not in the
    system's table.
    """
    found = _TABLES[system].get(name)
    if found is None:
        raise _unknown(name, system, origin)
    return found


def resolve(item: DeviceItem, system: str) -> list[Node]:
    """Return the nodes and links of an entry of ``devices``.

    The entry overrides the table. Where an entry has numbers and its
    name is not in the table, it is root's and mode 0600. Raises TargetError for
    an unknown name without numbers, and for a name that leads out of /dev.
    """
    if not re.fullmatch(r"[^/\0]+(/[^/\0]+)*", item.name) or {".", ".."} & set(item.name.split("/")):
        raise TargetError(
            f"cannot make the device {item.name!r} ({item.origin}): that is no path below /dev",
            hint='write the name as it stands in /dev: "null", "net/tun"',
        )
    if item.device is not None:
        _, mode, owner, group = _TABLES[system].get(item.name, _char(0, 0, 0o600, "0", "0"))
        return [_node(item, item.name, (item.device, mode, owner, group))]
    links = _LINKS[system]
    members = _SETS[system].get(item.name, (item.name,))
    found = []
    for name in members:
        if name in links:
            found.append(Node(name, link=links[name]))
        else:
            found.append(_node(item, name, device(name, system, item.origin)))
    if system == "freebsd" and item.name == "jail":
        found += [Node(name, link="null") for name in _JAIL_LINKS]
    return found


def _node(item: DeviceItem, name: str, standard: Standard) -> Node:
    number, mode, owner, group = standard
    return Node(
        name,
        number,
        mode if item.mode is None else item.mode,
        item.owner or owner,
        item.group or group,
    )


def _unknown(name: str, system: str, origin: Origin | None) -> TargetError:
    where = f" ({origin})" if origin else ""
    message = f"cannot make the device {name}{where}: {'FreeBSD' if system == 'freebsd' else 'Linux'}"
    if name in _NO_NODES:
        return TargetError(f"cannot make the device {name}{where}: {_NO_NODES[name]}")
    near = did_you_mean(name, names(system), 3)
    hint = f'or write its numbers: {{ name = "{name}", char = "MAJOR:MINOR" }}; ls -l /dev/{name} shows them'
    if near:
        hint = f"{near} {hint[0].upper()}{hint[1:]}"
    else:
        hint = hint.removeprefix("or ")
    return TargetError(f"{message} has no standard node of that name", hint=hint)
