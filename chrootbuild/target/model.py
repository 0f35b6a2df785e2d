"""Targets as frozen values, made by target.py.

Every value carries its :class:`~chrootbuild.artifact.Origin`, so that a later
error still names file, key and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chrootbuild.artifact import Device, Origin


@dataclass(frozen=True, slots=True)
class Item:
    """One string of a list or table, and its origin."""

    value: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class FileItem:
    """An entry of ``files``: a file, a tree (slash at the end), or a glob."""

    path: str  # as written: "/usr/share/zoneinfo/Asia/", "/etc/bind/*.conf"
    origin: Origin
    owner: str = ""  # a name or a number; empty: as in the sysroot
    group: str = ""
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class DirectoryItem:
    """An entry of ``[directories]``; None and empty mean as in the sysroot, else root 0755."""

    path: str
    origin: Origin
    owner: str = ""
    group: str = ""
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class TextItem:
    """An entry of ``[text]``."""

    path: str
    content: str
    origin: Origin
    owner: str = ""
    group: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class DeviceItem:
    """An entry of ``devices``; a bare name has no device: its system's table gives it."""

    name: str  # below /dev: "null", "pts/0"
    origin: Origin
    device: Device | None = None
    owner: str = ""
    group: str = ""
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Accounts:
    """``[accounts]``."""

    origin: Origin
    min_uid: int | None = None  # None: only named ones; 0: every line
    users: tuple[Item, ...] = ()
    groups: tuple[Item, ...] = ()
    extra: tuple[Item, ...] = ()  # whole passwd lines
    extra_groups: tuple[Item, ...] = ()  # whole group lines
    format: str = ""  # "linux", "freebsd", or "" for the root's system
    passwords: tuple[Item, ...] = ()
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class HostSide:
    """``[host]``."""

    links: Mapping[str, Item] = field(default_factory=dict)
    wrapper: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    restart: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """An entry of ``[check] run``."""

    argv: tuple[str, ...]
    origin: Origin
    stdout: str | None = None  # a regular expression for re.search
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """``[check.service]``."""

    origin: Origin
    start: tuple[str, ...]
    user: str = "root"  # "nobody" or "nobody:nogroup", names or numbers
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = ""
    probe: tuple[str | tuple[str, ...], ...] = ()  # a string for the shell, or an argv
    stop_signal: str = "TERM"
    timeout: float = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """``[check] limits``: what all of a check may take together; the sizes in bytes."""

    processes: int = 1024  # and threads
    memory: int = 2 << 30
    files: int = 1 << 30  # in throw-away overlays and /dev/shm
    trace: int = 256 << 20  # the text of strace(1)


@dataclass(frozen=True, slots=True)
class Check:
    """``[check]``."""

    prepare: tuple[str | tuple[str, ...], ...] = ()
    run: tuple[Command, ...] = ()
    service: Service | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Target:
    """One root, as described by its target file, includes and learned file."""

    name: str
    file: str  # real path of targets/NAME.toml
    origin: Origin
    root: str  # real path, absolute
    summary: str = ""
    manual: bool = False
    sysroot: str = "/"  # real path, absolute
    os: str = ""  # "linux", "freebsd", or "" to detect from the sysroot's programs
    binaries: tuple[Item, ...] = ()
    libraries: tuple[Item, ...] = ()
    files: tuple[FileItem, ...] = ()
    exclude: tuple[Item, ...] = ()
    seed: tuple[Item, ...] = ()
    timezone: Item | None = None
    devices: tuple[DeviceItem, ...] = ()
    mounts: tuple[Item, ...] = ()
    setuid: tuple[Item, ...] = ()
    accounts: Accounts | None = None
    directories: Mapping[str, DirectoryItem] = field(default_factory=dict)
    links: Mapping[str, Item] = field(default_factory=dict)
    text: Mapping[str, TextItem] = field(default_factory=dict)
    temporary: tuple[Item, ...] = ()
    syslog: bool = False
    host: HostSide = field(default_factory=HostSide)
    check: Check = field(default_factory=Check)
    audit_ignore: Mapping[str, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()  # real paths of the files read
    absent: tuple[str, ...] = ()  # real paths of absent files that would have been read
