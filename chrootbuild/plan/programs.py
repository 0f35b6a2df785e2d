"""Programs and libraries: from a target's keys to files of a plan, each with its closure."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from chrootbuild.accounts.names import Names
from chrootbuild.artifact import Artifact, Kind, Origin, Reason
from chrootbuild.errors import Failure, TargetError
from chrootbuild.paths import join, split
from chrootbuild.plan.builder import DECLARED, FOUND, PlanBuilder, blame
from chrootbuild.plan.exclude import LeftOut
from chrootbuild.rtld.model import Closure, Missing
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import FileItem, Target

SEARCH_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def find_program(sysroot: Sysroot, name: str) -> str | None:
    """Return the sysroot path of a bare program name, by the target's search path; None if not found."""
    for directory in SEARCH_PATH:
        path = join(directory, name)
        info = sysroot.stat(path)
        if info is not None and stat.S_ISREG(info.st_mode) and info.st_mode & 0o111:
            return path
    return None


@dataclass(slots=True)
class Gatherer:
    """Adds programs and libraries, and any file, with their closures to a plan."""

    target: Target
    builder: PlanBuilder
    resolver: Resolver
    names: Names
    closures: list[Closure] = field(default_factory=list)
    cache: dict[tuple[str, str], None] = field(default_factory=dict)  # for the root's ld.so.cache
    hints: dict[str, None] = field(default_factory=dict)  # for the root's ld-elf.so.hints
    hints32: dict[str, None] = field(default_factory=dict)  # likewise for 32-bit programs
    _resolved: set[str] = field(default_factory=set)
    _setuid: dict[str, str] = field(default_factory=dict)  # canonical path: as it was written

    def __post_init__(self) -> None:
        for item in self.target.setuid:
            try:
                self._setuid[self.builder.sysroot.canonical(item.value)] = item.value
            except Unreadable as error:
                raise not_there(item.value, item.origin, error) from None

    def binaries(self) -> None:
        """Add each program of ``binaries``, found in the search path where it is a bare name."""
        for item in self.target.binaries:
            path = item.value
            if "/" not in path:
                found = find_program(self.builder.sysroot, path)
                if found is None:
                    raise TargetError(
                        f"cannot find the program {path} ({item.origin})",
                        details=(f"searched: {', '.join(SEARCH_PATH)}",),
                        hint=f"install the package that has it (chrootbuild locate {path}), or leave it out",
                    )
                path = found
            with blame(item.origin):
                self.file(path, Reason(f"binaries: {item.value}"), item.origin)
                self._sound(path, item.origin)

    def libraries(self, left: LeftOut) -> None:
        """Add each library of ``libraries``: a path, or the matches of a glob that ``left`` allows."""
        sysroot = self.builder.sysroot
        for item in self.target.libraries:
            reason = Reason(f"libraries: {item.value}")
            with blame(item.origin):
                if not is_glob(item.value):
                    self.file(item.value, reason, item.origin)
                    self._sound(item.value, item.origin)
                    continue
                for path in sysroot.glob(item.value):
                    if not left.excluded(path) and sysroot.isfile(path):
                        self.file(path, reason, item.origin, exact=False)

    def unused(self) -> None:
        """Warn of paths in ``setuid`` that no key adds."""
        sources = {artifact.source for artifact in self.builder.artifacts.values()}
        for canonical, written in self._setuid.items():
            if self.builder.sysroot.real(canonical) not in sources:
                self.builder.warn(f"setuid names {written}, which nothing brings into the root")

    def file(
        self,
        path: str,
        reason: Reason,
        origin: Origin,
        item: FileItem | None = None,
        rank: int = FOUND,
        *,
        exact: bool = True,
    ) -> None:
        """Add the regular file that ``path`` resolves to, and its closure, where it is ELF or a script.

        A missing library of a file from a tree or glob (not ``exact``) is a warning only:
        programs have plugins for libraries that are not installed.
        """
        where = self.builder.place(path, reason)
        if self.builder.rank(where) == DECLARED:
            self.builder.note(where, reason)
            return
        source, kind = self._copy(path, where, reason, origin, item, rank)
        if kind:
            self._closure(path, source, kind, origin, exact)

    def _sound(self, path: str, origin: Origin) -> None:
        """Refuse a damaged ELF file as a named program or library: its closure cannot be computed."""
        fault = self.resolver.fault(path)
        if fault:
            raise TargetError(
                f"cannot load {path}: {fault} ({origin})",
                hint="replace it; or name it in files, as what is only copied",
            )

    # -- one file --------------------------------------------------------------------------

    def _copy(
        self, path: str, where: str, reason: Reason, origin: Origin, item: FileItem | None, rank: int
    ) -> tuple[str, str]:
        """Add the copy of one file at its place; return its canonical source, and its kind."""
        source, info = self._source(path, where, origin)
        if not stat.S_ISREG(info.st_mode):
            raise TargetError(f"cannot copy {path}: it is not a regular file ({origin})")
        kind = self.resolver.classify(source)
        special = source in self._setuid
        mode, uid, gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        mode = mode if special else mode & ~0o6000
        if kind and not special:
            mode, uid, gid = mode & ~0o022, 0, 0
        if item is not None:
            mode = mode if item.mode is None else item.mode
            uid = self.names.uid(item.owner, item.origin) if item.owner else uid
            gid = self.names.gid(item.group, item.origin) if item.group else gid
        elf = "library" if kind == "library" else "program" if kind else ""
        real = self.builder.sysroot.real(source)
        artifact = Artifact(
            where, Kind.FILE, mode, uid, gid, source=real, sources=(real,), capabilities=special, elf=elf
        )
        self.builder.add(artifact, reason, rank=rank, origin=origin)
        return source, kind

    def _source(self, path: str, where: str, origin: Origin) -> tuple[str, os.stat_result]:
        """Return the canonical sysroot path of the file for ``where``, and its stat.

        The target's own links may lead ``path`` to another place than the
        sysroot's: the sysroot's file at that place is preferred.
        """
        sysroot = self.builder.sysroot
        found = sysroot.find(where)
        if found is not None and stat.S_ISREG(found[1].st_mode):
            return found
        try:
            source = sysroot.canonical(path)
        except Unreadable as error:
            raise not_there(path, origin, error) from None
        info = sysroot.lstat(source)
        assert info is not None
        return source, info

    # -- closures --------------------------------------------------------------------------

    def _closure(self, path: str, source: str, kind: str, origin: Origin, exact: bool) -> None:
        # A library's $ORIGIN is the directory of the name it is opened by, a program's that of
        # the file itself.
        name = path if kind == "library" and self.builder.sysroot.canonical(path) == source else source
        if name in self._resolved:
            return
        self._resolved.add(name)
        try:
            closure = self.resolver.library(name) if kind == "library" else self.resolver.program(name)
        except Failure as error:
            if not exact:
                self.builder.warn(error.message)
                return
            raise TargetError(
                f"{error.message} ({origin})", details=error.details, hint=error.hint
            ) from None
        for missing in closure.missing:
            self._missing(missing, origin, exact)
        for warning in closure.warnings:
            self.builder.warn(warning)
        self.closures.append(closure)
        for load in closure.loads:
            self._load(load.path, Reason(load.words, self.builder.where(load.by)), origin)
        self.cache.update(dict.fromkeys(closure.cache))
        self.hints.update(dict.fromkeys(closure.hints))
        self.hints32.update(dict.fromkeys(closure.hints32))

    def _load(self, path: str, reason: Reason, origin: Origin) -> None:
        where = self.builder.place(path, reason)
        if self.builder.rank(where) == DECLARED:
            self.builder.note(where, reason)
        else:
            self._copy(path, where, reason, origin, None, FOUND)

    def _missing(self, missing: Missing, origin: Origin, exact: bool) -> None:
        if missing.optional:
            self.builder.warn(f"{missing.by} can use {missing.name}, which is not there")
            return
        if not exact:
            self.builder.warn(f"{missing.by} needs {missing.name}, which is not there")
            return
        raise TargetError(
            f"cannot find {missing.name}, needed by {missing.by} ({origin})",
            details=(f"searched: {', '.join(missing.searched)}",) if missing.searched else (),
            hint=f"install the package that has it (chrootbuild locate {split(missing.name)[1]}),"
            " or leave the program out",
        )


def not_there(path: str, origin: Origin, error: Unreadable) -> TargetError:
    """Return the error of an entry whose path cannot be read."""
    return TargetError(
        f"cannot read {path}: {error.why} ({origin})",
        hint=error.hint or f"chrootbuild locate {split(path)[1]} says which package has it; or leave it out",
    )


def is_glob(path: str) -> bool:
    """Return whether a path of ``files`` or ``libraries`` is a pattern."""
    return any(mark in path for mark in "*?[")
