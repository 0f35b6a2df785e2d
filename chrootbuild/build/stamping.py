"""Stamping: the paths of a stamp written after a build, and its use by the next one."""

from __future__ import annotations

import contextlib
import os
import stat

from chrootbuild.artifact import Artifact
from chrootbuild.compare.assessment import Assessment
from chrootbuild.plan.cache import plan_file
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, is_exposed, record_file
from chrootbuild.state.stamp import Look, is_stamp, write_stamp
from chrootbuild.system.rights.user import privileged
from chrootbuild.system.signature import RACY, Signature, signature


def changed_since(project: Project, name: str, look: Look | None) -> frozenset[str] | None:
    """Return the paths changed since a target was built; None where plan or record is not of that build."""
    if look is None or not is_stamp(project.state, name, look.stamp):
        return None
    made = plan_file(project, name), record_file(project, name)
    if not all(look.covers(path) and path not in look.changed for path in made):
        return None
    return look.changed


def touches(changed: frozenset[str] | None, root: str) -> bool:
    """Return whether a path of the root changed: then the whole root has to be compared."""
    return changed is not None and any(path == root or path.startswith(f"{root}/") for path in changed)


def stamp(project: Project, assessment: Assessment, record: Record) -> None:
    """Write the target's stamp, unless a signature is racy."""
    target = assessment.target
    files: dict[str, Signature] = dict(assessment.seen)
    directories: dict[str, Signature] = dict(assessment.owners)
    exposed: dict[str, tuple[Signature, str]] = {}
    for path, entry in record.artifacts.items():
        if entry.root == RACY or (entry.path and entry.source == RACY) or _is_chmodded(entry):
            return  # the next build has to compare content
        if entry.kind == "directory":
            ino, _, _, mode = entry.root
            directories[target.root + path] = (ino, entry.uid, entry.gid, mode)
            continue
        if is_exposed(entry):
            exposed[target.root + path] = (entry.root, entry.detail)
        else:
            files[target.root + path] = entry.root
        if entry.path:
            files[entry.path] = entry.source
    if set(record.artifacts) != _made(assessment):
        return
    # Trust depends on who may write to these directories (law 8).
    for path in (project.targets, project.state, os.path.dirname(target.root)):
        directories.update(_above(path))
    try:
        # Record, plan and target files of one build: while unchanged, a build has to read no other.
        files[record_file(project, target.name)] = signature(os.lstat(record_file(project, target.name)))
        with contextlib.suppress(FileNotFoundError):
            files[plan_file(project, target.name)] = signature(os.lstat(plan_file(project, target.name)))
        directories[target.root] = _top(target.root, assessment.plan.top)
        for path in target.read:
            files[path] = signature(os.lstat(path))
        for path in target.absent:
            directory = os.path.dirname(path)
            if os.path.lexists(path):
                return
            files.setdefault(directory, signature(os.lstat(directory))) if os.path.isdir(directory) else None
    except OSError:
        return
    write_stamp(project, target.name, target.root, files, directories, exposed)


def _is_chmodded(entry: Installed) -> bool:
    """Return whether a mode was changed before the signature was taken."""
    return entry.kind != "link" and entry.root[3] & 0o7777 != entry.mode


def _above(path: str) -> dict[str, Signature]:
    """Return a directory and all above it, with their owners and modes."""
    found = {}
    while path != "/":
        info = os.lstat(path)
        found[path] = (info.st_ino, info.st_uid, info.st_gid, info.st_mode)
        path = os.path.dirname(path)
    return found


def _top(root: str, planned: Artifact) -> Signature:
    """Return the root directory's numbers, with the mode and owner that it has to have."""
    info = os.lstat(root)
    if not privileged():
        return (info.st_ino, info.st_uid, info.st_gid, info.st_mode)
    return (info.st_ino, planned.uid, planned.gid, stat.S_IFDIR | planned.mode)


def _made(assessment: Assessment) -> set[str]:
    return {
        path
        for path, change in assessment.comparison.changes.items()
        if change.artifact is not None and path != "/"
    }
