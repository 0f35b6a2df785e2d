"""The folders of a project: where its roots, its state and its locks are.

The null build imports this: os and nothing else.
"""

from __future__ import annotations

import os

SYSTEM = "/etc/chrootbuild"  # the project of a machine that has no other
MANUAL = ".manual"  # NAME.manual.stamp: the target is built only when named


def places(directory: str, out: str) -> tuple[str, str, str]:
    """Return a project's OUT, its state folder, and the folder of its locks, all real paths.

    Each OUT has a state of its own, for its own roots; locks are per target, whatever OUT.
    """
    base = "/var/lib/chrootbuild" if directory == SYSTEM else directory + "/.chrootbuild"
    default = "/srv/chroot" if directory == SYSTEM else directory + "/build"
    where = os.path.normpath(os.path.join(directory, out or default))
    if where == default:
        return where, base, base
    name = "".join(char if char.isalnum() else f"%{ord(char):02X}" for char in where)
    return where, f"{base}/out-{name[-200:]}", base
