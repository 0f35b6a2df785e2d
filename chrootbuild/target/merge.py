"""Merges the layers of a target, as if written one after another: the last value wins.

Order: the learned file, the includes, the target itself. Lists grow, equal
entries once; tables merge key by key; of two different claims on one path the
later file's is kept (targetlayers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from chrootbuild.artifact import Device
from chrootbuild.target import model, schema
from chrootbuild.target.layers import Stack, is_glob
from chrootbuild.target.parse import Parsed
from chrootbuild.target.rules import account_line

_MOST = 1 << 60  # bytes: more than there is, and no more than every kernel can count


def merge(name: str, layers: Sequence[Parsed], *, root: str, sysroot: str) -> model.Target:
    """Return the target of ``layers``, the lowest first, the target's own file last.

    ``root`` and ``sysroot`` are real paths. Raises TargetError.
    """
    stack = Stack(layers)
    target = layers[-1]
    system = stack.last(lambda data: data.os) or ""
    return model.Target(
        name=name,
        file=target.path,
        origin=target.origin("root"),
        root=root,
        summary=target.data.summary or "",
        manual=bool(target.data.manual),
        sysroot=sysroot,
        os=system,
        binaries=stack.items("binaries", lambda data: data.binaries, "copy"),
        libraries=stack.items("libraries", lambda data: data.libraries, "copy", globs=True),
        files=_files(stack),
        exclude=stack.items("exclude", lambda data: data.exclude),
        seed=stack.items("seed", lambda data: data.seed, "seed"),
        timezone=_timezone(stack),
        devices=_devices(stack),
        mounts=stack.items("mounts", lambda data: data.mounts),
        setuid=stack.items("setuid", lambda data: data.setuid),
        accounts=_accounts(stack, system),
        directories=_directories(stack),
        links=stack.table("links", lambda data: data.links, "link"),
        text=_text(stack),
        temporary=stack.items("build.temporary", lambda data: data.build.temporary if data.build else ()),
        syslog=bool(stack.last(lambda data: data.syslog.socket if data.syslog else None)),
        host=_host(stack),
        check=_check(stack),
        audit_ignore=_words(
            stack.table("audit.ignore", lambda data: data.audit.ignore if data.audit else {})
        ),
    )


def _words(items: Mapping[str, model.Item]) -> dict[str, str]:
    return {name: item.value for name, item in items.items()}


def _mode(text: str | None) -> int | None:
    return None if text is None else int(text, 8)


# -- the root's content -----------------------------------------------------------------------


def _files(stack: Stack) -> tuple[model.FileItem, ...]:
    found: dict[str, model.FileItem] = {}
    for entry, origin in stack.entries("files", lambda data: data.files):
        said = schema.FileEntry(entry) if isinstance(entry, str) else entry
        if is_glob(said.path) or stack.keeps(said.path, "copy"):
            found[said.path] = model.FileItem(
                said.path, origin, owner=said.owner or "", group=said.group or "", mode=_mode(said.mode)
            )
    return tuple(found.values())


def _devices(stack: Stack) -> tuple[model.DeviceItem, ...]:
    found: dict[str, model.DeviceItem] = {}
    for entry, origin in stack.entries("devices", lambda data: data.devices):
        said = schema.Device(entry) if isinstance(entry, str) else entry
        if stack.keeps(f"/dev/{said.name}", "device"):
            found[said.name] = model.DeviceItem(
                said.name,
                origin,
                device=_numbers(said),
                owner=said.owner or "",
                group=said.group or "",
                mode=_mode(said.mode),
            )
    return tuple(found.values())


def _numbers(said: schema.Device) -> Device | None:
    numbers = said.char or said.block
    if numbers is None:
        return None
    major, minor = map(int, numbers.split(":"))
    return Device(said.char is not None, major, minor)


def _directories(stack: Stack) -> dict[str, model.DirectoryItem]:
    found: dict[str, model.DirectoryItem] = {}
    for path, said, origin in stack.pairs("directories", lambda data: data.directories):
        if not stack.keeps(path, "directory"):
            continue
        before = found.get(path, model.DirectoryItem(path, origin))
        mode = _mode(said.mode)
        found[path] = model.DirectoryItem(
            path,
            origin,
            owner=said.owner or before.owner,
            group=said.group or before.group,
            mode=before.mode if mode is None else mode,
        )
    return found


def _text(stack: Stack) -> dict[str, model.TextItem]:
    found: dict[str, model.TextItem] = {}
    for path, entry, origin in stack.pairs("text", lambda data: data.text):
        if not stack.keeps(path, "text"):
            continue
        said = schema.TextEntry(entry) if isinstance(entry, str) else entry
        before = found.get(path, model.TextItem(path, "", origin))
        mode = _mode(said.mode)
        found[path] = model.TextItem(
            path,
            said.content,
            origin,
            owner=said.owner or before.owner,
            group=said.group or before.group,
            mode=before.mode if mode is None else mode,
        )
    return found


def _timezone(stack: Stack) -> model.Item | None:
    for layer in reversed(stack.layers):
        zone = layer.data.timezone
        if zone is not None:
            kept = stack.keeps("/etc/localtime", "time zone")
            return model.Item(zone, layer.origin("timezone")) if kept else None
    return None


def _accounts(stack: Stack, system: str) -> model.Accounts | None:
    given = [layer for layer in stack.layers if layer.data.accounts is not None]
    if not given:
        return None

    def part(key: str) -> Callable[[schema.TargetFile], Iterable[str]]:
        return lambda data: getattr(data.accounts, key) if data.accounts else ()

    form = stack.last(lambda data: data.accounts.format if data.accounts else None) or system
    for layer in given:
        _check_lines(layer, form)
    return model.Accounts(
        origin=given[-1].origin("accounts"),
        min_uid=stack.last(lambda data: data.accounts.min_uid if data.accounts else None),
        users=stack.items("accounts.users", part("users")),
        groups=stack.items("accounts.groups", part("groups")),
        extra=_by_name(stack.items("accounts.extra", part("extra"))),
        extra_groups=_by_name(stack.items("accounts.extra_groups", part("extra_groups"))),
        format=form,
        passwords=stack.items("accounts.passwords", part("passwords")),
        legacy=bool(stack.last(lambda data: data.accounts.legacy if data.accounts else None)),
    )


def _check_lines(layer: Parsed, system: str) -> None:
    """Check passwd and group lines, whose form depends on a system that another file may set.

    If none sets it, the plan checks ten-field lines: the system is detected from the sysroot.
    """
    accounts = layer.data.accounts or schema.Accounts()
    for key, lines in (("extra", accounts.extra), ("extra_groups", accounts.extra_groups)):
        for index, line in enumerate(lines):
            if wrong := account_line(line, group=key == "extra_groups", system=system):
                raise layer.wrong(("accounts", key, index), *wrong)


def _by_name(lines: Iterable[model.Item]) -> tuple[model.Item, ...]:
    """Keep the last line of each name."""
    return tuple({line.value.split(":")[0]: line for line in lines}.values())


# -- beside the root --------------------------------------------------------------------------


def _host(stack: Stack) -> model.HostSide:
    wrappers = stack.pairs("host.wrapper", lambda data: data.host.wrapper if data.host else {})
    return model.HostSide(
        links=stack.table("host.links", lambda data: data.host.links if data.host else {}),
        wrapper={path: tuple(argv) for path, argv, _ in wrappers},
        restart=stack.last(lambda data: data.host.restart if data.host else None) or "",
    )


def _check(stack: Stack) -> model.Check:
    runs: dict[tuple[object, ...], model.Command] = {}
    for entry, origin in stack.entries("check.run", lambda data: data.check.run if data.check else ()):
        run = schema.Run(entry) if isinstance(entry, list) else entry
        same = (tuple(run.argv), run.stdout, tuple(run.env.items()))
        runs[same] = model.Command(tuple(run.argv), origin, stdout=run.stdout, env=dict(run.env))
    return model.Check(
        prepare=_commands(data.check.prepare for data in _datas(stack) if data.check),
        run=tuple(runs.values()),
        service=_service(stack),
        limits=_limits(stack),
    )


def _limits(stack: Stack) -> model.Limits:
    """Merge the limits key by key."""

    def of(key: str) -> str | int | None:
        limits = [data.check.limits for data in _datas(stack) if data.check and data.check.limits]
        return next((value for said in reversed(limits) if (value := getattr(said, key)) is not None), None)

    given = {key: _bytes(value) for key in schema.Limits.__struct_fields__ if (value := of(key)) is not None}
    return model.Limits(**given)


def _bytes(value: str | int) -> int:
    """Return a size such as "2G" in bytes; a number as it is."""
    if isinstance(value, int) or value.isdigit():
        return int(value)
    return min(int(value[:-1]) << 10 * (1 + "KMGT".index(value[-1])), _MOST)


def _datas(stack: Stack) -> Iterator[schema.TargetFile]:
    return (layer.data for layer in stack.layers)


def _commands(lists: Iterable[Iterable[str | list[str]]]) -> tuple[str | tuple[str, ...], ...]:
    every = (
        tuple(command) if isinstance(command, list) else command
        for commands in lists
        for command in commands
    )
    return tuple(dict.fromkeys(every))


def _service(stack: Stack) -> model.Service | None:
    given = [
        (layer, layer.data.check.service)
        for layer in stack.layers
        if layer.data.check is not None and layer.data.check.service is not None
    ]
    if not given:
        return None
    layer = given[-1][0]

    def of(key: str, default: object) -> Any:  # the type is that of the key
        values = (getattr(service, key) for _, service in reversed(given))
        return next((value for value in values if value is not None), default)

    start = of("start", None)
    if start is None:
        raise layer.wrong(("check", "service"), "start is missing", 'add start = ["/usr/sbin/named", "-f"]')
    env: dict[str, str] = {}
    for _, service in given:
        env |= service.env
    return model.Service(
        origin=layer.origin("check.service"),
        start=tuple(start),
        user=of("user", "root"),
        env=env,
        ready=of("ready", ""),
        probe=_commands(service.probe for _, service in given),
        stop_signal=of("stop_signal", "TERM").removeprefix("SIG"),
        timeout=float(of("timeout", 20.0)),
    )
