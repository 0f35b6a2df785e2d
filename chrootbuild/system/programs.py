"""Where programs of the host are taken from: with root's rights from fixed places, else from the PATH."""

from __future__ import annotations

import os
import shutil
import sys

from chrootbuild.system.rights.user import privileged

_PLACES = ("/usr/bin", "/bin")


def find_program(name: str) -> str | None:
    """Return the real path of a program of the host; None where it is not installed.

    The PATH of a caller may name a folder that somebody else can write. So root's comes from /usr/bin, from
    /bin, and from the folder of the running Python, whose code has these rights already; no sudoers and
    no crontab has to be right for it. Others get it from their PATH.
    """
    if not privileged():
        return shutil.which(name)
    beside = os.path.dirname(sys.executable)
    return shutil.which(name, path=os.pathsep.join((*_PLACES, *([beside] if beside else []))))


def find_shell() -> str:
    """Return the real path of bash(1), else of sh(1), for the command lines of a target file."""
    return find_program("bash") or "/bin/sh"
