"""Target and host to Plan: every artifact of a root, and why, without a look at the root."""

from __future__ import annotations

import stat
from collections.abc import Callable

from chrootbuild import accounts
from chrootbuild.artifact import Artifact, Kind, Plan, Reason
from chrootbuild.draft import DECLARED, NAMED, Draft, join, split
from chrootbuild.elf import Memo, Resolver, detect_system
from chrootbuild.errors import TargetError
from chrootbuild.gather import Gatherer, find_program
from chrootbuild.host import Host, Unreadable
from chrootbuild.loaderfiles import loader_files
from chrootbuild.spec import Item, Target

__all__ = ["plan", "system_of"]

_ZONES = "/usr/share/zoneinfo"


def plan(target: Target, host: Host, memo: Memo | None = None) -> Plan:
    """Compute every artifact of ``target`` from its sysroot.

    Raises TargetError where the target cannot be satisfied, Unreadable where
    the sysroot cannot be read. ``host.seen`` then holds all it depended on.
    """
    draft = Draft(host)
    system = system_of(target, host)
    sources = _account_sources(target, host)
    names = accounts.Names(sources, target.accounts)
    gatherer = Gatherer(target, draft, Resolver(host, memo, system), names)
    try:
        _declare(target, draft)
        _declared(target, draft, names)
        _accounts(target, draft, sources)
        _devices(target, draft, names, system)
        _places(target, draft, system)
        gatherer.binaries()
        gatherer.libraries()
        gatherer.files()
        if target.timezone is not None:
            _timezone(target.timezone, draft, gatherer)
        seeds = gatherer.seeds()
        _loader(draft, gatherer)
    except Unreadable as error:
        raise TargetError(f"{error.message} ({target.origin.file})", hint=error.hint) from None
    draft.imply_parents()
    for where in seeds:
        _imply_above(draft, where)
    return Plan(
        target.name,
        target.root,
        {path: draft.artifacts[path] for path in sorted(draft.artifacts)},
        {path: tuple(reasons) for path, reasons in draft.reasons.items()},
        draft.skips(),
        tuple(draft.warnings),
        seeds,
    )


def system_of(target: Target, host: Host) -> str:
    """Return "linux" or "freebsd": what the target says, else what its programs are made for."""
    if target.os:
        return target.os
    paths = []
    for item in target.binaries:
        path = item.value if "/" in item.value else find_program(host, item.value)
        if path is not None and host.isfile(path):
            paths.append(path)
    return detect_system(host, paths)


# -- what the target file itself says ------------------------------------------------------


def _declare(target: Target, draft: Draft) -> None:
    """Tell the draft where the target overrules the sysroot's links, parents first."""
    declared: dict[str, str | None] = dict.fromkeys([*target.directories, *target.text])
    declared.update({path: item.value for path, item in target.links.items()})
    if target.timezone is not None and target.timezone.value != "host":
        declared["/etc/localtime"] = f"{_ZONES}/{target.timezone.value}"
    for path in sorted(declared):
        draft.declare(path, declared[path], Reason(f"the target puts {path} there"))


def _declared(target: Target, draft: Draft, names: accounts.Names) -> None:
    """Add [links], [directories] and [text]."""
    for path, link in target.links.items():
        reason = Reason(f"links: {path}")
        where = draft.place(path, reason, follow=False)
        artifact = Artifact(where, Kind.LINK, link=link.value)
        draft.add(artifact, reason, rank=DECLARED, origin=link.origin)
    for path, directory in target.directories.items():
        reason = Reason(f"directories: {path}")
        where = draft.place(path, reason)
        if where == "/":
            raise TargetError(f"cannot describe the root itself ({directory.origin})")
        info = draft.host.stat(path)
        known = info is not None and stat.S_ISDIR(info.st_mode)
        artifact = Artifact(
            where,
            Kind.DIRECTORY,
            (stat.S_IMODE(info.st_mode) if known and info else 0o755)
            if directory.mode is None
            else directory.mode,
            names.uid(directory.owner) if directory.owner else info.st_uid if known and info else 0,
            names.gid(directory.group) if directory.group else info.st_gid if known and info else 0,
            open=True,
        )
        draft.add(artifact, reason, rank=DECLARED, origin=directory.origin)
    for path, text in target.text.items():
        reason = Reason(f"text: {path}")
        artifact = Artifact(
            draft.place(path, reason),
            Kind.TEXT,
            text.mode,
            names.uid(text.owner) if text.owner else 0,
            names.gid(text.group) if text.group else 0,
            sources=(target.file,),
            content=text.content.encode("utf-8", "surrogateescape"),
        )
        draft.add(artifact, reason, rank=DECLARED, origin=text.origin)


def _places(target: Target, draft: Draft, system: str) -> None:
    """Add the empty directories that something outside fills: mount points, the log socket's."""
    for item in target.mounts:
        reason = Reason(f"mounts: {item.value}")
        where = draft.place(item.value, reason)
        info = draft.host.stat(item.value)
        mode = stat.S_IMODE(info.st_mode) if info is not None else 0o555
        directory = Artifact(where, Kind.DIRECTORY, mode, open=True)
        draft.add(directory, reason, rank=NAMED, origin=item.origin)
    if target.syslog:
        path = "/var/run" if system == "freebsd" else "/dev"
        reason = Reason("syslog: socket")
        where = draft.place(path, reason)
        if draft.rank(where) < NAMED:
            draft.add(Artifact(where, Kind.DIRECTORY, 0o755, open=True), reason, rank=NAMED)


def _timezone(item: Item, draft: Draft, gatherer: Gatherer) -> None:
    """Add etc/localtime and the zone it names."""
    reason = Reason(f"timezone: {item.value}")
    if item.value == "host":
        if draft.host.lstat("/etc/localtime") is None:
            draft.warn("the sysroot has no /etc/localtime: its time zone is UTC")
            return
        gatherer.data("/etc/localtime", reason, item.origin)
        return
    zone = f"{_ZONES}/{item.value}"
    if not draft.host.isfile(zone):
        raise TargetError(
            f"cannot find the time zone {item.value}: there is no {zone} ({item.origin})",
            hint="ls /usr/share/zoneinfo shows the zones; the package is tzdata",
        )
    where = draft.place("/etc/localtime", reason, follow=False)
    draft.add(Artifact(where, Kind.LINK, link=zone), reason, rank=DECLARED, origin=item.origin)
    gatherer.data(zone, reason, item.origin)


# -- accounts and devices ------------------------------------------------------------------


def _account_sources(target: Target, host: Host) -> accounts.Sources:
    """Read the sysroot's account files; those with hashes only where they are wanted."""
    spec = target.accounts
    freebsd = spec is not None and spec.format == "freebsd"
    hashes = spec is not None and bool(spec.passwords)

    def read(path: str, wanted: bool = True) -> bytes | None:
        if not wanted or not host.isfile(path):
            return None
        try:
            return host.read(path)
        except Unreadable:
            return None  # without root: the hashes are not ours to read

    return accounts.Sources(
        read("/etc/passwd") or b"",
        read("/etc/group") or b"",
        read("/etc/master.passwd", freebsd),
        read("/etc/shadow", hashes and not freebsd),
    )


def _accounts(target: Target, draft: Draft, sources: accounts.Sources) -> None:
    spec = target.accounts
    if spec is None:
        return
    rendered = accounts.render(spec, sources)
    for warning in rendered.warnings:
        draft.warn(warning)
    made = [draft.host.real(path) for path in ("/etc/passwd", "/etc/group") if draft.host.isfile(path)]
    passwd, group = (*made[:1], target.file), (*made[1:], target.file)
    reason = Reason("accounts")

    def text(path: str, content: bytes, mode: int, gid: int = 0, after: tuple[str, ...] = ()) -> str:
        where = draft.place(path, reason)
        sources = group if path == "/etc/group" else passwd
        artifact = Artifact(where, Kind.TEXT, mode, 0, gid, sources=sources, content=content, after=after)
        draft.add(artifact, reason, rank=DECLARED, origin=spec.origin)
        return where

    text("/etc/group", rendered.group, 0o644)
    if rendered.shadow is not None:
        text("/etc/shadow", rendered.shadow, 0o640, _or_root(accounts.Names(sources, spec).gid, "shadow"))
    if rendered.master is None:
        text("/etc/passwd", rendered.passwd, 0o644)
        return
    master = text("/etc/master.passwd", rendered.master, 0o600)
    text("/etc/passwd", rendered.passwd, 0o644, after=(master,))
    for name, mode, secure in (("/etc/pwd.db", 0o644, False), ("/etc/spwd.db", 0o600, True)):
        recipe = accounts.Database(rendered.master, secure, spec.legacy)
        where = draft.place(name, reason)
        database = Artifact(where, Kind.DATABASE, mode, recipe=recipe, after=(master,))
        draft.add(database, reason, rank=DECLARED, origin=spec.origin)


def _devices(target: Target, draft: Draft, names: accounts.Names, system: str) -> None:
    if not target.devices:
        return
    from chrootbuild import devices

    for item in target.devices:
        reason = Reason(f"devices: {item.name}")
        for node in devices.resolve(item, system):
            path = join("/dev", node.name)
            if node.link:
                where = draft.place(path, reason, follow=False)
                draft.add(Artifact(where, Kind.LINK, link=node.link), reason, rank=NAMED, origin=item.origin)
                continue
            artifact = Artifact(
                draft.place(path, reason, follow=False),
                Kind.NODE,
                node.mode,
                _or_root(names.uid, node.owner),
                _or_root(names.gid, node.group),
                device=node.device,
            )
            draft.add(artifact, reason, rank=NAMED, origin=item.origin)


def _or_root(number: Callable[[str], int], name: str) -> int:
    """Return a standard name's number, root's where the sysroot does not have the name."""
    try:
        return number(name)
    except accounts.UnknownNameError:
        return 0


# -- the run-time linker's own files -------------------------------------------------------


def _loader(draft: Draft, gatherer: Gatherer) -> None:
    """Add ld.so.cache with ld.so.conf, or ld-elf.so.hints, where libraries need them to be found."""
    sources = tuple(sorted({draft.host.real(draft.host.canonical(path)) for _, path in gatherer.cache}))
    for file in loader_files(draft.host, gatherer.cache, gatherer.hints):
        reason = Reason("libraries outside the default directories")
        where = draft.place(file.path, reason)
        artifact = Artifact(where, Kind.TEXT, file.mode, sources=sources, content=file.content)
        if draft.rank(where) < DECLARED:
            draft.add(artifact, reason, rank=NAMED)


def _imply_above(draft: Draft, where: str) -> None:
    parent = split(where)[0]
    while parent != "/" and parent not in draft.artifacts:
        draft.add(Artifact(parent, Kind.DIRECTORY, 0o755, implied=True), Reason(f"holds {where}", where))
        where, parent = parent, split(parent)[0]
