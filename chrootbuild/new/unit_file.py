"""Service units of a sysroot: systemd.service(5) and systemd.exec(5)."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.sockets import bound

# The first with a unit of a name wins: systemd.unit(5).
_PLACES = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_LIMIT = 1 << 18  # bytes of one file
_KINDS = {"Runtime": "/run", "State": "/var/lib", "Cache": "/var/cache", "Logs": "/var/log"}
_PREFIX = "@-:+!|"  # prefixes of the path in ExecStart=
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class Unit:
    """A service unit with its drop-ins."""

    name: str  # nginx.service
    path: str
    start: tuple[str, ...]
    forks: bool = False
    user: str = ""
    group: str = ""
    pidfile: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[tuple[str, str], ...] = ()  # path and mode
    listens: tuple[str, ...] = ()  # ListenStream= of the socket unit of the same name


def unit_of(sysroot: Sysroot, program: str, names: tuple[str, ...]) -> Unit | None:
    """Return the unit that starts the program at a path; of several the one in ``names``.

    Else a unit of one of the names, with any command: a script may start the program.
    """
    wanted = _canonical(sysroot, program)
    found = [unit for unit in _units(sysroot) if unit.start and _canonical(sysroot, unit.start[0]) == wanted]
    order = {name: index for index, name in enumerate(names)}
    if found:
        return min(
            found, key=lambda unit: (order.get(_stem(unit.name), len(names)), len(unit.name), unit.name)
        )
    return next((unit for name in names if (unit := unit_named(sysroot, name)) is not None), None)


def unit_named(sysroot: Sysroot, name: str) -> Unit | None:
    """Return the service unit of a name, with or without .service; None without one that has a command."""
    full = name if name.endswith(".service") else f"{name}.service"
    if "/" in full:
        return None
    path = next((f"{place}/{full}" for place in _PLACES if sysroot.isfile(f"{place}/{full}")), "")
    unit = _read(sysroot, sysroot.canonical(path)) if path else None
    return unit if unit is not None and unit.start else None


def _units(sysroot: Sysroot) -> Iterator[Unit]:
    """Yield all service units except templates, each name once."""
    seen: set[str] = set()
    for place in _PLACES:
        for name in _names(sysroot, place):
            path = f"{place}/{name}"
            if name.endswith(".service") and "@" not in name and sysroot.isfile(path):
                unit = _read(sysroot, sysroot.canonical(path))
                if unit is not None and unit.name not in seen:
                    yield unit
                    seen.add(unit.name)


def _names(sysroot: Sysroot, directory: str) -> list[str]:
    try:
        return sorted(sysroot.listdir(directory)) if sysroot.isdir(directory) else []
    except Unreadable:
        return []


def _read(sysroot: Sysroot, path: str) -> Unit | None:
    """Read a unit by its canonical path: a link is an alias."""
    name = os.path.basename(path)
    lines = [*_settings(_text(sysroot, path), "Service")]
    for place in reversed(_PLACES):
        folder = f"{place}/{name}.d"
        for part in _names(sysroot, folder):
            if part.endswith(".conf"):
                lines += _settings(_text(sysroot, f"{folder}/{part}"), "Service")
    values: dict[str, list[str]] = {}
    for key, value in lines:
        if value:
            values.setdefault(key, []).append(value)
        else:
            values.pop(key, None)  # an empty assignment resets those before it
    last = {key: found[-1] for key, found in values.items()}
    if last.get("Type") == "oneshot":
        return None
    env = _environment(sysroot, values)
    return Unit(
        name,
        path,
        _command(_expand(last.get("ExecStart", ""), name), env),
        last.get("Type") == "forking",
        _plain(last.get("User", "")),
        _plain(last.get("Group", "")),
        _pid_file(last.get("PIDFile", "")),
        _own(values, env),
        tuple(_directories(last)),
        tuple(
            value
            for key, value in _socket(sysroot, name)
            if key in ("ListenStream", "ListenDatagram") and value
        ),
    )


def _settings(text: str, section: str) -> Iterator[tuple[str, str]]:
    """Yield the assignments of one section; a trailing backslash continues a line."""
    here = ""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            here = line[1:-1]
        elif here == section and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def _socket(sysroot: Sysroot, name: str) -> Iterator[tuple[str, str]]:
    socket = f"{_stem(name)}.socket"
    path = next((f"{place}/{socket}" for place in _PLACES if sysroot.isfile(f"{place}/{socket}")), "")
    return _settings(_text(sysroot, path), "Socket") if path else iter(())


def _environment(sysroot: Sysroot, values: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the variables for ExecStart=: of Environment=, then of EnvironmentFile=."""
    found: dict[str, str] = {}
    for value in values.get("Environment", []):
        found.update(_assignments(value))
    # A file that is named repeatedly is read once, at its last place.
    last = dict.fromkeys(value.lstrip("-") for value in reversed(values.get("EnvironmentFile", [])))
    for path in reversed(last):
        if path.startswith("/"):
            for line in _text(sysroot, path).splitlines():
                if not line.lstrip().startswith(("#", ";")):
                    found.update(_assignments(line))
    return found


def _own(values: Mapping[str, list[str]], env: Mapping[str, str]) -> dict[str, str]:
    """Return the service's own variables: those of Environment=."""
    names = [name for value in values.get("Environment", []) for name, _ in _assignments(value)]
    return {name: env[name] for name in names}


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for word in _words(text):
        name, sign, value = word.partition("=")
        if sign and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            yield name, value


def _command(text: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the argv of ExecStart=: a lone "$NAME" becomes its words, one within a word its text."""
    argv: list[str] = []
    for word in _words(text.lstrip(_PREFIX)):
        whole = re.fullmatch(r"\$(\w+)", word)
        if whole:
            argv += _words(env.get(whole[1], ""))
        else:
            argv.append(_VARIABLE.sub(lambda match: env.get(match[1] or match[2], ""), word))
    return tuple(argv) if argv and argv[0].startswith("/") else ()


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _expand(text: str, name: str) -> str:
    """Replace the specifiers that do not depend on the machine: systemd.unit(5)."""
    stem = _stem(name)
    known = {
        "n": name,
        "N": stem,
        "p": stem,
        "t": "/run",
        "S": "/var/lib",
        "C": "/var/cache",
        "L": "/var/log",
    }
    known |= {"E": "/etc", "i": "", "I": "", "%": "%"}
    return re.sub(r"%(.)", lambda match: known.get(match[1], match[0]), text)


def _directories(last: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for kind, place in _KINDS.items():
        mode = last.get(f"{kind}DirectoryMode", "0755").zfill(4)
        for name in last.get(f"{kind}Directory", "").split():
            name = name.partition(":")[0].strip("/")
            if name and "%" not in name and ".." not in name.split("/"):
                yield f"{place}/{name}", mode if re.fullmatch("[0-7]{4}", mode) else "0755"


def _pid_file(text: str) -> str:
    if text and not text.startswith("/"):
        text = f"/run/{text}"
    return text.replace("/var/run/", "/run/", 1) if "%" not in text else ""


def _plain(name: str) -> str:
    return "" if "%" in name else name


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _canonical(sysroot: Sysroot, path: str) -> str:
    try:
        return sysroot.canonical(path)
    except Unreadable:
        return path


def _text(sysroot: Sysroot, path: str) -> str:
    return sysroot.content(path, _LIMIT).decode("utf-8", "surrogateescape")


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
