"""Users that the daemon is or may become, and the ids that have an account."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from chrootbuild.accounts.names import Names
from chrootbuild.accounts.passwd import MASTER_FIELDS, Group, User, parse_groups, parse_users
from chrootbuild.accounts.select import extra_users
from chrootbuild.audit.facts import Person, Process
from chrootbuild.errors import Failure
from chrootbuild.plan.make import account_sources
from chrootbuild.plan.users import users_of
from chrootbuild.root.tree import Root
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target

_LIMIT = 64 << 20  # bytes


class Accounts:
    """The accounts of the root, and as a fallback those of the sysroot."""

    def __init__(self, users: Iterable[User], groups: Iterable[Group], names: Names | None) -> None:
        self.users = tuple(users)
        self.groups = tuple(groups)
        self.names = names

    def has_user(self, uid: int) -> bool:
        """Return whether a uid has an account."""
        return any(user.uid == uid for user in self.users) or (
            self.names is not None and self.names.user_of(uid) is not None
        )

    def has_group(self, gid: int) -> bool:
        """Return whether a gid has a group."""
        return any(group.gid == gid for group in self.groups) or (
            self.names is not None and self.names.group_name(gid) is not None
        )

    def person(self, uid: int, gids: Iterable[int], name: str = "") -> Person:
        """Return a user with its supplementary groups in the root's files: initgroups(3)."""
        if not name and self.names is not None:
            name = self.names.user_of(uid) or ""
        member = name.encode("utf-8", "surrogateescape")
        more = (group.gid for group in self.groups if group.gid is not None and member in group.members)
        return Person(uid, frozenset((*gids, *more)), name)


def read_accounts(target: Target, root: Root, sysroot: Sysroot) -> Accounts:
    """Read the account files of the root, and of the sysroot if there is one."""
    users = (
        *parse_users(_read(root, "/etc/passwd")).users,
        *parse_users(_read(root, "/etc/master.passwd"), MASTER_FIELDS).users,
    )
    try:
        names = Names(account_sources(target, sysroot), target.accounts)
    except Failure:
        names = None
    return Accounts(users, parse_groups(_read(root, "/etc/group")).groups, names)


def people_of(
    target: Target, sysroot: Sysroot, accounts: Accounts, processes: Iterable[Process]
) -> Iterator[Person]:
    """Yield the users of the service, of ``[accounts]`` and of the processes; never root.

    Raises Failure for an unknown user.
    """
    service = target.check.service
    if service is not None:
        user = users_of(target, sysroot)(service.user)
        if user.uid:
            yield accounts.person(user.uid, (user.gid,))
    spec = target.accounts
    if spec is not None and accounts.names is not None:
        extra = [entry.name.decode("utf-8", "surrogateescape") for entry in extra_users(spec)]
        for name in dict.fromkeys((*(item.value for item in spec.users), *extra)):
            uid = accounts.names.uid(name)
            if uid:
                yield accounts.person(uid, (accounts.names.group_of(name),), name)
    for process in processes:
        if process.uid:
            yield accounts.person(process.uid, process.gids)


def _read(root: Root, path: str) -> bytes:
    try:
        fd = root.open(path)
    except Failure:
        return b""
    if fd is None:
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read(min(_LIMIT, os.fstat(fd).st_size + 1))
