"""The former files of a root, kept until its check passes, and put back where it does not.

They are hard links beside the staging directory, root's and 0700, outside what the daemon sees;
NAME.kept in the project's state says what they are. What was put back is published like any build, so it
survives a kill; NAME.held then says which update is not to be tried again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.build.job import Job, opened, run
from chrootbuild.compare.change import Change, Comparison, by_directory
from chrootbuild.compare.compare import compare, orphan
from chrootbuild.compare.drift import inspect
from chrootbuild.console import table
from chrootbuild.errors import Failure
from chrootbuild.paths import safe
from chrootbuild.root.stage import Stage, clear_stage, name_of, note, open_stage
from chrootbuild.root.tree import Root, read_root
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, entry_from_json, entry_to_json, read_record
from chrootbuild.sync.pending import drop_pending
from chrootbuild.system.files import BROKEN, StateFile, sha256_of
from chrootbuild.system.signature import root_signature, signature
from chrootbuild.target.model import Target

_SUFFIX = "-kept"


@dataclass(frozen=True, slots=True)
class _Backup:
    """What the root was before: ``files`` by path, and the paths that were not there."""

    files: Mapping[str, Installed]
    installed: frozenset[str]


def _file(project: Project, name: str) -> StateFile:
    return StateFile(f"{project.state}/{name}.kept")


def _read(project: Project, name: str, root: Root) -> _Backup | None:
    try:
        data = _file(project, name).read()
        if data["inode"] != os.fstat(root.fd).st_ino:
            return None
        files = {path: entry_from_json(entry) for path, entry in data["files"].items() if safe(path)}
        return _Backup(files, frozenset(filter(safe, data["installed"])))
    except BROKEN:
        return None


# -- keeping -------------------------------------------------------------------------------


def backup(job: Job, *, proven: bool) -> None:
    """Link what a publish is going to replace or remove; ``proven``: what is there passed its check.

    Else what was kept before stays, and the rest is added. What was changed in the root is
    not kept. Raises Failure; nothing was changed then.
    """
    target = job.assessment.target
    if proven:
        drop_backup(job.project, target)
    root = read_root(target.root)
    if root is None or job.assessment.record is None:
        return
    with root, open_stage(root, _SUFFIX) as store:
        earlier = _read(job.project, job.name, root) or _Backup({}, frozenset())
        files, installed = dict(earlier.files), set(earlier.installed)
        for path in job.stale:
            if path in files or path in installed:
                continue
            entry = job.assessment.record.artifacts.get(path)
            info = root.lstat(path)
            if entry is None or info is None:
                installed.add(path)
            elif not inspect(root, path, entry, info):
                files[path] = entry
                if entry.kind != Kind.DIRECTORY:
                    _link(root, store, path)
        data = {
            "inode": os.fstat(root.fd).st_ino,
            "files": {path: entry_to_json(entry) for path, entry in files.items()},
            "installed": sorted(installed),
        }
        os.fsync(store.fd)
        _file(job.project, job.name).write(data)


def _link(root: Root, store: Stage, path: str) -> None:
    fd, leaf = root.parent(path)
    name = name_of(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=store.fd)
        os.link(leaf, name, src_dir_fd=fd, dst_dir_fd=store.fd, follow_symlinks=False)
    except OSError as error:
        raise Failure(
            f"cannot keep {root.real(path)} until the check has passed: {error.strerror}",
            hint="nothing was changed; refresh without --rollback does not keep it",
        ) from None


def drop_backup(project: Project, target: Target) -> None:
    """Remove what was kept; raises Failure."""
    _file(project, target.name).remove()
    root = read_root(target.root)
    if root is not None:
        with root:
            clear_stage(root, _SUFFIX)


# -- putting back --------------------------------------------------------------------------


def roll_back(job: Job) -> tuple[str, ...]:
    """Put the former files back and return lines that say so; none where nothing was kept. Raises Failure."""
    project, target = job.project, job.assessment.target
    root = read_root(target.root)
    if root is None:
        return ()
    with root:
        kept = _read(project, job.name, root)
        record = read_record(project, job.name, target.root)
        if kept is None or record is None:
            return ()
        with open_stage(root, _SUFFIX) as store:
            back = _back(store, kept, record)
            comparison = _comparison(root, job, record, kept, back)
            assessment = replace(job.assessment, record=record, comparison=comparison)
            again = opened(replace(job, assessment=assessment, partial=True), root)
            run(again, lambda again: _stage(again, store, back))
    rows = [(change.action, path, change.reason) for path, change in comparison.stale.items()]
    return tuple(table(rows))


def _back(store: Stage, kept: _Backup, record: Record) -> dict[str, Installed]:
    """Return what is to be put back: what differs from what is there, as far as it was kept unchanged."""
    back = {}
    for path, entry in kept.files.items():
        now = record.artifacts.get(path)
        if now is not None and _same(now, entry):
            continue
        if entry.kind == Kind.DIRECTORY or _unchanged(store, name_of(path), entry):
            back[path] = entry
    return back


def _stage(job: Job, store: Stage, back: Mapping[str, Installed]) -> None:
    """Link the kept files into the staging directory; directories are made anew."""
    stage = job.stage
    assert stage is not None
    for path, entry in back.items():
        if entry.kind == Kind.DIRECTORY:
            job.make(_artifact(path, entry))
            continue
        name = name_of(path)
        os.link(name, name, src_dir_fd=store.fd, dst_dir_fd=stage.fd, follow_symlinks=False)
        info = os.stat(name, dir_fd=stage.fd, follow_symlinks=False)
        note(stage, path, entry._replace(root=root_signature(info)))


def _same(one: Installed, other: Installed) -> bool:
    keys = ("kind", "mode", "uid", "gid", "detail", "mtime_ns", "capability")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _unchanged(store: Stage, name: str, entry: Installed) -> bool:
    """Tell whether a kept file still has the content that was installed."""
    if entry.kind in (Kind.LINK, Kind.NODE):
        return os.access(name, os.F_OK, dir_fd=store.fd, follow_symlinks=False)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=store.fd)
    except OSError:
        return False
    try:
        return sha256_of(fd) == entry.detail
    finally:
        os.close(fd)


def _comparison(
    root: Root, job: Job, record: Record, kept: _Backup, back: Mapping[str, Installed]
) -> Comparison:
    """Return the way back as a comparison: the steps are ordered as those of a build."""
    changes: dict[str, Change] = {}
    for path in sorted({*record.artifacts, *back}):
        now = record.artifacts.get(path)
        planned = job.assessment.plan.artifacts.get(path)
        elf = "" if planned is None else planned.elf
        if path in back:
            action = "install" if now is None else "replace"
            changes[path] = Change(path, action, "put back", _artifact(path, back[path], elf))
        elif path in kept.installed and now is not None:
            change = orphan(path, now, root)
            changes[path] = change._replace(reason="was not there before")
        elif now is not None:
            changes[path] = Change(path, "keep", "", _artifact(path, now, elf))
    return Comparison(changes, record.artifacts, by_directory(changes))


def _artifact(path: str, entry: Installed, elf: str = "") -> Artifact:
    """Return an artifact that looks as what was installed; enough to arrange and to make a directory."""
    if not elf and entry.kind == Kind.FILE and (".so." in path or path.endswith(".so")):
        elf = "library"
    return Artifact(
        path,
        Kind(entry.kind),
        entry.mode,
        entry.uid,
        entry.gid,
        source=entry.path,
        link=entry.detail if entry.kind == Kind.LINK else "",
        elf=elf,
        open=entry.kind == Kind.DIRECTORY and entry.detail == "open",
    )


# -- not again -----------------------------------------------------------------------------


def _held_file(project: Project, name: str) -> StateFile:
    return StateFile(f"{project.state}/{name}.held")


def quarantine(job: Job) -> None:
    """Write down which update failed, after it was taken back; raises Failure."""
    root = read_root(job.assessment.target.root)
    if root is None:
        return
    with root:
        record = read_record(job.project, job.name, job.assessment.target.root)
        stale = compare(job.assessment.plan, record, root, job.assessment.seen).stale
    _held_file(job.project, job.name).write({"digest": _digest(stale), "since": int(time.time())})


def refuse_quarantined(job: Job) -> None:
    """Raise Failure where this is the update that failed its check before; else forget that one."""
    file = _held_file(job.project, job.name)
    try:
        data = file.read()
        digest, since = str(data["digest"]), time.strftime("%Y-%m-%d %H:%M", time.localtime(data["since"]))
    except FileNotFoundError:
        return
    except BROKEN:
        digest, since = "", ""
    if digest != _digest(job.stale):
        with contextlib.suppress(Failure):
            file.remove()
        return
    drop_pending(job.project, job.name)
    drop_backup(job.project, job.assessment.target)
    raise Failure(
        f"cannot update {job.name}: the same update failed its check on {since} and was taken back",
        details=tuple(table((change.action, path, change.reason) for path, change in job.stale.items())),
        hint=f"chrootbuild build {job.name} installs it all the same; refresh tries again when anything changed",
    )


def _digest(stale: Mapping[str, Change]) -> str:
    """Return a digest of what an update would install, by the sources' signatures."""
    digest = hashlib.blake2b(digest_size=16)
    for path, change in sorted(stale.items()):
        artifact = change.artifact
        facts: tuple[object, ...] = (path, change.action)
        if artifact is not None:
            inputs = "" if artifact.recipe is None else artifact.recipe.digest()
            seen = signature(os.lstat(artifact.source)) if artifact.source else ()
            owner = (artifact.mode, artifact.uid, artifact.gid)
            facts += (str(artifact.kind), owner, artifact.link, artifact.content, inputs, seen)
        digest.update(repr(facts).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
