"""What a refresh has still to do after it has published: the check and the restart.

NAME.pending in the project's state is written before the publish and removed after the restart.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass

from chrootbuild.build import Job
from chrootbuild.errors import Failure
from chrootbuild.host import signature
from chrootbuild.project import Project
from chrootbuild.record import BROKEN, read_state, safe, write_atomically

__all__ = ["Pending", "drop_pending", "is_pending", "note_pending", "read_pending"]


@dataclass(frozen=True, slots=True)
class Pending:
    """The paths (in the root) that were replaced or removed and not yet followed by a restart."""

    paths: tuple[str, ...]
    record: tuple[int, ...] = ()  # the record's signature before the publish


def _file(state: str, name: str) -> str:
    return f"{state}/{name}.pending"


def is_pending(state: str, name: str) -> bool:
    """Tell quickly whether something may be left to do."""
    return os.path.lexists(_file(state, name))


def note_pending(job: Job) -> None:
    """Write down, before the publish, what is going to be changed; raises Failure."""
    earlier = read_pending(job.project, job.name)
    known = set(() if job.prepared.record is None else job.prepared.record.artifacts)
    paths = sorted({*(() if earlier is None else earlier.paths), *(path for path in job.stale if path in known)})
    record = _record(job.project, job.name)
    if earlier is not None:
        record = ()  # what it stands for was published, whatever becomes of this
    text = json.dumps({"paths": paths, "record": record})
    write_atomically(_file(job.project.state, job.name), text.encode())


def read_pending(project: Project, name: str) -> Pending | None:
    """Return what a target has still to be given; None where nothing was published since it was noted."""
    path = _file(project.state, name)
    try:
        data = json.loads(read_state(path))
        found = Pending(tuple(filter(safe, data["paths"])), tuple(data["record"]))
    except FileNotFoundError:
        return None
    except BROKEN:
        return Pending(())  # never half written; but a restart too many hurts less than one too few
    if found.record and found.record == _record(project, name):
        drop_pending(project, name)
        return None
    return found


def drop_pending(project: Project, name: str) -> None:
    """Forget it: it was done, or undone."""
    path = _file(project.state, name)
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Failure(f"cannot remove {path}: {error.strerror}") from None


def _record(project: Project, name: str) -> tuple[int, ...]:
    """Return what is different after every publish; (0,) where nothing was ever published."""
    try:
        return signature(os.lstat(f"{project.state}/{name}.record"))
    except OSError:
        return (0,)
