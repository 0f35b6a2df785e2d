"""A project's directories: its targets, its state, and the default place of its roots."""

from __future__ import annotations

import os
from dataclasses import dataclass

from chrootbuild.errors import UsageError
from chrootbuild.state.places import SYSTEM, places


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with ``targets/``; all paths are real and absolute."""

    directory: str
    state: str  # record, plan, memo of the roots in this OUT
    out: str  # roots without a ``root`` key are OUT/NAME
    locks: str = ""  # folder of the locks, common to all OUTs; empty: with the state

    @property
    def targets(self) -> str:
        """The folder of the target files."""
        return self.directory + "/targets"


def find_project(directory: str | None = None, out: str | None = None) -> Project:
    """Return the project in ``directory``, else in the current folder, else the system's own.

    OUT is ``out`` (the command line's ``out=DIR``), else CHROOTBUILD_OUT, else
    "build" (for /etc/chrootbuild: /srv/chroot). Raises UsageError.
    """
    if directory is None:
        directory = "." if os.path.isdir("targets") else SYSTEM
    where = os.path.realpath(directory)
    if not os.path.isdir(where + "/targets"):
        raise UsageError(
            f"cannot find a project in {where}: it has no folder targets/",
            hint="cd to the project, name it with -C DIR, or begin one: mkdir targets; chrootbuild new NAME PROGRAM",
        )
    chosen, state, locks = places(where, out or os.environ.get("CHROOTBUILD_OUT") or "")
    return Project(where, state, chosen, locks)
