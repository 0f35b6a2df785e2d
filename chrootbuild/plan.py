"""Target and host to Plan: every artifact of a root, and why, without a look at the root."""

from __future__ import annotations

from chrootbuild import accounts
from chrootbuild.artifact import Artifact, Kind, Plan, Reason
from chrootbuild.declared import add_declared, add_devices, add_places, add_timezone, file_of, overrule
from chrootbuild.draft import DECLARED, NAMED, Draft
from chrootbuild.elf import Memo, Resolver, cache_conflicts, detect_system
from chrootbuild.errors import TargetError
from chrootbuild.gather import Gatherer, find_program
from chrootbuild.gatherfiles import Files
from chrootbuild.gatherseed import seeds
from chrootbuild.host import Host, Unreadable
from chrootbuild.leftout import LeftOut
from chrootbuild.loaderfiles import cache_files, hints_file
from chrootbuild.spec import Target

__all__ = ["account_sources", "plan", "system_of"]


def plan(target: Target, host: Host, memo: Memo | None = None) -> Plan:
    """Compute every artifact of ``target`` from its sysroot.

    Raises TargetError where the target cannot be satisfied. ``host.seen`` then
    holds all it depended on.
    """
    draft = Draft(host, target.origin.file)
    try:
        system = system_of(target, host)
        sources = account_sources(target, host)
        names = accounts.Names(sources, target.accounts)
        gatherer = Gatherer(target, draft, Resolver(host, memo, system), names)
        left = LeftOut(target.exclude, draft)
        files = Files(gatherer, left)
        overrule(target, draft)
        add_declared(target, draft, names)
        _accounts(target, draft, sources, names)
        add_devices(target, draft, names, system)
        add_places(target, draft, system)
        gatherer.binaries()
        gatherer.libraries(left)
        files.bring(target.files)
        if target.timezone is not None:
            add_timezone(target.timezone, draft, files)
        planted = seeds(target, draft, left)
        gatherer.unused()
        _loader(draft, gatherer, memo)
    except Unreadable as error:
        raise TargetError(f"{error.message} ({target.origin.file})", hint=error.hint) from None
    draft.imply_parents(*planted)
    return Plan(
        target.name,
        target.root,
        {path: draft.artifacts[path] for path in sorted(draft.artifacts)},
        {path: tuple(reasons) for path, reasons in draft.reasons.items()},
        draft.skips(),
        tuple(draft.warnings),
        planted,
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


# -- accounts ------------------------------------------------------------------------------


def account_sources(target: Target, host: Host) -> accounts.Sources:
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


def _accounts(target: Target, draft: Draft, sources: accounts.Sources, names: accounts.Names) -> None:
    spec = target.accounts
    if spec is None:
        return
    rendered = accounts.render(spec, sources)
    for warning in rendered.warnings:
        draft.warn(warning)
    reason = Reason("accounts")

    def made_from(*paths: str) -> tuple[str, ...]:
        here = [draft.host.real(draft.host.canonical(path)) for path in paths if draft.host.isfile(path)]
        return (*here, *file_of(target, spec.origin))

    def text(
        path: str, content: bytes, mode: int, made: tuple[str, ...], gid: int = 0, after: str = ""
    ) -> str:
        artifact = Artifact(
            draft.place(path, reason),
            Kind.TEXT,
            mode,
            0,
            gid,
            sources=made,
            content=content,
            after=(after,) if after else (),
        )
        draft.add(artifact, reason, rank=DECLARED, origin=spec.origin)
        return artifact.path

    text("/etc/group", rendered.group, 0o644, made_from("/etc/group", "/etc/passwd"))
    if rendered.shadow is not None:
        try:
            gid = names.gid("shadow")
        except accounts.UnknownNameError:
            gid = 0
        text("/etc/shadow", rendered.shadow, 0o640, made_from("/etc/passwd", "/etc/shadow"), gid)
    if rendered.master is None:
        text("/etc/passwd", rendered.passwd, 0o644, made_from("/etc/passwd"))
        return
    source = "/etc/passwd" if sources.master is None else "/etc/master.passwd"
    master = text("/etc/master.passwd", rendered.master, 0o600, made_from(source))
    text("/etc/passwd", rendered.passwd, 0o644, made_from(source), after=master)
    for name, mode, secure in (("/etc/pwd.db", 0o644, False), ("/etc/spwd.db", 0o600, True)):
        recipe = accounts.Database(rendered.master, secure, spec.legacy)
        where = draft.place(name, reason)
        database = Artifact(where, Kind.DATABASE, mode, recipe=recipe, after=(master,))
        draft.add(database, reason, rank=DECLARED, origin=spec.origin)


# -- the run-time linker's own files -------------------------------------------------------


def _loader(draft: Draft, gatherer: Gatherer, memo: Memo | None) -> None:
    """Add ld.so.cache with ld.so.conf, or ld-elf.so.hints, where libraries need them to be found.

    Named in ``files`` the sysroot's own come instead.
    """
    sources = tuple(sorted({draft.host.real(draft.host.canonical(path)) for _, path in gatherer.cache}))
    made = [
        *cache_files(draft.host, memo, gatherer.cache),
        *hints_file(gatherer.hints, compat32=False),
        *hints_file(gatherer.hints32, compat32=True),
    ]
    for warning in cache_conflicts(draft.host, gatherer.closures, memo) if gatherer.cache else ():
        draft.warn(warning)
    for file in made:
        reason = Reason("libraries outside the default directories")
        where = draft.place(file.path, reason)
        if draft.rank(where) < NAMED:
            artifact = Artifact(where, Kind.TEXT, file.mode, sources=sources, content=file.content)
            draft.add(artifact, reason, rank=NAMED)
