"""A state folder is claimed before it is believed: nobody else can write it, and nobody else filled it."""

from __future__ import annotations

import fcntl
import os
import stat

from chrootbuild.console import warn
from chrootbuild.errors import Failure
from chrootbuild.system.rights.provenance import believed, make_folder, mark
from chrootbuild.system.rights.trust import refuse_untrusted


def claim(folder: str) -> None:
    """Make a state folder, or make one that is there ours.

    Run as root, one that others can write is refused, and what root did not put into its own is
    removed: it is of an owner that the project had before. Raises Failure and OSError.
    """
    remedy = f"remove it, and build again: rm -r {folder}"
    refuse_untrusted([folder], what="the state folder", remedy=remedy)
    make_folder(folder)
    if believed(folder):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            # Sticky: what is there cannot be renamed by others, but they were free to put it there.
            raise Failure(f"cannot trust {folder}: it can be written by others", hint=remedy)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not believed(folder):
            _empty(fd, folder)
            mark(folder)
    finally:
        os.close(fd)


def _empty(fd: int, folder: str) -> None:
    with os.scandir(fd) as entries:
        names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    for name in names:
        os.unlink(name, dir_fd=fd)
    if any(not name.endswith(".lock") for name in names):
        warn(f"{folder} was not made by root: what was in it is not believed, and is made anew")
