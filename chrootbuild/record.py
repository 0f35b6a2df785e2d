"""What was installed in a root, and under which signatures: the memory between two builds.

One JSON file per target in the project's state folder, replaced as a whole
when a build has published. A lost or damaged record costs time, never truth:
the root is then compared with the plan, and what is right is taken as ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chrootbuild.artifact import Kind
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.host import Signature
from chrootbuild.project import Project

__all__ = ["RECIPE", "Installed", "Record", "locked", "read_record", "write_atomically", "write_record"]

# Raised when the same plan would be built differently: everything is then compared anew.
RECIPE = 1
_FORMAT = 1
_NOTHING: Signature = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Installed:
    """One artifact as it was installed.

    ``detail`` is a link's text, a node's numbers, the sha256 of a content, or "open" for
    a directory in which the daemon may put what it likes.
    ``inputs`` is a database recipe's digest. ``source`` and ``root`` are what
    was seen of the source and of the installed path; zeros mean "look closely".
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
    source: Signature = _NOTHING
    root: Signature = _NOTHING


@dataclass(frozen=True, slots=True)
class Record:
    """What is ours in a root: artifacts by path, and the seeds that were ever planted."""

    root: str
    artifacts: Mapping[str, Installed] = field(default_factory=dict)
    seeds: tuple[str, ...] = ()
    recipe: int = RECIPE


def _file(project: Project, target: str) -> str:
    return f"{project.state}/{target}.record"


def read_record(project: Project, target: str, root: str) -> Record | None:
    """Return the record of a target's root; None where there is none that can be used."""
    try:
        with open(_file(project, target), encoding="utf-8", errors="surrogatepass") as file:
            data = json.load(file)
        record = from_json(data)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if record.root == root else None


def write_record(project: Project, target: str, record: Record) -> None:
    """Replace a target's record; raises Failure."""
    write_atomically(_file(project, target), json.dumps(to_json(record), separators=(",", ":")).encode())


def to_json(record: Record) -> dict[str, Any]:
    """Return the record as what json.dumps takes."""
    return {
        "format": _FORMAT,
        "recipe": record.recipe,
        "root": record.root,
        "seeds": list(record.seeds),
        "artifacts": {path: entry_to_json(entry) for path, entry in record.artifacts.items()},
    }


def entry_to_json(entry: Installed) -> list[Any]:
    """Return one entry as a list, as compact as JSON allows."""
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
    """Return the entry that ``entry_to_json`` wrote; raises ValueError or TypeError."""
    kind, mode, uid, gid, detail, inputs, mtime, capability, source, *numbers = entry
    if len(numbers) != 8 or not all(isinstance(n, int) for n in (mode, uid, gid, mtime, *numbers)):
        raise ValueError("not an entry")
    if not all(isinstance(text, str) for text in (kind, detail, inputs, capability, source)):
        raise ValueError("not an entry")
    if kind not in set(Kind):
        raise ValueError("not a kind")
    seen, root = tuple(numbers[:4]), tuple(numbers[4:])
    return Installed(kind, mode, uid, gid, detail, inputs, mtime, capability, source, seen, root)


def from_json(data: Any) -> Record:
    """Return the record that ``to_json`` wrote; raises ValueError, KeyError or TypeError."""
    if data["format"] != _FORMAT:
        raise ValueError("another format")
    artifacts = {}
    for path, entry in data["artifacts"].items():
        if not safe(path):
            raise ValueError("not a path")
        artifacts[path] = entry_from_json(entry)
    seeds = tuple(data["seeds"])
    if not all(isinstance(seed, str) and safe(seed) for seed in seeds) or not isinstance(
        data["recipe"], int
    ):
        raise ValueError("not a record")
    return Record(str(data["root"]), artifacts, seeds, data["recipe"])


def safe(path: str) -> bool:
    """Tell whether a path has the form of an artifact's: absolute, canonical, no NUL."""
    parts = path.split("/")
    return (
        parts[0] == ""
        and len(parts) > 1
        and not {"", ".", ".."}.intersection(parts[1:])
        and "\0" not in path
    )


def write_atomically(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file of the state folder by a new name and a rename; raises Failure."""
    state = os.path.dirname(path)
    temporary = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(state, mode=0o755, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except FileExistsError:
        os.unlink(temporary)  # of a process with our number that was killed
        write_atomically(path, content, mode)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise Failure(
            f"cannot write {path}: {error.strerror}", hint="the project's state folder has to be writable"
        ) from None


@contextlib.contextmanager
def locked(project: Project, target: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a target's root; raises TryAgain, saying who has it, after ``wait`` seconds."""
    path = f"{project.state}/{target}.lock"
    try:
        os.makedirs(project.state, mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Failure(
            f"cannot lock {path}: {error.strerror}", hint="see who owns the state folder"
        ) from None
    try:
        _acquire(fd, target, time.monotonic() + wait)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _acquire(fd: int, target: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
    holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    raise TryAgain(
        f"cannot build {target}: {_describe(holder)} is at work on it",
        hint="wait until it is done, or let refresh wait: chrootbuild refresh --wait SECONDS",
    )


def _describe(pid: str) -> str:
    if not pid.isdigit():
        return "another process"
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(300).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "backslashreplace")
    except OSError:
        words = ""
    return f"process {pid} ({words})" if words else f"process {pid}"
