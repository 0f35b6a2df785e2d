"""Directories that a system makes at boot or at a service's start, so that a sysroot may lack them.

tmpfiles.d(5) and the RuntimeDirectory=, StateDirectory=, CacheDirectory= and
LogsDirectory= of units, systemd.exec(5). A sysroot that was not booted lacks
them, and yet every service may rely on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot

_TMPFILES = ("/usr/lib/tmpfiles.d", "/etc/tmpfiles.d")
_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
_PLACES = {"Runtime": "/run", "State": "/var/lib", "Cache": "/var/cache", "Logs": "/var/log"}
_LIMIT = 1 << 16  # bytes of one file
_LINE = re.compile(r"[dDvqQ][!+=~^-]*\s+(/\S*)(?:\s+(\S+))?(?:\s+(\S+))?(?:\s+(\S+))?")
_MODE = re.compile(r"[~:]*([0-7]{3,4})")
# The system's own, which no service of a root should find.
_SYSTEM = re.compile(
    r"/run/(?:systemd|udev|user|lock|log|initctl|mount)(?:/.*)?|/(?:tmp|var/tmp|run|home|srv|root)"
)


@dataclass(frozen=True, slots=True)
class RuntimeDirectory:
    """A directory's mode (four octal digits), and owner and group as written."""

    mode: str = "0755"
    owner: str = "root"
    group: str = "root"


def runtime_directories(sysroot: Sysroot) -> dict[str, RuntimeDirectory]:
    """Return the directories that exist at the start of the sysroot's services, by path."""
    found: dict[str, RuntimeDirectory] = {}
    for path in _files(sysroot, _TMPFILES, ".conf"):
        found.update(_tmpfiles(_text(sysroot, path)))
    for path in _files(sysroot, _UNITS, ".service"):
        found.update(_unit(_text(sysroot, path)))
    return {path: directory for path, directory in sorted(found.items()) if not _SYSTEM.fullmatch(path)}


def _files(sysroot: Sysroot, directories: tuple[str, ...], end: str) -> Iterator[str]:
    seen: set[str] = set()
    for directory in directories:
        try:
            canonical = sysroot.canonical(directory)
            names = sysroot.listdir(directory)
        except Unreadable:
            continue
        if canonical in seen:
            continue
        seen.add(canonical)
        yield from (f"{directory}/{name}" for name in names if name.endswith(end))


def _text(sysroot: Sysroot, path: str) -> str:
    return sysroot.content(path, _LIMIT).decode("utf-8", "surrogateescape")


def _tmpfiles(text: str) -> Iterator[tuple[str, RuntimeDirectory]]:
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or "%" in found.group(1):
            continue
        path, mode, owner, group = found.groups()
        path = path.rstrip("/")
        if path.startswith("/var/run/"):
            path = path.removeprefix("/var")
        yield path, RuntimeDirectory(_mode(mode), _owner(owner), _owner(group))


def _unit(text: str) -> Iterator[tuple[str, RuntimeDirectory]]:
    settings: dict[str, str] = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if sign and key.strip().isalpha():
            settings[key.strip()] = value.strip()
    owner = _owner(settings.get("User"))
    group = _owner(settings.get("Group")) if "Group" in settings else owner
    for kind, place in _PLACES.items():
        for name in settings.get(f"{kind}Directory", "").split():
            name = name.partition(":")[0].strip("/")
            if name and "%" not in name and ".." not in name.split("/"):
                mode = _mode(settings.get(f"{kind}DirectoryMode"))
                yield f"{place}/{name}", RuntimeDirectory(mode, owner, group)


def _mode(text: str | None) -> str:
    found = _MODE.fullmatch(text or "")
    return found.group(1).zfill(4) if found else "0755"


def _owner(text: str | None) -> str:
    name = (text or "").lstrip(":")
    return name if name and name != "-" and "%" not in name else "root"
