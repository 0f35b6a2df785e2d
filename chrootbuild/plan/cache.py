"""Cache of a target's last plan, valid while none of its inputs has changed.

A change of content that is only copied keeps the plan, and so do new names in
a directory, if they are none that the plan looked for. Any other change makes
a new plan. Reasons are not stored: explain plans anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from chrootbuild import RECIPE
from chrootbuild.artifact import Artifact, Device, Kind, Origin, Plan
from chrootbuild.errors import Failure
from chrootbuild.system.files import BROKEN, StateFile
from chrootbuild.system.signature import Signature, signature
from chrootbuild.target.model import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from chrootbuild.elf.memo import Memo
    from chrootbuild.state.project import Project
    from chrootbuild.sysroot.reader import Sysroot


@dataclass(frozen=True, slots=True)
class Cached:
    """A plan, the part of its target that a build needs, and its inputs."""

    target: Target  # name, file, root, summary, manual, read and absent alone
    plan: Plan
    seen: Mapping[str, Signature]
    owners: Mapping[str, Signature]


def _header(target: str) -> list[object]:
    # A plan also depends on the user and on the chrootbuild that makes it.
    return ["plan 1", RECIPE, target, os.geteuid(), os.path.dirname(os.path.abspath(__file__))]


def plan_file(project: Project, target: str) -> str:
    """Return the real path of a target's cached plan."""
    return f"{project.state}/{target}.plan"


# -- writing -------------------------------------------------------------------------------


def save_plan(project: Project, target: Target, plan: Plan, sysroot: Sysroot, memo: Memo) -> None:
    """Write a plan to the cache, but one with databases or seeds to plant, which is made anew each time."""
    if plan.seeds or any(artifact.recipe is not None for artifact in plan.artifacts.values()):
        drop_plan(project, target.name)
        return
    try:
        read = {path: signature(os.lstat(path)) for path in target.read}
    except OSError:
        return
    data = {
        "header": _header(target.name),
        "target": [target.file, target.root, target.summary, target.manual],
        "out": project.out,
        "read": read,
        "absent": list(target.absent),
        "seen": sysroot.seen,
        "owners": sysroot.owners,
        "listed": {path: digest_of("\0".join(names)) for path, names in sysroot.listed.items()},
        "missing": {path: sorted(names) for path, names in sysroot.missing.items()},
        "inputs": sorted(sysroot.inputs),
        "sources": sources_of(plan, memo, sysroot.seen),
        "artifacts": [_row(artifact) for artifact in plan.artifacts.values()],
        "warnings": plan.warnings,
    }
    StateFile(plan_file(project, target.name)).write(data)


def drop_plan(project: Project, target: str) -> None:
    """Remove a target's cached plan."""
    with contextlib.suppress(Failure):
        StateFile(plan_file(project, target)).remove()


def sources_of(plan: Plan, memo: Memo, seen: Mapping[str, Signature]) -> dict[str, list[Any]]:
    """Return for each copied file its owner, and a digest of its facts for the run-time linker."""
    found = {}
    for artifact in plan.artifacts.values():
        if artifact.kind is Kind.FILE:
            info = os.lstat(artifact.source)
            digest = _UNKNOWN if signature(info) != seen.get(artifact.source) else ""
            if artifact.elf and not digest:
                digest = _digest_of_facts(artifact.source, info, memo)
            found[artifact.source] = [info.st_uid, info.st_gid, digest]
    return found


_UNKNOWN = "?"  # equals no digest: a change of this file makes a new plan


def _digest_of_facts(path: str, info: os.stat_result, memo: Memo) -> str:
    """Return the digest of an ELF file's facts, read anew where its signature is racy for the memo."""
    facts = memo.get(path, info)
    if facts is not None:
        return digest_of(repr(facts))
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.pread(fd, 4, 0) != b"\x7fELF":
            return _UNKNOWN  # a script
        from chrootbuild.elf.reader import read

        return digest_of(repr(read(fd, info.st_size)))
    finally:
        os.close(fd)


def digest_of(text: str) -> str:
    """Return a short digest of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _row(artifact: Artifact) -> list[Any]:
    device = artifact.device
    return [
        artifact.path,
        artifact.kind,
        artifact.mode,
        artifact.uid,
        artifact.gid,
        artifact.source,
        list(artifact.sources),
        artifact.link,
        artifact.content.decode("latin-1"),
        [device.char, device.major, device.minor] if device else None,
        list(artifact.after),
        artifact.capabilities,
        artifact.elf,
        artifact.implied,
        artifact.open,
    ]


# -- reading -------------------------------------------------------------------------------


def cached_plan(project: Project, name: str, changed: Collection[str] | None = None) -> Cached | None:
    """Return a target's last plan where it is still valid, else None; reads no target file and no ELF.

    Of the copied files only the ``changed`` are looked at, if given.
    """
    try:
        data = StateFile(plan_file(project, name)).read()
        if (
            data["header"] != _header(name)
            or data["out"] != project.out
            or not _is_of_target(project, name, data)
        ):
            return None
        if not _read_unchanged(data):
            return None
        seen = _still_seen(data, changed)
        if seen is None:
            return None
        file_name, root, summary, manual = data["target"]
        artifacts = {row[0]: _artifact(row) for row in data["artifacts"]}
        owners = {path: _signature(entry) for path, entry in data["owners"].items()}
        target = Target(
            name,
            file_name,
            Origin(file_name, "root"),
            root,
            summary,
            manual,
            read=tuple(data["read"]),
            absent=tuple(data["absent"]),
        )
        return Cached(target, Plan(name, root, artifacts, {}, (), tuple(data["warnings"])), seen, owners)
    except (*BROKEN, IndexError):
        return None


def _signature(entry: list[int]) -> Signature:
    ino, ctime, size, mode = entry
    return ino, ctime, size, mode


def _artifact(row: list[Any]) -> Artifact:
    path, kind, mode, uid, gid, source, sources, link, content, device, after, *flags = row
    capabilities, elf, implied, is_open = flags
    return Artifact(
        path,
        _KINDS[kind],
        mode,
        uid,
        gid,
        source,
        tuple(sources),
        link,
        content.encode("latin-1"),
        Device(*device) if device else None,
        None,
        tuple(after),
        capabilities,
        elf,
        implied,
        is_open,
    )


_KINDS = {str(kind): kind for kind in Kind}


def _is_of_target(project: Project, name: str, data: Mapping[str, Any]) -> bool:
    """Tell whether a plan depends on the target's own files: what it says is theirs then."""
    own, learned = (f"{project.targets}/{name}{end}" for end in (".toml", ".learned.toml"))
    return own in data["read"] and (learned in data["read"] or learned in data["absent"])


def _read_unchanged(data: Mapping[str, Any]) -> bool:
    if any(signature(os.lstat(path)) != tuple(entry) for path, entry in data["read"].items()):
        return False
    return not any(os.path.lexists(path) for path in data["absent"])


def _still_seen(data: Mapping[str, Any], changed: Collection[str] | None) -> dict[str, Signature] | None:
    """Return the present signatures, if every change keeps the plan valid.

    Copied files not among the ``changed`` keep the cached signature: the record has the true one.
    """
    for path, (ino, uid, gid, mode) in data["owners"].items():
        info = os.lstat(path)
        if (info.st_ino, info.st_uid, info.st_gid, info.st_mode) != (ino, uid, gid, mode):
            return None
    inputs = set(data["inputs"])
    vouched, moved = () if changed is None else data["sources"], changed or ()
    seen = {}
    look = os.lstat
    for path, (ino, ctime, size, mode) in data["seen"].items():
        if path in vouched and path not in moved and path not in inputs:
            seen[path] = (ino, ctime, size, mode)
            continue
        info = look(path)
        if (
            info.st_ctime_ns == ctime
            and info.st_ino == ino
            and info.st_size == size
            and info.st_mode == mode
        ):
            seen[path] = (ino, ctime, size, mode)
            continue
        if path in inputs or info.st_mode != mode:
            return None
        same = same_names(data, path) if stat.S_ISDIR(mode) else same_but_content(data, path, info)
        if not same:
            return None
        seen[path] = signature(info)
    return seen


def same_names(data: Mapping[str, Any], path: str) -> bool:
    """Return whether a directory has the names the plan listed, and still lacks those it missed."""
    listed = data["listed"].get(path)
    if listed is not None and digest_of("\0".join(sorted(os.listdir(path)))) != listed:
        return False
    return not any(os.path.lexists(f"{path}/{name}") for name in data["missing"].get(path, ()))


def same_but_content(data: Mapping[str, Any], path: str, info: os.stat_result) -> bool:
    """Return whether a copied file has the same owner and the same facts for the run-time linker."""
    known = data["sources"].get(path)
    if known is None or not stat.S_ISREG(info.st_mode) or [info.st_uid, info.st_gid] != known[:2]:
        return False
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        head = os.pread(fd, 4, 0)
        if not known[2]:
            return head != b"\x7fELF" and head[:2] != b"#!"
        if head != b"\x7fELF":
            return False
        from chrootbuild.elf.reader import read

        return bool(digest_of(repr(read(fd, info.st_size))) == known[2])
    finally:
        os.close(fd)
