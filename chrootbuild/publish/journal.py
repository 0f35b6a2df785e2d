"""Write-ahead journal of a publish: an interrupted one is completed by the next build."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from chrootbuild.paths import safe
from chrootbuild.publish.step import Operation
from chrootbuild.root.tree import Root
from chrootbuild.state.project import Project
from chrootbuild.state.record import Record, from_json, in_pieces, read_record, record_signature
from chrootbuild.system.files import BROKEN, ForeignFileError, StateFile, write_atomically

_KINDS = ("directory", "put", "exchange", "pause", "unlink", "rmdir", "seed")
_STAGED = re.compile(r"([0-9a-f]{24}(\.new|\.seed)?)?")


def _journal(project: Project, target: str) -> StateFile:
    return StateFile(f"{project.state}/{target}.journal")


def is_pending(project: Project, target: str) -> bool:
    """Return whether a publish was interrupted and waits for ``recover``."""
    return os.path.lexists(_journal(project, target).path)


def write_journal(
    project: Project, target: str, operations: list[Operation], record: Record, base: Record | None
) -> None:
    """Write the journal of a publish, and fsync it. Raises Failure and OSError."""
    write_atomically(_journal(project, target).path, _in_pieces(project, target, operations, record, base))
    fd = os.open(project.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _in_pieces(
    project: Project, target: str, operations: list[Operation], record: Record, base: Record | None
) -> Iterator[bytes]:
    """Yield the journal: the steps, and the record, whole or as the difference from the one on disk."""
    head: dict[str, Any] = {"operations": [_to_json(op) for op in operations]}
    seen = record_signature(project, target)
    if base is not None and seen is not None:
        old = base.artifacts
        head |= {"base": seen, "gone": [path for path in old if path not in record.artifacts]}
        changed = {path: entry for path, entry in record.artifacts.items() if old.get(path) is not entry}
        record = replace(record, artifacts=changed)
    yield json.dumps(head).encode()[:-1] + b',"record":'
    yield from in_pieces(record)
    yield b"}"


def read_journal(project: Project, target: str, root: Root) -> tuple[list[Operation], Record] | None:
    """Return the steps of an interrupted publish and the record after it; None where the journal is not ours.

    Raises FileNotFoundError where there is no journal, Failure where somebody else wrote it.
    """
    try:
        journal = _journal(project, target).read()
        operations = [_operation(entry) for entry in journal["operations"]]
        record = _whole(project, target, root, journal)
    except FileNotFoundError:
        raise
    except ForeignFileError as error:
        raise error.failure() from None
    except BROKEN:
        return None  # ours is written atomically
    if record.root != root.declared or record.inode != os.fstat(root.fd).st_ino:
        return None
    return operations, record


def _whole(project: Project, target: str, root: Root, journal: Mapping[str, Any]) -> Record:
    """Return the whole record of a journal; raises as from_json does."""
    record = from_json(journal["record"])
    if "base" not in journal:
        return record
    base = read_record(project, target, root.declared)
    if base is None:
        return record  # the base was lost: its entries are compared anew
    if record_signature(project, target) != tuple(journal["base"]):
        return base  # the new one was written before the kill
    gone = set(journal["gone"])
    kept = {path: entry for path, entry in base.artifacts.items() if path not in gone}
    return replace(record, artifacts={**kept, **record.artifacts})


def _to_json(op: Operation) -> list[Any]:
    return [op.kind, op.path, op.name, op.ino, op.ctime, op.mode, op.uid, op.gid, op.ours]


def _operation(entry: Any) -> Operation:
    kind, path, name, ino, ctime, mode, uid, gid, ours = entry
    numbers = (ino, ctime, mode, uid, gid)
    if not all(type(number) is int for number in numbers) or not (
        0 <= min(uid, gid) <= max(uid, gid) < 1 << 32
    ):
        raise ValueError("not an operation")
    # A name with a slash or dots would lead out of the staging.
    if kind not in _KINDS or not _STAGED.fullmatch(name) or not 0 <= mode <= 0o7777:
        raise ValueError("not an operation")
    if not safe(path) or not all(safe(other) for other in ours):
        raise ValueError("not a path")
    return Operation(kind, path, name, ino, ctime, mode, uid, gid, tuple(ours))


def forget_journal(project: Project, target: str) -> None:
    """Remove the journal: its steps are done, or it is not ours. Raises Failure."""
    _journal(project, target).remove()
