"""login.conf.db and termcap.db of a FreeBSD root: made from the text beside them, never copied.

libc reads NAME.db in place of NAME where both exist (getcap(3)), so a
.db older than its text hides it. Where ``files`` bring a .db the text
comes along, and the .db is made from it as by cap_mkdb(1). A .db
without a text hides nothing and is copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from chrootbuild.accounts.cap_mkdb import cap_mkdb
from chrootbuild.artifact import Artifact, Kind, Reason
from chrootbuild.elf.memo import Memo
from chrootbuild.paths import split
from chrootbuild.plan.builder import DECLARED, PlanBuilder
from chrootbuild.plan.files import Files
from chrootbuild.rtld.freebsd_files import hints_path as path_hints
from chrootbuild.rtld.freebsd_files import render_hints
from chrootbuild.rtld.root_cache import render_cache
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target

_NAMES = ("login.conf.db", "termcap.db")
_FORMAT = 1  # incremented when the same text gives other bytes


@dataclass(frozen=True, slots=True)
class CapabilityDatabase:
    """The recipe of a .db file."""

    text: bytes

    def render(self) -> bytes:
        """Return the file's bytes; raises Failure where a ``tc=`` of the text leads back to itself."""
        return cap_mkdb(self.text)

    def digest(self) -> str:
        """Return a hex digest of the inputs of ``render``."""
        return hashlib.sha256(b"cap_mkdb %d\n" % _FORMAT + self.text).hexdigest()


def pair_databases(target: Target, builder: PlanBuilder, files: Files) -> None:
    """Replace each copied .db by a database made from its text, and add the text."""
    copied = [
        artifact
        for artifact in builder.artifacts.values()
        if artifact.kind is Kind.FILE and split(artifact.path)[1] in _NAMES
    ]
    for artifact in copied:
        path = artifact.path.removesuffix(".db")
        why = Reason("is made from it", artifact.path)
        if path not in builder.artifacts:
            if not builder.sysroot.isfile(path) or files.left.excluded(path):
                continue
            files.data(path, why, target.origin)
        text = builder.artifacts.get(builder.where(path))
        if text is None or text.kind not in (Kind.FILE, Kind.TEXT):
            continue
        builder.note(text.path, why)
        content = text.content
        if text.kind is Kind.FILE:
            content = builder.sysroot.read(text.path if builder.sysroot.isfile(text.path) else path)
        made = Artifact(
            artifact.path,
            Kind.DATABASE,
            artifact.mode,
            artifact.uid,
            artifact.gid,
            sources=text.sources,
            recipe=CapabilityDatabase(content),
            after=(text.path,),
        )
        reason = next(iter(builder.reasons[artifact.path]))
        builder.add(made, reason, rank=DECLARED)


@dataclass(frozen=True, slots=True)
class LoaderFile:
    """A file to put into the root."""

    path: str
    content: bytes
    mode: int


def cache_files(
    sysroot: Sysroot, memo: Memo | None, libraries: Iterable[tuple[str, str]]
) -> list[LoaderFile]:
    """Return ld.so.cache for ``libraries`` (name, path), and the ld.so.conf from which ldconfig makes it."""
    pairs = sorted(set(libraries))
    if not pairs:
        return []
    # ldconfig(8) searches glibc-hwcaps below each directory by itself.
    directories = sorted({split(path)[0].partition("/glibc-hwcaps/")[0] for _, path in pairs})
    text = "".join(f"{directory}\n" for directory in directories)
    return [
        LoaderFile("/etc/ld.so.cache", render_cache(sysroot, pairs, memo), 0o644),
        LoaderFile("/etc/ld.so.conf", text.encode("utf-8", "surrogateescape"), 0o644),
    ]


def hints_file(directories: Iterable[str], *, compat32: bool, little: bool = True) -> list[LoaderFile]:
    """Return the hints file of ``directories``, mode 0444 as from FreeBSD's ldconfig(8)."""
    listed = tuple(directories)
    path = path_hints(compat32=compat32)
    return [LoaderFile(path, render_hints(listed, little=little), 0o444)] if listed else []
