"""A root held against its record, byte for byte: what drifted, what is missing, what is not ours."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from chrootbuild.artifact import Kind
from chrootbuild.findings import Finding
from chrootbuild.fresh import inspect
from chrootbuild.record import Record
from chrootbuild.root import Root, kind_of

__all__ = ["verify"]


def verify(record: Record, root: Root) -> Iterator[Finding]:
    """Yield what differs, a path at a time; every byte is read, whatever the signatures say.

    What the daemon may write is not looked at: directories that the target
    declares, seeds, other filesystems. Raises Failure where the root cannot be read.
    """
    for path, entry in sorted(record.artifacts.items()):
        info = root.lstat(path)
        if info is None:
            yield Finding("error", "missing", path, f"the {entry.kind} that was installed is gone")
            continue
        difference = inspect(root, path, entry, info, closely=True)
        if difference:
            yield Finding("error", "drift", path, difference)
    yield from _extra(record, root)


def _extra(record: Record, root: Root) -> Iterator[Finding]:
    """Yield what is in the root and was never installed by us."""
    left = set(record.seeds)
    left.update(path for path, entry in record.artifacts.items() if entry.detail == "open" and entry.kind == Kind.DIRECTORY)
    stack = ["/"]
    while stack:
        here = stack.pop()
        deeper = []
        for name in root.listdir(here):
            path = f"/{name}" if here == "/" else f"{here}/{name}"
            info = root.lstat(path)
            if info is None or path in record.seeds or (here == "/" and name == ".chrootbuild"):
                continue
            ours = path in record.artifacts
            if not ours and here not in left:
                yield Finding("error", "extra", path, f"{kind_of(info.st_mode)} that was not installed")
                continue
            if stat.S_ISDIR(info.st_mode) and ours and info.st_dev == root.dev:
                deeper.append(path)
        stack.extend(reversed(deeper))
