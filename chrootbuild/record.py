"""Record of a root's installed artifacts and their signatures, kept between builds.

One JSON file per target in the project's state folder, replaced atomically
after a publish. A lost or damaged record costs time, never correctness: the
root is then compared with the plan, and matching paths are taken as ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from chrootbuild import RECIPE
from chrootbuild.artifact import Kind
from chrootbuild.errors import Failure
from chrootbuild.host import Signature, signature
from chrootbuild.project import Project

__all__ = [
    "BROKEN",
    "RECIPE",
    "UNPROVEN",
    "Installed",
    "Record",
    "entry_from_json",
    "entry_to_json",
    "from_json",
    "in_pieces",
    "read_record",
    "read_state",
    "record_file",
    "record_signature",
    "safe",
    "write_atomically",
    "write_record",
]

_FORMAT = 1
_PIECE = 500  # entries per write
UNPROVEN: Signature = (0, 0, 0, 0)  # a racy signature (as in git): compare the content
# Errors of reading a state file that is damaged, or of somebody else.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
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
    source: Signature = UNPROVEN
    root: Signature = UNPROVEN


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
    """Return the record of a target's root; None where there is no usable one."""
    try:
        record = from_json(json.loads(read_state(record_file(project, target))))
    except BROKEN:
        return None
    return record if record.root == root else None


def record_signature(project: Project, target: str) -> Signature | None:
    """Return the signature of the record, which changes with every publish; None where there is none."""
    try:
        return signature(os.lstat(record_file(project, target)))
    except OSError:
        return None


def read_state(path: str) -> str:
    """Return the text of a state file; raises OSError, EINVAL where it is no regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, encoding="utf-8", errors="surrogatepass") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return file.read()


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


def safe(path: str) -> bool:
    """Return whether a path has the form of an artifact's: absolute, canonical, no NUL.

    Raises AttributeError or ValueError where it is no path at all.
    """
    if not path.isascii():
        os.fsencode(path)  # ValueError: no file can have that name
    closed = path + "/"
    return (
        path[:1] == "/"
        and "//" not in closed
        and "/./" not in closed
        and "/../" not in closed
        and "\0" not in path
    )


def write_atomically(path: str, content: bytes | Iterable[bytes], mode: int = 0o600) -> None:
    """Write a state file, whole or in pieces, by a temporary name and a rename; raises Failure."""
    state = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(state, mode=0o755, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            for piece in (content,) if isinstance(content, bytes) else content:
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except FileExistsError:
        os.unlink(temporary)  # left by a killed process of the same pid
        write_atomically(path, content, mode)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Failure(
            f"cannot write {path}: {error.strerror}", hint="the project's state folder has to be writable"
        ) from None
