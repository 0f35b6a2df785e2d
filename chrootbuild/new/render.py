"""Text of a first target file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chrootbuild.new.config import Config
from chrootbuild.new.unit_file import Unit
from chrootbuild.text import toml_value

# Options that send a service into the background: "daemon on", "daemonize yes", "--background=true".
_BACKGROUND = re.compile(r"(?i)\b(daemon(?:ize)?|background)(\s+|=)(on|yes|true)\b")
_SHOWN = 10  # paths left out


@dataclass(frozen=True, slots=True)
class Findings:
    """Facts about a program."""

    program: str
    package: str
    unit: Unit | None
    config: Config
    users: tuple[str, ...]
    directories: Mapping[str, Mapping[str, str]]
    ready: str = ""  # as [check.service] has it
    port_from: str = ""  # source of the port


def render(found: Findings) -> str:
    """Return the text of the target file."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Findings) -> Iterator[str]:
    unit = found.unit
    origin = f", from the package {found.package}" if found.package else ""
    yield f"# Made from what is installed{': ' + unit.path if unit else ''}. `chrootbuild learn` adds what is missing."
    yield f"summary  = {toml_value(os.path.basename(found.program) + origin)}"
    yield f"binaries = {toml_value(_programs(found))}"
    if found.config.entries:
        yield "files    = ["
        yield from (f"  {toml_value(entry)}," for entry in found.config.entries)
        yield "]"
    if found.config.closed:
        yield "# Not for everybody to read, and so left out of a tree; name them if the service needs them:"
        yield from (f"#   {toml_value(path)}," for path in found.config.closed[:_SHOWN])
    if found.users:
        yield ""
        yield "[accounts]"
        yield f"users = {toml_value(list(found.users))}"
    if found.directories:
        yield ""
        yield "[directories]"
        for path, about in found.directories.items():
            yield f"{toml_value(path)} = {toml_value(about)}"
    if unit:
        yield ""
        yield "[host]"
        yield f"restart = {toml_value(f'systemctl restart {unit.name}')}"
    yield ""
    yield from _check(found)


def _programs(found: Findings) -> list[str]:
    """Return the program, and the unit's command if it differs: a wrapper script."""
    started = found.unit.start[0] if found.unit else found.program
    return list(dict.fromkeys((found.program, started)))


def _check(found: Findings) -> Iterator[str]:
    unit = found.unit
    if unit is None and not found.ready:
        yield "[check]"
        yield f"run = [[{toml_value(found.program)}, {toml_value('--version')}]]"
        return
    argv = foreground(unit.start) if unit else (found.program,)
    yield "[check.service]"
    yield f"start = {toml_value(list(argv))}"
    if unit and unit.forks and argv == unit.start:
        yield "# It goes into the background, says its unit: check and learn follow it there."
    if unit and unit.user:
        yield f"user  = {toml_value(f'{unit.user}:{unit.group}' if unit.group else unit.user)}"
    if unit and unit.env:
        yield f"env   = {toml_value(unit.env)}"
    if found.ready:
        yield f"ready = {toml_value(found.ready)}  # from {found.port_from}"
    if found.ready.startswith("tcp:"):
        _, _, where = found.ready.partition(":")
        address, _, port = where.rpartition(":")
        yield "# The port answers. A client of the service proves more, and lets learn see more."
        plain = address.strip("[]")
        yield f"probe = {toml_value([f'exec 3<>/dev/tcp/{plain}/{port}'])}"


def foreground(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command line with its background options set to "off"."""
    off = {"on": "off", "yes": "no", "true": "false"}

    def stay(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}{off[match[3].lower()]}"

    words = [_BACKGROUND.sub(stay, word) for word in argv]
    for index, word in enumerate(words[:-1]):
        if re.fullmatch(r"(?i)--?(daemon(ize)?|background)", word) and words[index + 1].lower() in off:
            words[index + 1] = off[words[index + 1].lower()]
    return tuple(words)
