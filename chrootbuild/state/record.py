"""Record of a root's installed artifacts and their signatures, kept between builds.

One JSON file per target in the project's state folder, replaced atomically
after a publish. A lost or damaged record costs time, never correctness: the
root is then compared with the plan, and matching paths are taken as ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from chrootbuild import RECIPE
from chrootbuild.artifact import Kind
from chrootbuild.paths import safe
from chrootbuild.state.project import Project
from chrootbuild.system.files import BROKEN, ForeignFileError, StateFile, write_atomically
from chrootbuild.system.signature import RACY, Signature, signature

_FORMAT = 1
_PIECE = 500  # entries that are written at once
_TYPES = (str, int, int, int, str, str, int, str, str, *(int,) * 8)  # of an entry's list
_KINDS = frozenset(map(str, Kind))


class Installed(NamedTuple):  # read by the ten thousand: a tuple is four times as fast
    """One artifact as it was installed.

    ``detail`` is a link's text, a node's numbers, the sha256 of a content, or "open" for
    a daemon-owned directory.
    ``inputs`` is a database recipe's digest. ``source`` and ``root`` are the signatures
    of the source and of the installed path; zeros are racy.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    detail: str = ""
    inputs: str = ""
    mtime_ns: int = 0
    capability: str = ""  # hex of security.capability
    path: str = ""  # the source's real path
    source: Signature = RACY
    root: Signature = RACY


@dataclass(frozen=True, slots=True)
class Record:
    """Our paths in a root: artifacts by path, and all seeds ever planted.

    ``inode`` is the root directory's: in another directory of that name nothing is ours to
    remove. 0 means unknown.
    """

    root: str
    artifacts: Mapping[str, Installed] = field(default_factory=dict)
    seeds: tuple[str, ...] = ()
    recipe: int = RECIPE
    inode: int = 0


def record_file(project: Project, target: str) -> str:
    """Return the real path of a target's record."""
    return f"{project.state}/{target}.record"


def read_record(project: Project, target: str, root: str) -> Record | None:
    """Return the record of a target's root; None where there is no usable one.

    Raises Failure where somebody else wrote it: without it, what was installed would stay for ever.
    """
    try:
        record = from_json(StateFile(record_file(project, target)).read())
    except ForeignFileError as error:
        raise error.failure() from None
    except BROKEN:
        return None
    return record if record.root == root else None


def record_signature(project: Project, target: str) -> Signature | None:
    """Return the signature of the record, which changes with every publish; None where there is none."""
    try:
        return signature(os.lstat(record_file(project, target)))
    except OSError:
        return None


def write_record(project: Project, target: str, record: Record) -> None:
    """Replace a target's record atomically; raises Failure."""
    write_atomically(record_file(project, target), in_pieces(record))


def in_pieces(record: Record) -> Iterator[bytes]:
    """Yield the record as JSON in pieces, so that a large one is not in memory twice."""
    head = {
        "format": _FORMAT,
        "recipe": record.recipe,
        "root": record.root,
        "inode": record.inode,
        "seeds": list(record.seeds),
    }
    yield json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"artifacts":{'
    entries = iter(record.artifacts.items())
    comma = b""
    while piece := {path: entry_to_json(entry) for path, entry in islice(entries, _PIECE)}:
        yield comma + json.dumps(piece, separators=(",", ":")).encode()[1:-1]
        comma = b","
    yield b"}}"


def entry_to_json(entry: Installed) -> list[Any]:
    """Return one entry as a list, the compact form in JSON."""
    return [
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.detail,
        entry.inputs,
        entry.mtime_ns,
        entry.capability,
        entry.path,
        *entry.source,
        *entry.root,
    ]


def entry_from_json(entry: Any) -> Installed:
    """Return the entry of a list from ``entry_to_json``; raises ValueError or TypeError."""
    if tuple(map(type, entry)) != _TYPES or entry[0] not in _KINDS:
        raise ValueError("not an entry")
    if min(entry[9:]) < 0 or max(entry[9:]) >> 64:
        raise ValueError("not a signature")
    kind, mode, uid, gid, detail, inputs, mtime, capability, source, *numbers = entry
    seen, root = (*numbers[:4],), (*numbers[4:],)
    return Installed(kind, mode, uid, gid, detail, inputs, mtime, capability, source, seen, root)


def from_json(data: Any) -> Record:
    """Return the record of JSON from ``in_pieces``; raises ValueError, KeyError or TypeError."""
    if data["format"] != _FORMAT:
        raise ValueError("another format")
    artifacts = {}
    for path, entry in data["artifacts"].items():
        if not safe(path):
            raise ValueError("not a path")
        artifacts[path] = entry_from_json(entry)
    seeds = tuple(data["seeds"])
    numbers = (data["recipe"], data.get("inode", 0))
    if not all(safe(seed) for seed in seeds) or not all(type(number) is int for number in numbers):
        raise ValueError("not a record")
    return Record(str(data["root"]), artifacts, seeds, *numbers)
