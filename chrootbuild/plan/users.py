"""Refuses to run a root's programs on a system they are not made for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from chrootbuild.accounts.names import Names
from chrootbuild.errors import Failure, TargetError
from chrootbuild.plan.make import account_sources, system_of
from chrootbuild.plan.programs import find_program
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.rights.user import ROOT, User
from chrootbuild.target.model import Target

_NAMES = {"linux": "Linux", "freebsd": "FreeBSD"}


def refuse_foreign(target: Target, verb: str, sysroot: Sysroot | None = None) -> None:
    """Raise Failure "cannot ``verb``" where a target's programs are another system's.

    The kernel would not stop it: Linux starts a FreeBSD program, whose system calls have other numbers.
    """
    here = "freebsd" if sys.platform.startswith("freebsd") else "linux"
    system = system_of(target, Sysroot(target.sysroot) if sysroot is None else sysroot)
    if system != here:
        raise Failure(
            f"cannot {verb} {target.name}: its programs are {_NAMES[system]}'s",
            hint=f"take the root to a {_NAMES[system]} machine and do it there",
        )


@dataclass(frozen=True, slots=True)
class Known:
    """Facts of the sysroot about a target, for the host's side."""

    system: str  # "linux" or "freebsd"
    user: User = ROOT  # of [check.service], as `check` starts it
    name: str = "root"  # the user's name in the root's accounts, else the number


def look(target: Target, sysroot: Sysroot) -> Known:
    """Read a target's system and its service's user; raises TargetError for an unknown name."""
    service = target.check.service
    system = system_of(target, sysroot)
    if service is None:
        return Known(system)
    try:
        user = users_of(target, sysroot)(service.user)
    except TargetError as error:
        raise TargetError(f"{error.message} ({service.origin}.user)", hint=error.hint) from None
    names = Names(account_sources(target, sysroot), target.accounts)
    return Known(system, user, names.user_of(user.uid) or str(user.uid))


def program(target: Target, sysroot: Sysroot, name: str) -> str:
    """Return the path of a program in the root: as given, or found in the sysroot by its bare name."""
    if name.startswith("/"):
        return name
    found = find_program(sysroot, name)
    if found is None:
        raise TargetError(
            f"cannot find {name} in the sysroot {sysroot.sysroot} ({target.origin.file})",
            hint="write its whole path",
        )
    return found


# A name of [check.service] user, "nobody" or "nobody:nogroup", as the numbers it means in the root.
Users = Callable[[str], User]


def users_of(target: Target, sysroot: Sysroot) -> Users:
    """Return what turns "nobody" or "nobody:nogroup" into numbers: the sysroot's, the target's own lines first."""
    names = Names(account_sources(target, sysroot), target.accounts)

    def users(text: str) -> User:
        name, _, group = text.partition(":")
        if not group and name in ("root", "0"):
            return ROOT
        gid = names.gid(group) if group else names.group_of(name)
        return User(names.uid(name), gid, (gid,))

    return users
