"""``[accounts]``: the account files of a root as artifacts, made from those of the sysroot.

On FreeBSD they depend on each other as in a Makefile: master.passwd on the
sysroot's file, and passwd, pwd.db and spwd.db on master.passwd. A change of
the source that leaves master.passwd unchanged stops there.
"""

from __future__ import annotations

from dataclasses import dataclass

from chrootbuild.accounts.names import Names, UnknownNameError
from chrootbuild.accounts.pwd_mkdb import Database
from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from chrootbuild.artifact import Artifact, Kind, Reason
from chrootbuild.plan.builder import DECLARED, PlanBuilder
from chrootbuild.plan.declared import file_of
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Accounts, Target

_BIG, _LITTLE = 4321, 1234  # lorder of dbopen(3)


def read_sources(target: Target, sysroot: Sysroot, system: str) -> Sources:
    """Read the sysroot's account files for "linux" or "freebsd"; those with password hashes only on demand."""
    spec = target.accounts
    freebsd = spec is not None and (spec.format or system) == "freebsd"
    hashes = spec is not None and bool(spec.passwords)

    def read(path: str, wanted: bool = True) -> bytes | None:
        if not wanted or not sysroot.isfile(path):
            return None
        try:
            return sysroot.read(path)
        except Unreadable:
            return None  # without root: the hashes are not ours to read

    master = read("/etc/master.passwd", freebsd)
    return Sources(
        read("/etc/passwd") or b"",
        read("/etc/group") or b"",
        master,
        read("/etc/shadow", hashes and master is None),  # a Linux passwd may be made into a master.passwd
    )


@dataclass(frozen=True, slots=True)
class _Writer:
    """Adds account files to a plan, all with the one reason ``accounts``."""

    target: Target
    builder: PlanBuilder
    spec: Accounts
    reason: Reason = Reason("accounts")  # noqa: RUF009 -- frozen

    def made_from(self, *paths: str) -> tuple[str, ...]:
        """Return the real paths of the sources that exist, and of the target file."""
        sysroot = self.builder.sysroot
        here = [sysroot.real(sysroot.canonical(path)) for path in paths if sysroot.isfile(path)]
        return (*here, *file_of(self.target, self.spec.origin))

    def text(
        self, path: str, content: bytes, mode: int, made: tuple[str, ...], gid: int = 0, after: str = ""
    ) -> str:
        """Add a text file; return its canonical path."""
        where = self.builder.place(path, self.reason)
        above = (after,) if after else ()
        self._add(Artifact(where, Kind.TEXT, mode, 0, gid, sources=made, content=content, after=above))
        return where

    def database(self, path: str, mode: int, recipe: Database, after: str) -> None:
        """Add a database made from the artifact at ``after``."""
        where = self.builder.place(path, self.reason)
        self._add(Artifact(where, Kind.DATABASE, mode, recipe=recipe, after=(after,)))

    def _add(self, artifact: Artifact) -> None:
        self.builder.add(artifact, self.reason, rank=DECLARED, origin=self.spec.origin)


def add_accounts(
    target: Target,
    builder: PlanBuilder,
    sources: Sources,
    names: Names,
    *,
    little: bool = True,
) -> None:
    """Add the account files; raises TargetError where they cannot be made.

    ``little``: the root's machine is little-endian, and so are database records of version 3.
    """
    spec = target.accounts
    if spec is None:
        return
    rendered = render(spec, sources)
    for warning in rendered.warnings:
        builder.warn(warning)
    write = _Writer(target, builder, spec)
    write.text("/etc/group", rendered.group, 0o644, write.made_from("/etc/group", "/etc/passwd"))
    if rendered.shadow is not None:
        try:
            gid = names.gid("shadow")
        except UnknownNameError:
            gid = 0
        write.text("/etc/shadow", rendered.shadow, 0o640, write.made_from("/etc/passwd", "/etc/shadow"), gid)
    if rendered.master is None:
        write.text("/etc/passwd", rendered.passwd, 0o644, write.made_from("/etc/passwd"))
        return
    if sources.master is not None:
        made = write.made_from("/etc/master.passwd")
    else:
        made = write.made_from("/etc/passwd", *(["/etc/shadow"] if sources.shadow is not None else []))
    master = write.text("/etc/master.passwd", rendered.master, 0o600, made)
    write.text("/etc/passwd", rendered.passwd, 0o644, (), after=master)
    lorder = _LITTLE if spec.legacy and little else _BIG
    for path, mode, secure in (("/etc/pwd.db", 0o644, False), ("/etc/spwd.db", 0o600, True)):
        recipe = Database(rendered.master, secure, spec.legacy, lorder)
        write.database(path, mode, recipe, master)
