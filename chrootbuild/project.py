"""Where a project is: its targets, its state, and where its roots go by default."""

from __future__ import annotations

import os
from dataclasses import dataclass

from chrootbuild.errors import UsageError

__all__ = ["SYSTEM", "Project", "find_project"]

SYSTEM = "/etc/chrootbuild"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with ``targets/``; all paths are real and absolute."""

    directory: str
    state: str  # record, lock, memo
    out: str  # roots without a ``root`` key are OUT/NAME
    out_given: str = ""  # as the command line or the environment says; empty: the default

    @property
    def targets(self) -> str:
        """The folder of the target files."""
        return self.directory + "/targets"


def find_project(directory: str | None = None, out: str | None = None) -> Project:
    """Return the project in ``directory``, else in the current folder, else the system's own.

    ``out`` is what the command line says (``out=DIR``); then CHROOTBUILD_OUT
    counts, then "build" (for /etc/chrootbuild: /srv/chroot). Raises UsageError.
    """
    if directory is None:
        directory = "." if os.path.isdir("targets") else SYSTEM
    where = os.path.realpath(directory)
    if not os.path.isdir(where + "/targets"):
        raise UsageError(
            f"cannot find a project in {where}: it has no folder targets/",
            hint="cd to the project, name it with -C DIR, or write a first target: chrootbuild new NAME PROGRAM",
        )
    system = where == SYSTEM
    state = "/var/lib/chrootbuild" if system else where + "/.chrootbuild"
    given = out or os.environ.get("CHROOTBUILD_OUT") or ""
    chosen = given or ("/srv/chroot" if system else "build")
    return Project(where, state, os.path.normpath(os.path.join(where, chosen)), given)
