"""First target file of an installed program: package, unit, configuration, user, port.

To be completed by hand, and by `learn`.
"""

from __future__ import annotations

import contextlib
import os
import re

from chrootbuild.accounts.passwd import parse_users
from chrootbuild.command_names import RESERVED
from chrootbuild.errors import Failure, UsageError
from chrootbuild.new.config import Config, configuration, named_port, names_in, well_known_port
from chrootbuild.new.render import Findings, foreground, render
from chrootbuild.new.unit_file import Unit, listens, unit_named, unit_of
from chrootbuild.plan.programs import find_program
from chrootbuild.state.project import Project
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.packages import owner_of
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.sysroot.runtime_directories import runtime_directories
from chrootbuild.target.reader import read_target
from chrootbuild.target.schema import NAME

_SYSTEM = 100  # uids below are fixed, and their names common words


def write_new(project: Project, name: str, program: str) -> str:
    """Write targets/NAME.toml for a program and return its real path.

    Raises UsageError for an invalid name, Failure where the file exists or the program does not.
    """
    _check_name(name)
    path = f"{project.targets}/{name}.toml"
    if os.path.lexists(path):
        raise Failure(
            f"cannot write targets/{name}.toml: it is there already",
            hint="take another name, or remove it first",
        )
    text = render(find(Sysroot("/"), program))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None
    try:
        read_target(project, name)
    except BaseException:
        os.unlink(path)
        raise
    return path


def _check_name(name: str) -> None:
    if not re.match(NAME, name):
        raise UsageError(f"cannot name a target {name!r}: it has more than A-Z a-z 0-9 _ -")
    if name in RESERVED or name.startswith("-"):
        fact = "it would be taken for an option" if name.startswith("-") else "it is a command"
        raise UsageError(
            f"cannot name a target {name}: {fact}", hint=f"another name, like {name.strip('-') or 'my'}-root"
        )


# -- facts ---------------------------------------------------------------------------------


def find(sysroot: Sysroot, word: str) -> Findings:
    """Return the sysroot's facts about a program, given by path, by name, or by its unit's name.

    Raises Failure where there is no such program.
    """
    program, unit = _program(sysroot, word)
    base = os.path.basename(program)
    package = _owner(sysroot, program)
    names = tuple(dict.fromkeys((os.path.basename(word), base, package, base.removesuffix("d"))))
    unit = unit or unit_of(sysroot, program, tuple(filter(None, names)))
    argv = foreground(unit.start) if unit else (program,)
    packages = (package, _owner(sysroot, unit.path) if unit else "")
    config = configuration(sysroot, packages, argv[1:])
    if unit:
        names = tuple(dict.fromkeys((unit.name.removesuffix(".service"), *names)))
    ready, port_from = _ready(sysroot, program, unit, config, names)
    return Findings(
        program,
        package,
        unit,
        config,
        _users(sysroot, unit, config, names),
        _directories(sysroot, unit),
        ready,
        port_from,
    )


def _program(sysroot: Sysroot, word: str) -> tuple[str, Unit | None]:
    """Return the path of a program, and its unit if the word names a unit."""
    if "/" in word:
        path = os.path.normpath("/" + word.lstrip("/")) if word.startswith("/") else os.path.abspath(word)
        if sysroot.isfile(path):
            return path, None
    else:
        found = find_program(sysroot, word)
        if found is not None:
            return found, None
        unit = unit_named(sysroot, word)
        if unit is not None and sysroot.isfile(unit.start[0]):
            return unit.start[0], unit
    raise Failure(
        f"cannot find the program {word}",
        hint=f"install its package first, or name it by its path: chrootbuild locate {os.path.basename(word)}",
    )


def _owner(sysroot: Sysroot, path: str) -> str:
    found = owner_of(sysroot, path)
    if not found:
        with contextlib.suppress(Unreadable):
            found = owner_of(sysroot, sysroot.canonical(path))
    return found.partition(":")[0]


def _ready(
    sysroot: Sysroot, program: str, unit: Unit | None, config: Config, names: tuple[str, ...]
) -> tuple[str, str]:
    """Return the ``ready`` of the service, and its source."""
    protocol, address, port = "", "", 0
    if sysroot.sysroot == "/":
        with contextlib.suppress(Unreadable):
            protocol, address, port = listens(sysroot.canonical(program))
        if port:
            return _socket(protocol, address, port), "the one that runs here"
    address, port = named_port(sysroot, config)
    if port:
        return _socket("tcp", address, port), "its configuration"
    for value in unit.listens if unit else ():
        found = re.fullmatch(r"(?:(.*):)?([0-9]{1,5})", value)
        if found and 0 < int(found[2]) < 65536:
            return _socket("tcp", "", int(found[2])), "its socket unit"
    protocol, port = well_known_port(sysroot, names)
    if port and (unit or "/sbin/" in program):
        return _socket(protocol, "", port), "/etc/services"
    if unit and unit.pidfile and unit.forks:
        return f"file:{unit.pidfile}", "its unit"
    return "", ""


def _socket(protocol: str, address: str, port: int) -> str:
    address = address.strip("[]") or "127.0.0.1"
    return f"{protocol}:[{address}]:{port}" if ":" in address else f"{protocol}:{address}:{port}"


def _users(sysroot: Sysroot, unit: Unit | None, config: Config, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the likely accounts of the service: from its unit, configuration or name."""
    users = parse_users(sysroot.content("/etc/passwd")).users
    known = {user.name.decode("utf-8", "surrogateescape"): user.uid or 0 for user in users}
    found = [unit.user] if unit and unit.user else []
    found += [word for word in (unit.start if unit else ()) if known.get(word, 0)]
    found += [name for name in names_in(sysroot, config) if known.get(name, 0)]
    found += [name for name in names if known.get(name, 0) >= _SYSTEM or known.get(f"_{name}", 0) >= _SYSTEM]
    if unit and not unit.user:
        found.insert(0, "root")
    return tuple(dict.fromkeys(name for name in found if name in known))


def _directories(sysroot: Sysroot, unit: Unit | None) -> dict[str, dict[str, str]]:
    """Return the directories that the system makes for the service, as entries of [directories]."""
    if unit is None:
        return {}
    made = runtime_directories(sysroot)
    found: dict[str, dict[str, str]] = {}
    for path, mode in unit.directories:
        owner = unit.user or "root"
        about = {"mode": mode, "owner": owner, "group": unit.group or owner}
        if path in made:
            about = {"mode": made[path].mode, "owner": made[path].owner, "group": made[path].group}
        found[path] = {} if sysroot.isdir(path) and not path.startswith("/run/") else about
    if unit.pidfile and os.path.dirname(unit.pidfile) not in found:
        found[os.path.dirname(unit.pidfile)] = {}
    return found
