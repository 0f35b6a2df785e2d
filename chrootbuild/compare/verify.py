"""Comparison of a root with its record, byte for byte: drifted, missing and foreign paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from chrootbuild.accounts.damage import damaged_records, damaged_users
from chrootbuild.artifact import Artifact, Kind
from chrootbuild.compare.drift import CLOSED, inspect, top_differs
from chrootbuild.console import SILENT, Progress
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.paths import join, split
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Record
from chrootbuild.system.files import sha256
from chrootbuild.text import kind_of

_STAGING = ("/.chrootbuild", "/.chrootbuild-kept")


def verify(
    record: Record, root: Root, bar: Progress = SILENT, top: Artifact | None = None
) -> Iterator[Finding]:
    """Yield what differs, a path at a time; every byte is read, whatever the signatures say.

    Daemon-owned parts are skipped: directories that the target declares,
    seeds, other filesystems. ``top`` is the root directory itself as planned. Raises Failure where
    the root cannot be read.
    """
    directories = ["/"]
    if top is not None and (difference := top_differs(root, top)):
        yield Finding("error", "drift", "/", difference)
    bar.begin(len(record.artifacts))
    for path, entry in sorted(record.artifacts.items()):
        bar.step(path, entry.root[2])
        try:
            info = root.lstat(path)
            difference = "" if info is None else inspect(root, path, entry, info, closely=True)
            if difference and entry.kind == Kind.DATABASE and (which := damage(record, root, path)):
                difference += f"; {which}"
        except Failure as failure:
            yield Finding("error", "unreadable", path, failure.message)
            continue
        if info is None:
            yield Finding("error", "missing", path, f"the {entry.kind} that was installed is gone")
        elif difference:
            yield Finding("error", "drift", path, difference, closed=difference is CLOSED)
        if entry.kind == Kind.DIRECTORY and entry.detail != "open":
            directories.append(path)
    for path in directories:
        yield from _extra(record, root, path)


def _extra(record: Record, root: Root, directory: str) -> Iterator[Finding]:
    """Yield the foreign paths in a directory of ours, in no order.

    A foreign directory is not descended into. The names are not collected: somebody
    may have put any number there.
    """
    try:
        fd = root.directory(directory)
        info = None if fd is None else os.fstat(fd)
        if fd is None or info is None or info.st_dev != root.dev:
            return
        with os.scandir(fd) as entries:
            for entry in entries:
                path = f"/{entry.name}" if directory == "/" else f"{directory}/{entry.name}"
                if path in record.artifacts or path in record.seeds:
                    continue
                seen = entry.stat(follow_symlinks=False)
                if path in _STAGING and stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid():
                    continue
                what = kind_of(seen.st_mode)
                yield Finding("error", "extra", path, f"{what} that was not installed")
    except FileNotFoundError:
        return  # it was removed meanwhile
    except OSError as error:
        raise Failure(f"cannot list {root.real(directory)}: {error.strerror}") from None
    except Failure as failure:
        yield Finding("error", "unreadable", directory, failure.message)


_LIMIT = 256 << 20  # bytes


def damage(record: Record, root: Root, path: str) -> str:
    """Return the damaged records of the database at ``path``, in words; empty where unknown.

    They are known only where the text beside it is as installed.
    """
    directory, name = split(path)
    users = name in ("pwd.db", "spwd.db")
    origin = join(directory, "master.passwd" if users else name.removesuffix(".db"))
    entry = record.artifacts.get(origin)
    data, text = _read(root, path), _read(root, origin)
    if data is None or text is None or entry is None or sha256(text) != entry.detail:
        return ""
    try:
        if users:
            return damaged_users(data, text, secure=name == "spwd.db")
        return damaged_records(data, text)
    except Failure:
        return ""


def _read(root: Root, path: str) -> bytes | None:
    """Return the content of a regular file of the root; None where there is none, or it is too large."""
    fd = root.open(path)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        content = file.read(_LIMIT + 1)
    return content if len(content) <= _LIMIT else None
