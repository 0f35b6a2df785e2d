"""Stale paths and their reasons: the plan compared with the record, the sources and the root (law 5)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from itertools import chain

from chrootbuild import RECIPE
from chrootbuild.artifact import Artifact, Kind, Plan
from chrootbuild.compare.change import (
    INSTALL,
    KEEP,
    REMOVE,
    REPLACE,
    Change,
    Comparison,
    applicable,
    by_directory,
)
from chrootbuild.compare.drift import differs, inspect, kind_differs
from chrootbuild.compare.explain import explained
from chrootbuild.errors import Failure
from chrootbuild.root.copy import copy_digest, open_source
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Installed, Record
from chrootbuild.system.files import sha256
from chrootbuild.system.rights.user import privileged
from chrootbuild.system.signature import RACY, Signature, root_signature, settled_signature, signature
from chrootbuild.text import kind_of

_OTHER_ROOT = "nothing needs it any more, but the root is another directory than was built: it stays"


def compare(
    plan: Plan,
    record: Record | None,
    root: Root | None,
    seen: Mapping[str, Signature] | None = None,
    changed: Collection[str] | None = None,
) -> Comparison:
    """Compare all paths; reads content only where a signature does not prove it unchanged.

    ``seen`` are signatures of sources, just taken. ``changed``: the only real paths outside the
    root that may differ from the record, with all of the root unchanged; None where unknown.
    """
    seen = {} if seen is None else seen
    artifacts, skipped = applicable(plan)
    installed: Mapping[str, Installed] = {} if record is None else record.artifacts
    proven = record is not None and record.recipe == RECIPE
    ours = same_root(record, root)
    vouched, moved = changed is not None and ours, changed or ()
    changes: dict[str, Change] = {}
    known: dict[str, Installed] = {}
    groups = by_directory(artifacts)
    for path in chain.from_iterable(groups.values()):  # a directory at a time
        artifact, entry = artifacts[path], installed.get(path)
        if (
            entry is not None
            and proven
            and _agree(artifact, entry)
            and ((vouched and artifact.source not in moved) or _unchanged(root, path, entry, seen))
        ):
            known[path] = entry
            changes[path] = Change(path, KEEP, "", artifact)
            continue
        info = None if root is None else root.lstat(path)
        state, reason, action = _look(artifact, entry, root, info, proven)
        if state is not None:
            known[path] = state
        changes[path] = Change(path, action, reason, artifact)
    for path, entry in installed.items() if installed.keys() - artifacts.keys() else ():
        if path not in artifacts and (entry.kind != Kind.NODE or privileged()):
            changes[path] = orphan(path, entry, root) if ours else Change(path, KEEP, _OTHER_ROOT)
            known[path] = entry
    changes = dict(sorted(explained(plan, changes, installed).items()))
    return Comparison(
        changes, known, groups if len(changes) == len(artifacts) else by_directory(changes), skipped
    )


def orphan(path: str, entry: Installed, root: Root | None) -> Change:
    """Return the change of an installed path that is no longer in the plan (law 6)."""
    info = None if root is None else root.lstat(path)
    reason = "nothing needs it any more"
    if root is None or info is None:
        return Change(path, REMOVE, f"{reason}; it is gone already")
    if kind_differs(entry, info):
        return Change(
            path, KEEP, f"{reason}, but {kind_of(info.st_mode)} that is not ours is there: it stays"
        )
    if differs(root, path, entry, info):
        return Change(path, KEEP, f"{reason}, but it was changed in the root: it stays")
    return Change(path, REMOVE, reason)


def same_root(record: Record | None, root: Root | None) -> bool:
    """Return whether the record is of this root directory, not of another of the same name."""
    return record is None or root is None or record.inode in (0, os.fstat(root.fd).st_ino)


def _agree(artifact: Artifact, entry: Installed) -> bool:
    """Return whether the entry is of the artifact as planned; a fast path, False where in doubt."""
    if entry[:4] != (artifact.kind, artifact.mode, artifact.uid, artifact.gid):
        return False
    if artifact.kind is Kind.FILE:
        return entry.path == artifact.source and entry.source != RACY
    if artifact.kind is Kind.LINK:
        return entry.detail == artifact.link
    return artifact.kind is Kind.DIRECTORY and (entry.detail == "open") == artifact.open


def _unchanged(root: Root | None, path: str, entry: Installed, seen: Mapping[str, Signature]) -> bool:
    """Return whether neither root nor source has changed since the entry was recorded."""
    info = None if root is None else root.lstat(path)
    return (
        info is not None
        and info.st_uid == entry.uid
        and info.st_gid == entry.gid
        and root_signature(info) == entry.root
        and (not entry.path or entry.source == seen.get(entry.path))
    )


def _look(
    artifact: Artifact, entry: Installed | None, root: Root | None, info: os.stat_result | None, proven: bool
) -> tuple[Installed | None, str, str]:
    """Return one artifact's installed entry (None: unknown), the reason, and the action."""
    if info is None:
        return entry, "absent in the root", INSTALL
    assert root is not None
    wanted = _wanted(artifact, entry, proven)
    if isinstance(wanted, str):
        return entry, wanted, REPLACE
    reason = inspect(root, artifact.path, wanted, info)
    if reason:
        return entry, reason, REPLACE
    return wanted._replace(root=settled_signature(info)), "", KEEP


# -- the wanted entry ----------------------------------------------------------------------


def _wanted(artifact: Artifact, entry: Installed | None, proven: bool) -> Installed | str:
    """Return the wanted entry, or the reason why the installed one is out of date.

    The reason comes from source and record alone; the root is compared later.
    """
    base = Installed(artifact.kind, artifact.mode, artifact.uid, artifact.gid)
    if entry is not None and proven:
        base = base._replace(root=entry.root)
        if entry.kind != artifact.kind:
            return f"was a {entry.kind}, is a {artifact.kind} now"
    if artifact.kind is Kind.LINK and entry is not None and proven and entry.detail != artifact.link:
        return f"link points to {artifact.link} now"
    wanted: Installed | str
    if artifact.kind is Kind.DATABASE:
        wanted = _wanted_database(artifact, entry if proven else None, base)
    elif artifact.kind is Kind.FILE:
        wanted = _wanted_file(artifact, entry if proven else None, base)
    else:
        wanted = base._replace(detail=_detail(artifact))
    if isinstance(wanted, str) or entry is None or not proven:
        return wanted
    if entry.detail and artifact.kind is not Kind.DIRECTORY and wanted.detail != entry.detail:
        return "the content to write differs" if artifact.kind is Kind.TEXT else f"is {wanted.detail} now"
    if (entry.uid, entry.gid) != (wanted.uid, wanted.gid):
        return f"owner is {wanted.uid}:{wanted.gid} now, not {entry.uid}:{entry.gid}"
    if entry.mode != wanted.mode:
        return f"mode is {wanted.mode:04o} now, not {entry.mode:04o}"
    return wanted


def _detail(artifact: Artifact) -> str:
    match artifact.kind:
        case Kind.LINK:
            return artifact.link
        case Kind.NODE:
            return str(artifact.device)
        case Kind.TEXT:
            return sha256(artifact.content)
        case _:
            return "open" if artifact.open else ""


def _wanted_database(artifact: Artifact, entry: Installed | None, base: Installed) -> Installed | str:
    assert artifact.recipe is not None
    inputs = artifact.recipe.digest()
    if entry is None:
        return base._replace(detail=sha256(artifact.recipe.render()), inputs=inputs)
    if entry.inputs != inputs:
        return f"{', '.join(artifact.after)} changed"
    return base._replace(detail=entry.detail, inputs=inputs)


def _wanted_file(artifact: Artifact, entry: Installed | None, base: Installed) -> Installed | str:
    """Return a file's wanted entry; reads the source only where its signature does not prove it unchanged."""
    if entry is not None and entry.path == artifact.source and entry.source != RACY:
        try:
            info = os.lstat(artifact.source)
        except OSError as error:
            raise Failure(f"cannot read {artifact.source}: {error.strerror}") from None
        if signature(info) == entry.source:
            return base._replace(
                detail=entry.detail,
                mtime_ns=entry.mtime_ns,
                capability=entry.capability,
                path=entry.path,
                source=entry.source,
            )
    fd = open_source(artifact)
    try:
        before = os.fstat(fd)
        digest, capability, seen = copy_digest(fd, artifact, before)
    except OSError as error:
        raise Failure(
            f"cannot read {artifact.source}: {error.strerror}", hint="nothing was changed"
        ) from None
    finally:
        os.close(fd)
    if entry is not None and entry.detail != digest:
        return "content differs from the host's"
    if entry is not None and entry.mtime_ns != before.st_mtime_ns:
        return "modification time differs from the host's"
    if entry is not None and entry.capability != capability:
        return "capabilities differ from the host's"
    return base._replace(
        detail=digest,
        mtime_ns=before.st_mtime_ns,
        capability=capability,
        path=artifact.source,
        source=seen,
    )
