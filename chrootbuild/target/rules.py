"""Rules for one target file beyond its schema: values that need a parser."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from enum import Enum

from chrootbuild.target import schema
from chrootbuild.target.layers import check_claims
from chrootbuild.target.parse import Parsed
from chrootbuild.target.toml_lines import KeyPath
from chrootbuild.text import did_you_mean, printable_or_quoted, quote


class Role(Enum):
    """Role of a file; the value is its name in messages."""

    TARGET = "a target file"
    INCLUDE = "an include"
    LEARNED = "a learned file"


_REFUSED: dict[Role, tuple[str, ...]] = {
    Role.TARGET: (),
    Role.INCLUDE: ("root", "manual"),
    # A trace may propose content of a root; it must decide nothing else, and run nothing.
    Role.LEARNED: (
        *("root", "manual", "summary", "include", "sysroot", "os"),
        *("setuid", "build", "host", "check", "audit"),
    ),
}


def check_file(parsed: Parsed, role: Role) -> None:
    """Check the rules beyond the schema; raises TargetError for the first violation."""
    for key in _REFUSED[role]:
        if getattr(parsed.data, key) not in (None, []):
            raise parsed.wrong(
                (key,), f"{role.value} may not have this key", "write it in the target itself"
            )
    if role is Role.LEARNED and parsed.data.accounts is not None and parsed.data.accounts.passwords:
        where: KeyPath = ("accounts", "passwords")
        raise parsed.wrong(where, "no password is learned", "write it in the target itself")
    _check_entries(parsed)
    _check_accounts(parsed)
    _check_links(parsed)
    _check_devices(parsed)
    _check_commands(parsed)
    if parsed.data.check is not None and parsed.data.check.service is not None:
        _check_service(parsed, parsed.data.check.service)
    check_claims(parsed)


# -- lists with named entries -----------------------------------------------------------------


def _check_entries(parsed: Parsed) -> None:
    """Refuse two differing entries of one list for the same path."""
    files: dict[str, tuple[int, object]] = {}
    for index, entry in enumerate(parsed.data.files):
        path = entry if isinstance(entry, str) else entry.path
        said = (None, None, None) if isinstance(entry, str) else (entry.owner, entry.group, entry.mode)
        _say_once(parsed, "files", path, index, said, files)
    devices: dict[str, tuple[int, object]] = {}
    for index, device in enumerate(parsed.data.devices):
        name = device if isinstance(device, str) else device.name
        _say_once(parsed, "devices", name, index, device, devices)


def _say_once(
    parsed: Parsed, key: str, name: str, index: int, said: object, seen: dict[str, tuple[int, object]]
) -> None:
    first, before = seen.setdefault(name, (index, said))
    if before != said:
        line = parsed.origin(key, first).line
        where = f" (first in line {line})" if line else ""
        raise parsed.wrong(
            (key, index),
            f"{printable_or_quoted(name)} stands twice, with different words{where}",
            "keep one of them",
        )


def _check_accounts(parsed: Parsed) -> None:
    accounts = parsed.data.accounts or schema.Accounts()
    for key, lines in (("extra", accounts.extra), ("extra_groups", accounts.extra_groups)):
        names: dict[str, int] = {}
        for index, line in enumerate(lines):
            name = line.split(":")[0]
            if lines[names.setdefault(name, index)] != line:
                fact = f"there are two lines for {printable_or_quoted(name)}"
                raise parsed.wrong(("accounts", key, index), fact, "keep one of them")


def account_line(line: str, *, group: bool, system: str) -> tuple[str, str] | None:
    """Return fact and hint for a wrong line of passwd(5) or group(5), else None."""
    fields = line.split(":")
    if group:
        counts, like = [4], "name:x:gid:members"
    elif system == "freebsd" or (not system and len(fields) == 10):
        counts, like = [7, 10], "name:*:uid:gid:class:change:expire:gecos:home:shell"
    else:
        counts, like = [7], "name:x:uid:gid:gecos:home:shell"
    if len(fields) not in counts:
        fact = f"the line has {len(fields)} fields, and has to have {' or '.join(map(str, counts))}"
        other = ', or set format = "freebsd"' if len(fields) == 10 else ""
        return fact, f"write it as {like}{other}"
    if not re.match(schema.USER, fields[0]):
        return f"{quote(fields[0])} is not a name", f"write it as {like}"
    for number in fields[2:3] if group else fields[2:4]:
        if not re.fullmatch(r"[0-9]{1,10}", number) or int(number) > 4294967294:
            return f"{quote(number)} is not an id", f"write it as {like}"
    return None


def _check_links(parsed: Parsed) -> None:
    for path, text in parsed.data.links.items():
        if os.path.normpath(os.path.join(os.path.dirname(path), text)) == path:
            raise parsed.wrong(("links", path), "the link points to itself")


def _check_devices(parsed: Parsed) -> None:
    for index, entry in enumerate(parsed.data.devices):
        if isinstance(entry, str):
            continue
        if entry.char is not None and entry.block is not None:
            raise parsed.wrong(("devices", index, "block"), "a device is char or block, not both")
        for key in ("char", "block"):
            numbers = getattr(entry, key)
            # The kernel's dev_t has 12 bits for the major and 20 for the minor number.
            if numbers and not _in_range(numbers):
                raise parsed.wrong(
                    ("devices", index, key),
                    f"{quote(numbers)} is out of range",
                    "a major number is at most 4095, a minor at most 1048575",
                )


def _in_range(numbers: str) -> bool:
    major, minor = map(int, numbers.split(":"))
    return major < 1 << 12 and minor < 1 << 20


# -- commands ---------------------------------------------------------------------------------


def _check_commands(parsed: Parsed) -> None:
    for where, argv in _commands(parsed.data):
        if not argv[0].strip():
            raise parsed.wrong(where, "the name of the program is empty")
        if "\0" in argv[0]:
            raise parsed.wrong(where, "it has a NUL character in it")
        if any("\0" in word for word in argv):
            raise parsed.wrong(where, "there is a NUL in it")
    for index, entry in enumerate(parsed.data.check.run if parsed.data.check else ()):
        if isinstance(entry, schema.Run) and entry.stdout is not None:
            try:
                with warnings.catch_warnings(action="ignore", category=FutureWarning):
                    re.compile(entry.stdout)
            except (re.error, ValueError, OverflowError, RecursionError) as error:
                raise parsed.wrong(
                    ("check", "run", index, "stdout"),
                    f"{quote(entry.stdout)} is not a regular expression: {error}",
                    "put a backslash before each of .*+?()[]{}|^$ that is meant as it is,"
                    " and the whole in single quotes",
                ) from None


def _commands(data: schema.TargetFile) -> Iterator[tuple[KeyPath, list[str]]]:
    check = data.check or schema.Check()
    for index, run in enumerate(check.run):
        yield ("check", "run", index), run.argv if isinstance(run, schema.Run) else run
    for index, command in enumerate(check.prepare):
        yield ("check", "prepare", index), command if isinstance(command, list) else [command]
    for index, command in enumerate(check.service.probe if check.service else ()):
        yield ("check", "service", "probe", index), command if isinstance(command, list) else [command]
    if check.service and check.service.start:
        yield ("check", "service", "start"), check.service.start
    for path, argv in data.host.wrapper.items() if data.host else ():
        yield ("host", "wrapper", path), argv


def _check_service(parsed: Parsed, service: schema.Service) -> None:
    where: KeyPath = ("check", "service")
    if service.ready is not None and (wrong := _ready(service.ready)):
        raise parsed.wrong((*where, "ready"), *wrong)
    if service.stop_signal is not None:
        from signal import Signals  # builds its enumerations when imported

        name = service.stop_signal.removeprefix("SIG")
        if name not in (known := [signal.name[3:] for signal in Signals]):
            hint = did_you_mean(name, known) or 'write it as "TERM"'
            raise parsed.wrong(
                (*where, "stop_signal"), f"{quote(service.stop_signal)} is not a signal", hint
            )


_READY = ("tcp", "udp", "unix", "file")


def _ready(text: str) -> tuple[str, str] | None:
    """Return fact and hint for a wrong ``ready``, else None; a value not like an address is a command."""
    kind, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[a-z]+", kind):
        return None
    if kind in ("tcp", "udp"):
        match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_.-]+):([0-9]{1,5})", rest)
        if match is None or not 1 <= int(match[1]) <= 65535:
            return (
                f"{quote(text)} is not an address",
                f'write "{kind}:127.0.0.1:8080" or "{kind}:[::1]:8080"',
            )
        return None
    if kind in ("unix", "file"):
        if re.match(schema.PATH, rest):
            return None
        return (
            f"{quote(text)} has no absolute path",
            f'write "{kind}:/run/name", the path as it is in the root',
        )
    if re.search(r"\s", text):
        return None
    hint = (
        did_you_mean(kind, _READY)
        or "write tcp:ADDR:PORT, udp:ADDR:PORT, unix:/path, file:/path, or a command"
    )
    return f"{quote(text)} is neither an address nor a command", hint
