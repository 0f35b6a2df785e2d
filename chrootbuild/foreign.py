"""Refuses to run a root's programs on a system they are not made for."""

from __future__ import annotations

import sys

from chrootbuild.errors import Failure
from chrootbuild.host import Host
from chrootbuild.plan import system_of
from chrootbuild.spec import Target

__all__ = ["refuse_foreign"]

_NAMES = {"linux": "Linux", "freebsd": "FreeBSD"}


def refuse_foreign(target: Target, verb: str, host: Host | None = None) -> None:
    """Raise Failure "cannot ``verb``" where a target's programs are another system's.

    The kernel would not stop it: Linux starts a FreeBSD program, whose system calls have other numbers.
    """
    here = "freebsd" if sys.platform.startswith("freebsd") else "linux"
    system = system_of(target, Host(target.sysroot) if host is None else host)
    if system != here:
        raise Failure(
            f"cannot {verb} {target.name}: its programs are {_NAMES[system]}'s",
            hint=f"take the root to a {_NAMES[system]} machine and do it there",
        )
