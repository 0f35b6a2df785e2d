"""Artifacts that a target file declares itself: links, directories, texts, devices, mount points."""

from __future__ import annotations

import stat
from collections.abc import Callable

from chrootbuild.accounts.names import Names, UnknownNameError
from chrootbuild.artifact import Artifact, Kind, Origin, Reason
from chrootbuild.errors import TargetError
from chrootbuild.paths import join
from chrootbuild.plan.builder import DECLARED, DESCRIBED, NAMED, PlanBuilder, blame
from chrootbuild.plan.files import Files
from chrootbuild.target.model import Item, Target

_ZONES = "/usr/share/zoneinfo"
_LOCALTIME = "/etc/localtime"


def overrule(target: Target, builder: PlanBuilder) -> None:
    """Declare to the plan the target's own links and paths, which override the sysroot's links."""
    declared: dict[str, str | None] = dict.fromkeys([*target.directories, *target.text])
    declared.update({path: item.value for path, item in target.links.items()})
    if target.timezone is not None and target.timezone.value != "host":
        declared[_LOCALTIME] = f"{_ZONES}/{target.timezone.value}"
    builder.declare(declared)


def add_declared(target: Target, builder: PlanBuilder, names: Names) -> None:
    """Add [links], [directories] and [text]. Raises TargetError."""
    _add_links(target, builder)
    _add_directories(target, builder, names)
    _add_texts(target, builder, names)


def _add_links(target: Target, builder: PlanBuilder) -> None:
    for path, link in target.links.items():
        reason = Reason(f"links: {path}")
        with blame(link.origin):
            where = builder.place(path, reason, follow=False)
        sources = file_of(target, link.origin)
        builder.add(
            Artifact(where, Kind.LINK, sources=sources, link=link.value),
            reason,
            rank=DECLARED,
            origin=link.origin,
        )


def _add_directories(target: Target, builder: PlanBuilder, names: Names) -> None:
    for path, directory in target.directories.items():
        reason, origin = Reason(f"directories: {path}"), directory.origin
        with blame(origin):
            where = builder.place(path, reason, follow=False)
        info = builder.sysroot.stat(path)
        if info is not None and not stat.S_ISDIR(info.st_mode):
            info = None
        mode = stat.S_IMODE(info.st_mode) if info is not None else 0o755
        artifact = Artifact(
            where,
            Kind.DIRECTORY,
            mode if directory.mode is None else directory.mode,
            names.uid(directory.owner, origin) if directory.owner else info.st_uid if info else 0,
            names.gid(directory.group, origin) if directory.group else info.st_gid if info else 0,
            open=True,
        )
        builder.add(artifact, reason, rank=DECLARED, origin=origin)


def _add_texts(target: Target, builder: PlanBuilder, names: Names) -> None:
    for path, text in target.text.items():
        reason, origin = Reason(f"text: {path}"), text.origin
        with blame(origin):
            where = builder.place(path, reason, follow=False)
        artifact = Artifact(
            where,
            Kind.TEXT,
            text.mode,
            names.uid(text.owner, origin) if text.owner else 0,
            names.gid(text.group, origin) if text.group else 0,
            sources=file_of(target, origin),
            content=text.content.encode("utf-8", "surrogateescape"),
        )
        builder.add(artifact, reason, rank=DECLARED, origin=origin)


def file_of(target: Target, origin: Origin) -> tuple[str, ...]:
    """Return the file of an origin: the target's own, or one that it includes."""
    name = origin.file.rpartition("/")[2]
    fitting = [path for path in target.read if path.endswith(f"/{origin.file}")]
    fitting += [path for path in target.read if path.endswith(f"/{name}")]
    return tuple(fitting[:1]) or (target.file,)


def add_places(target: Target, builder: PlanBuilder, system: str) -> None:
    """Add the empty directories filled from outside: mount points, the log socket's."""
    for item in target.mounts:
        reason = Reason(f"mounts: {item.value}")
        with blame(item.origin):
            where = builder.place(item.value, reason)
        info = builder.sysroot.stat(item.value)
        mode = stat.S_IMODE(info.st_mode) if info is not None else 0o555
        directory = Artifact(where, Kind.DIRECTORY, mode, open=True)
        builder.add(directory, reason, rank=NAMED, origin=item.origin)
    if target.syslog:
        path = "/var/run" if system == "freebsd" else "/dev"
        reason = Reason("syslog: socket")
        where = builder.place(path, reason)
        if builder.rank(where) < NAMED:
            builder.add(Artifact(where, Kind.DIRECTORY, 0o755, open=True), reason, rank=NAMED)
        else:
            builder.note(where, reason)


def add_timezone(item: Item, builder: PlanBuilder, files: Files) -> None:
    """Add etc/localtime and the zone it names. Raises TargetError where the sysroot has no such zone."""
    reason = Reason(f"timezone: {item.value}")
    with blame(item.origin):
        if item.value == "host":
            if builder.sysroot.lstat(_LOCALTIME) is None:
                builder.warn("the sysroot has no /etc/localtime: its time zone is UTC")
            else:
                files.data(_LOCALTIME, reason, item.origin)
            return
        zone = f"{_ZONES}/{item.value}"
        if not builder.sysroot.isfile(zone):
            raise TargetError(
                f"cannot find the time zone {item.value}: there is no {zone} ({item.origin})",
                hint="ls /usr/share/zoneinfo shows the zones; the package is tzdata",
            )
        where = builder.place(_LOCALTIME, reason, follow=False)
        link = Artifact(where, Kind.LINK, link=zone)
        builder.add(link, reason, rank=DECLARED, origin=item.origin)
        files.data(zone, reason, item.origin)


def add_devices(
    target: Target, builder: PlanBuilder, names: Names, system: str, *, devfs: bool = False
) -> None:
    """Add the nodes and links of ``devices``; an entry of a node's own overrides a set with it.

    With FreeBSD's ``devfs`` only its mount point is added: a ruleset of the host's side
    chooses the visible nodes.
    """
    if not target.devices:
        return
    if devfs:
        _devfs(target, builder)
        return
    from chrootbuild.plan import devices

    for item in target.devices:
        reason = Reason(f"devices: {item.name}")
        if system == "freebsd" and item.device is None and item.name in devices.DEVFS_ONLY:
            builder.skip(join("/dev", item.name), "FreeBSD before 6 has no such device")
            continue
        for node in devices.resolve(item, system):
            rank = NAMED if node.name == item.name else DESCRIBED
            with blame(item.origin):
                where = builder.place(join("/dev", node.name), reason, follow=False)
            if node.link:
                artifact = Artifact(where, Kind.LINK, link=node.link)
            else:
                artifact = Artifact(
                    where,
                    Kind.NODE,
                    node.mode,
                    _id(names.uid, node.owner, item.owner, item.origin),
                    _id(names.gid, node.group, item.group, item.origin),
                    device=node.device,
                )
            builder.add(artifact, reason, rank=rank, origin=item.origin)


def _devfs(target: Target, builder: PlanBuilder) -> None:
    for item in target.devices:
        reason = Reason(f"devices: {item.name}")
        with blame(item.origin):
            where = builder.place("/dev", reason)
        if builder.rank(where) < NAMED:
            info = builder.sysroot.stat("/dev")
            mode = stat.S_IMODE(info.st_mode) if info is not None and stat.S_ISDIR(info.st_mode) else 0o555
            builder.add(
                Artifact(where, Kind.DIRECTORY, mode, open=True), reason, rank=NAMED, origin=item.origin
            )
        else:
            builder.note(where, reason)
        if item.device is not None:
            builder.warn(
                f"devices: the numbers of {item.name} count for nothing, FreeBSD's devfs has its own"
            )


def _id(number: Callable[[str, Origin | None], int], name: str, asked: str, origin: Origin) -> int:
    """Return a name's number; root's where the sysroot lacks a standard name that no key names."""
    try:
        return number(name, origin)
    except UnknownNameError:
        if asked:
            raise
        return 0
