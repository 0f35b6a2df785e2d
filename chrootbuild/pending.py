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
from chrootbuild.project import Project
from chrootbuild.record import BROKEN, read_state, record_signature, safe, write_atomically

__all__ = ["Pending", "drop_pending", "note_pending", "read_pending"]


@dataclass(frozen=True, slots=True)
class Pending:
    """The paths (in the root) that were replaced or removed and not yet followed by a restart."""

    paths: tuple[str, ...]
    record: tuple[int, ...] = ()  # the record's signature before the publish


def _file(project: Project, name: str) -> str:
    return f"{project.state}/{name}.pending"


def note_pending(job: Job) -> None:
    """Write down, before the publish, what is going to be changed; raises Failure."""
    earlier = read_pending(job.project, job.name)
    known = set(() if job.prepared.record is None else job.prepared.record.artifacts)
    paths = sorted(
        {*(() if earlier is None else earlier.paths), *(path for path in job.stale if path in known)}
    )
    record: tuple[int, ...] = record_signature(job.project, job.name) or (0,)  # (0,): nothing was ever published
    if earlier is not None:
        record = ()  # what it stands for was published, whatever becomes of this
    text = json.dumps({"paths": paths, "record": record})
    write_atomically(_file(job.project, job.name), text.encode())


def read_pending(project: Project, name: str) -> Pending | None:
    """Return what a target has still to be given; None where nothing was published since it was noted."""
    path = _file(project, name)
    try:
        data = json.loads(read_state(path))
        found = Pending(tuple(filter(safe, data["paths"])), tuple(data["record"]))
    except FileNotFoundError:
        return None
    except BROKEN:
        return Pending(())  # never half written; but a restart too many hurts less than one too few
    if found.record and found.record == (record_signature(project, name) or (0,)):
        drop_pending(project, name)
        return None
    return found


def drop_pending(project: Project, name: str) -> None:
    """Forget it: it was done, or undone."""
    path = _file(project, name)
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Failure(f"cannot remove {path}: {error.strerror}") from None
