"""The user of a target's service, in numbers, and the system of its root."""

from __future__ import annotations

from dataclasses import dataclass

from chrootbuild.accounts import Names
from chrootbuild.errors import TargetError
from chrootbuild.gather import find_program
from chrootbuild.host import Host
from chrootbuild.plan import account_sources, system_of
from chrootbuild.planusers import users_of
from chrootbuild.spec import Target
from chrootbuild.user import ROOT, User

__all__ = ["Known", "look", "program"]


@dataclass(frozen=True, slots=True)
class Known:
    """Facts of the sysroot about a target, for the host's side."""

    system: str  # "linux" or "freebsd"
    user: User = ROOT  # of [check.service], as `check` starts it
    name: str = "root"  # the user's name in the root's accounts, else the number


def look(target: Target, host: Host) -> Known:
    """Read a target's system and its service's user; raises TargetError for an unknown name."""
    service = target.check.service
    system = system_of(target, host)
    if service is None:
        return Known(system)
    try:
        user = users_of(target, host)(service.user)
    except TargetError as error:
        raise TargetError(f"{error.message} ({service.origin}.user)", hint=error.hint) from None
    names = Names(account_sources(target, host), target.accounts)
    return Known(system, user, names.user_of(user.uid) or str(user.uid))


def program(target: Target, host: Host, name: str) -> str:
    """Return the path of a program in the root: as given, or found in the sysroot by its bare name."""
    if name.startswith("/"):
        return name
    found = find_program(host, name)
    if found is None:
        raise TargetError(
            f"cannot find {name} in the sysroot {host.sysroot} ({target.origin.file})",
            hint="write its whole path",
        )
    return found
