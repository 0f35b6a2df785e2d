"""User and group names of a root to ids, and back."""

from __future__ import annotations

from chrootbuild.accounts.passwd import (
    ID_LIMIT,
    MASTER_FIELDS,
    Group,
    User,
    parse_groups,
    parse_users,
    shown,
)
from chrootbuild.accounts.select import Sources, encoded, extra_groups, extra_users, first_by_name
from chrootbuild.artifact import Origin
from chrootbuild.errors import TargetError
from chrootbuild.target.model import Accounts
from chrootbuild.text import did_you_mean


class UnknownNameError(TargetError):
    """A user or group found neither in the sysroot nor in the target file."""


class Names:
    """Every user and group of the sysroot and of ``extra``, kept in the root or not.

    Extra lines win over the sysroot's. A name of digits alone is an id.
    Damaged lines of the sysroot are ignored. Raises TargetError where an extra
    line is wrong.
    """

    def __init__(self, sources: Sources, spec: Accounts | None = None) -> None:
        if sources.master is not None:
            self._passwd_path = sources.master_path
            parsed = parse_users(sources.master, MASTER_FIELDS)
        else:
            self._passwd_path = sources.passwd_path
            parsed = parse_users(sources.passwd)
        own = () if spec is None else extra_users(spec)
        own_groups = () if spec is None else extra_groups(spec)
        users: list[User] = [*own, *parsed.users]
        groups: list[Group] = [*own_groups, *parse_groups(sources.group).groups]
        self._group_path = sources.group_path
        self._users = first_by_name(users)
        self._groups = first_by_name(groups)
        self._names: dict[int, bytes] = {}
        self._group_names: dict[int, bytes] = {}
        for user in self._users.values():
            if user.uid is not None:
                self._names.setdefault(user.uid, user.name)
        for group in self._groups.values():
            if group.gid is not None:
                self._group_names.setdefault(group.gid, group.name)

    def uid(self, name: str, origin: Origin | None = None) -> int:
        """Return the uid of a user, by name or decimal number; raises UnknownNameError."""
        if _is_number(name):
            return _number(name, "uid", origin)
        uid = self._user(name, origin).uid
        assert uid is not None
        return uid

    def gid(self, name: str, origin: Origin | None = None) -> int:
        """Return the gid of a group, by name or decimal number; raises UnknownNameError."""
        if _is_number(name):
            return _number(name, "gid", origin)
        group = self._groups.get(encoded(name))
        if group is None:
            raise _unknown("group", name, origin, self._groups, self._group_path)
        assert group.gid is not None
        return group.gid

    def group_of(self, user: str, origin: Origin | None = None) -> int:
        """Return the primary gid of a user, by name or uid; raises UnknownNameError."""
        name = user
        if _is_number(user):
            number = _number(user, "uid", origin)
            found = self._names.get(number)
            if found is None:
                raise _unknown("user", user, origin, {}, self._passwd_path)
            name = found.decode("utf-8", "surrogateescape")
        gid = self._user(name, origin).gid
        assert gid is not None
        return gid

    def user_of(self, uid: int) -> str | None:
        """Return the first name with this uid (surrogateescape), or None."""
        name = self._names.get(uid)
        return None if name is None else name.decode("utf-8", "surrogateescape")

    def group_name(self, gid: int) -> str | None:
        """Return the first group name with this gid (surrogateescape), or None."""
        name = self._group_names.get(gid)
        return None if name is None else name.decode("utf-8", "surrogateescape")

    def _user(self, name: str, origin: Origin | None) -> User:
        user = self._users.get(encoded(name))
        if user is None:
            raise _unknown("user", name, origin, self._users, self._passwd_path)
        return user


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _number(text: str, noun: str, origin: Origin | None) -> int:
    value = int(text) if len(text) <= 20 else ID_LIMIT + 1
    if value > ID_LIMIT:
        raise UnknownNameError(f"cannot use {text} as a {noun}: it is larger than {ID_LIMIT}{_at(origin)}")
    return value


def _unknown(
    noun: str, name: str, origin: Origin | None, known: dict[bytes, User] | dict[bytes, Group], path: str
) -> UnknownNameError:
    extra = "extra" if noun == "user" else "extra_groups"
    hint = (
        did_you_mean(name, map(shown, known), 3)
        or f"a {noun} that exists only in the root goes into accounts.{extra}"
    )
    return UnknownNameError(f"cannot find the {noun} {name} in {path}{_at(origin)}", hint=hint)


def _at(origin: Origin | None) -> str:
    return "" if origin is None else f" ({origin})"
