"""Pending check and restart of a refresh that has published.

NAME.pending in the project's state is written before the publish and removed after the restart.
It holds the entries of before: as long as the record's are equal, nothing was published.
"""

from __future__ import annotations

from collections.abc import Mapping

from chrootbuild.build.job import Job
from chrootbuild.paths import safe
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, read_record
from chrootbuild.system.files import BROKEN, StateFile
from chrootbuild.target.model import Target

# Path in the root -> identifying fields of its record entry; None: there was none.
_Before = Mapping[str, list[object] | None]


def _file(project: Project, name: str) -> StateFile:
    return StateFile(f"{project.state}/{name}.pending")


def note_pending(job: Job) -> None:
    """Write the paths about to be changed, before the publish; raises Failure."""
    record = job.assessment.record
    earlier = _read(job.project, job.name) or {}
    now = {path: _of(record, path) for path in job.stale}
    _file(job.project, job.name).write({"before": {**now, **earlier}})


def read_pending(project: Project, target: Target) -> tuple[str, ...] | None:
    """Return the paths in the root replaced or removed since the last restart.

    None where nothing was published since the note, or where there is no note.
    """
    before = _read(project, target.name)
    if before is None:
        return None
    record = read_record(project, target.name, target.root)
    if before and all(_of(record, path) == entry for path, entry in before.items()):
        drop_pending(project, target.name)
        return None
    return tuple(path for path, entry in before.items() if entry is not None)


def drop_pending(project: Project, name: str) -> None:
    """Remove the note: the restart was done, or the publish undone. Raises Failure."""
    _file(project, name).remove()


def _read(project: Project, name: str) -> _Before | None:
    try:
        data = _file(project, name).read()
        return {path: entry for path, entry in data["before"].items() if safe(path)}
    except FileNotFoundError:
        return None
    except BROKEN:
        return {}  # damaged by others; a needless restart hurts less than a missing one


def _of(record: Record | None, path: str) -> list[object] | None:
    entry: Installed | None = None if record is None else record.artifacts.get(path)
    if entry is None:
        return None
    return [entry.kind, entry.mode, entry.uid, entry.gid, entry.detail, entry.mtime_ns, entry.capability]
