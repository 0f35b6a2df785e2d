"""Nothing of a root is run on a system that its programs are not made for."""

from __future__ import annotations

import sys

from chrootbuild.errors import Failure
from chrootbuild.host import Host
from chrootbuild.plan import system_of
from chrootbuild.spec import Target

__all__ = ["refuse_foreign"]

_NAMES = {"linux": "Linux", "freebsd": "FreeBSD"}


def refuse_foreign(target: Target, verb: str, host: Host | None = None) -> None:
    """Raise Failure where a target's programs are another system's; ``verb`` says what was to be done.

    The kernel alone would not stop it: Linux starts a FreeBSD program, which then makes system calls of other numbers.
    """
    here = "freebsd" if sys.platform.startswith("freebsd") else "linux"
    system = system_of(target, Host(target.sysroot) if host is None else host)
    if system != here:
        raise Failure(
            f"cannot {verb} {target.name}: its programs are {_NAMES[system]}'s",
            hint=f"take the root to a {_NAMES[system]} machine and do it there",
        )
