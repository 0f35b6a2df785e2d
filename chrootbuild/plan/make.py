"""Target and sysroot -> Plan: every artifact of a root, with reasons, without reading the root."""

from __future__ import annotations

from dataclasses import replace

from chrootbuild.accounts.names import Names
from chrootbuild.accounts.select import Sources
from chrootbuild.artifact import Artifact, Kind, Plan, Reason
from chrootbuild.elf.detect import Release, detect_system, freebsd_release
from chrootbuild.elf.memo import Memo
from chrootbuild.errors import TargetError
from chrootbuild.plan.account_files import add_accounts, read_sources
from chrootbuild.plan.builder import NAMED, PlanBuilder
from chrootbuild.plan.declared import add_declared, add_devices, add_places, add_timezone, overrule
from chrootbuild.plan.exclude import LeftOut
from chrootbuild.plan.files import Files
from chrootbuild.plan.generated import cache_files, hints_file, pair_databases
from chrootbuild.plan.programs import Gatherer, find_program
from chrootbuild.plan.seeds import seeds
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.rtld.root_cache import cache_conflicts
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target

# Show a sysroot's system where the target's programs are scripts, or it has none.
_BASE = ("/bin/sh", "/sbin/init", "/bin/ls", "/libexec/ld-elf.so.1", "/usr/libexec/ld-elf.so.1")


def plan(target: Target, sysroot: Sysroot, memo: Memo | None = None) -> Plan:
    """Compute every artifact of ``target`` from its sysroot.

    Raises TargetError where the target cannot be satisfied. ``sysroot.seen`` then
    holds the paths it depended on.
    """
    builder = PlanBuilder(sysroot, target.origin.file)
    try:
        system = system_of(target, sysroot, memo)
        release = release_of(target, sysroot, memo) if system == "freebsd" else Release(0, little=True)
        if target.accounts is not None and not target.accounts.format:
            target = replace(target, accounts=replace(target.accounts, format=system))
        sources = read_sources(target, sysroot, system)
        names = Names(sources, target.accounts)
        gatherer = Gatherer(target, builder, Resolver(sysroot, memo, system), names)
        left = LeftOut(target.exclude, builder)
        files = Files(gatherer, left)
        overrule(target, builder)
        add_declared(target, builder, names)
        add_accounts(target, builder, sources, names, little=release.little)
        add_devices(target, builder, names, system, devfs=system == "freebsd" and release.devfs)
        add_places(target, builder, system)
        gatherer.binaries()
        gatherer.libraries(left)
        files.bring(target.files)
        if target.timezone is not None:
            add_timezone(target.timezone, builder, files)
        if system == "freebsd":
            pair_databases(target, builder, files)
        planted = seeds(target, builder, left)
        gatherer.unused()
        _loader(builder, gatherer, memo, little=release.little)
    except Unreadable as error:
        raise TargetError(f"{error.message} ({target.origin.file})", hint=error.hint) from None
    builder.imply_parents(*planted)
    return Plan(
        target.name,
        target.root,
        {path: builder.artifacts[path] for path in sorted(builder.artifacts)},
        {path: tuple(reasons) for path, reasons in builder.reasons.items()},
        builder.skips(),
        tuple(builder.warnings),
        planted,
    )


def system_of(target: Target, sysroot: Sysroot, memo: Memo | None = None) -> str:
    """Return "linux" or "freebsd": the target's key, else the system of its programs.

    Raises TargetError where there is no sysroot.
    """
    if not sysroot.isdir("/"):
        raise TargetError(
            f"cannot read the sysroot {sysroot.sysroot}: no such directory ({target.origin.file}: sysroot)",
            hint="unpack or mount it there, or correct the path",
        )
    if target.os:
        return target.os
    return detect_system(sysroot, _programs(target, sysroot), memo)


def account_sources(target: Target, sysroot: Sysroot) -> Sources:
    """Read the sysroot's account files as the plan does; those with password hashes only on demand."""
    return read_sources(target, sysroot, system_of(target, sysroot))


def release_of(target: Target, sysroot: Sysroot, memo: Memo | None = None) -> Release:
    """Return the sysroot's FreeBSD release, from its own programs, else the target's."""
    return freebsd_release(sysroot, (*_BASE, *_programs(target, sysroot)), memo)


def _programs(target: Target, sysroot: Sysroot) -> list[str]:
    """Return the files to detect the system from: the target's programs and libraries, then the base's."""
    found = []
    for item in (*target.binaries, *target.libraries):
        path = item.value if "/" in item.value else find_program(sysroot, item.value)
        if path is not None and sysroot.isfile(path):
            found.append(path)
    return [*found, *_BASE]


# -- the run-time linker's own files -------------------------------------------------------


def _loader(builder: PlanBuilder, gatherer: Gatherer, memo: Memo | None, *, little: bool) -> None:
    """Add ld.so.cache with ld.so.conf, or ld-elf.so.hints, where libraries are not found without.

    The sysroot's own, named in ``files``, take precedence.
    """
    sources = tuple(
        sorted({builder.sysroot.real(builder.sysroot.canonical(path)) for _, path in gatherer.cache})
    )
    made = [
        *cache_files(builder.sysroot, memo, gatherer.cache),
        *hints_file(gatherer.hints, compat32=False, little=little),
        *hints_file(gatherer.hints32, compat32=True, little=little),
    ]
    for warning in cache_conflicts(builder.sysroot, gatherer.closures, memo) if gatherer.cache else ():
        builder.warn(warning)
    for file in made:
        reason = Reason("libraries outside the default directories")
        where = builder.place(file.path, reason)
        if builder.rank(where) < NAMED:
            artifact = Artifact(where, Kind.TEXT, file.mode, sources=sources, content=file.content)
            builder.add(artifact, reason, rank=NAMED)
