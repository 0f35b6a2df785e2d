"""Removes our installed paths from a root, and nothing else (law 6)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace

from chrootbuild.artifact import Kind
from chrootbuild.compare.change import REMOVE
from chrootbuild.compare.staleness import orphan, same_root
from chrootbuild.errors import Failure
from chrootbuild.publish.publish import recover
from chrootbuild.root.obstacles import refuse_obstacles
from chrootbuild.root.stage import clear_stage
from chrootbuild.root.tree import Root, read_root
from chrootbuild.state.lock import locked
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, read_record, write_record
from chrootbuild.state.stamp import drop_stamp
from chrootbuild.system.rights.user import privileged
from chrootbuild.target.model import Target
from chrootbuild.text import printable


def clean(project: Project, target: Target, path: str = "", *, dry: bool = False) -> None:
    """Remove the installed paths of a target, or one of them; prints each.

    Changed and daemon-owned paths stay. An interrupted publish is
    completed first: the record is true only after it. Raises Failure and TryAgain.
    """
    if not os.path.isdir(project.state):
        return  # nothing was ever built here
    with locked(project, target.name):
        root = read_root(target.root)
        if root is None:
            return
        with root:
            if not dry:
                recover(project, target.name, root)
                clear_stage(root)
                drop_stamp(project, target.name)
            record = read_record(project, target.name, target.root)
            if record is None:
                return
            if not same_root(record, root):
                raise Failure(
                    f"cannot clean {target.name}: {root.path} is another directory than was built",
                    hint=f"look at it and remove it by hand, or build it: chrootbuild build {target.name}",
                )
            with _opened(root, record) if not dry else contextlib.nullcontext():
                left = _remove(root, target.name, record, path, dry=dry)
            if not dry:
                write_record(project, target.name, replace(record, artifacts=left))


@contextlib.contextmanager
def _opened(root: Root, record: Record) -> Iterator[None]:
    """Without root, add u+w to our directories that lack it, and restore the mode of those that stay."""
    closed = {}
    if not privileged():
        for path, entry in record.artifacts.items():
            if (
                entry.kind == Kind.DIRECTORY
                and entry.mode & 0o300 != 0o300
                and root.directory(path) is not None
            ):
                closed[path] = entry.mode
                root.set_directory(path, entry.mode | 0o700, None)
    yield
    for path, mode in closed.items():
        if root.directory(path) is not None:
            root.set_directory(path, mode, None)


def _remove(root: Root, name: str, record: Record, path: str, *, dry: bool) -> dict[str, Installed]:
    """Remove the paths still as installed, deepest first; return the entries that stay."""
    left = dict(record.artifacts)
    chosen = [item for item in record.artifacts if not path or item == path]
    if not dry:
        refuse_obstacles(root, chosen)
    for item in sorted(chosen, reverse=True):
        entry = record.artifacts[item]
        if orphan(item, entry, root).action != REMOVE:
            continue
        if not dry and entry.kind == Kind.DIRECTORY and not root.rmdir(item):
            continue
        sys.stdout.write(f"{name}:{printable(item)} - removing\n")
        if not dry:
            if entry.kind != Kind.DIRECTORY:
                root.unlink(item)
            del left[item]
    return left
