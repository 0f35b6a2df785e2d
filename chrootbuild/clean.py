"""Removes what is ours from a root, and nothing else (law 6)."""

from __future__ import annotations

import sys
from dataclasses import replace

from chrootbuild.artifact import Kind, Plan
from chrootbuild.fresh import REMOVE, compare
from chrootbuild.project import Project
from chrootbuild.record import locked, read_record, write_record
from chrootbuild.report import printable
from chrootbuild.root import read_root
from chrootbuild.spec import Target
from chrootbuild.stage import clear_stage
from chrootbuild.stamp import drop_stamp

__all__ = ["clean"]


def clean(project: Project, target: Target, path: str = "", *, dry: bool = False) -> None:
    """Remove everything of a target that we installed, or one path of it; prints what goes.

    What was changed in the root, or is the daemon's, stays. Raises Failure.
    """
    record = read_record(project, target.name, target.root)
    root = read_root(target.root)
    if record is None or root is None:
        return
    with locked(project, target.name), root:
        # Held against an empty plan everything of ours is an orphan.
        empty = compare(Plan(target.name, target.root, {}, {}), record, root)
        going = {
            item: change
            for item, change in empty.changes.items()
            if change.action == REMOVE and (not path or item == path)
        }
        left = dict(record.artifacts)
        directories = []
        for item in going:
            if record.artifacts[item].kind == Kind.DIRECTORY:
                directories.append(item)
                continue
            sys.stdout.write(f"{target.name}:{printable(item)} - removing\n")
            if not dry:
                root.unlink(item)
                del left[item]
        for item in sorted(directories, reverse=True):
            if not dry and root.rmdir(item):
                sys.stdout.write(f"{target.name}:{printable(item)} - removing\n")
                del left[item]
        if dry:
            return
        clear_stage(root)
        drop_stamp(project, target.name)
        write_record(project, target.name, replace(record, artifacts=left))
