"""The numbers of the users that a target names, from the accounts of its sysroot and its own."""

from __future__ import annotations

from collections.abc import Callable

from chrootbuild import accounts
from chrootbuild.host import Host
from chrootbuild.plan import account_sources
from chrootbuild.spec import Target
from chrootbuild.user import ROOT, User

__all__ = ["Users", "users_of"]

# A name of [check.service] user, "nobody" or "nobody:nogroup", as the numbers it means in the root.
Users = Callable[[str], User]


def users_of(target: Target, host: Host) -> Users:
    """Return what turns "nobody" or "nobody:nogroup" into numbers: the sysroot's, the target's own lines first."""
    names = accounts.Names(account_sources(target, host), target.accounts)

    def users(text: str) -> User:
        name, _, group = text.partition(":")
        if not group and name in ("root", "0"):
            return ROOT
        gid = names.gid(group) if group else names.group_of(name)
        return User(names.uid(name), gid, (gid,))

    return users
