"""Selection of a sysroot's users and groups for a root, and its extra lines.

``min_uid`` keeps ordinary users. Groups follow the users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chrootbuild.accounts.passwd import (
    MASTER_FIELDS,
    PASSWD_FIELDS,
    Group,
    Parsed,
    ParsedGroups,
    Problem,
    User,
    parse_group_line,
    parse_user_line,
    shown,
)
from chrootbuild.errors import TargetError
from chrootbuild.target.model import Accounts, Item
from chrootbuild.text import did_you_mean

NOBODY = 65534  # kept by name only: not an ordinary user, however large its uid

_Entry = TypeVar("_Entry", User, Group)


def encoded(value: str) -> bytes:
    """Return a target file's string as the bytes of an account file."""
    return value.encode("utf-8", "surrogateescape")


def first_by_name(entries: Iterable[_Entry]) -> dict[bytes, _Entry]:
    """Return the entries by name, without NIS lines; the first line wins, as in libc."""
    found: dict[bytes, _Entry] = {}
    for entry in entries:
        if not entry.nis:
            found.setdefault(entry.name, entry)
    return found


# -- extra lines -------------------------------------------------------------------------------


def extra_users(spec: Accounts) -> tuple[User, ...]:
    """Return the users of ``extra``; raises TargetError for an invalid line.

    Seven fields; also ten (master.passwd) unless the format is linux. Equal lines
    count once.
    """

    def parse(line: bytes) -> User | Problem:
        ten = spec.format != "linux" and line.count(b":") == MASTER_FIELDS - 1
        return parse_user_line(line, MASTER_FIELDS if ten else PASSWD_FIELDS)

    return _extra(spec.extra, parse, "user", "name:x:uid:gid:gecos:home:shell")


def extra_groups(spec: Accounts) -> tuple[Group, ...]:
    """Return the groups of ``extra_groups``; raises TargetError for an invalid line."""
    return _extra(spec.extra_groups, parse_group_line, "group", "name:x:gid:member,member")


def _extra(
    items: Sequence[Item], parse: Callable[[bytes], _Entry | Problem], noun: str, form: str
) -> tuple[_Entry, ...]:
    found: dict[bytes, tuple[_Entry, Item]] = {}
    for item in items:
        line = encoded(item.value)
        entry = parse(line)
        what = entry.what if isinstance(entry, Problem) else _unfit(line, entry.name)
        if what or isinstance(entry, Problem):
            whose = f" of {shown(entry.name)}" if entry.name else ""
            raise TargetError(
                f"cannot take the {noun} line{whose}: {what} ({item.origin})", hint=f"the form is {form}"
            )
        before = found.get(entry.name)
        if before is None:
            found[entry.name] = (entry, item)
        elif before[1].value != item.value:
            raise TargetError(
                f"cannot take the {noun} {shown(entry.name)} twice: the lines differ "
                f"({before[1].origin}; {item.origin})",
                hint="keep one of them",
            )
    return tuple(entry for entry, _ in found.values())


def _unfit(line: bytes, name: bytes) -> str:
    """Return the fault of an extra line that is tolerated in a sysroot's file; "" for none."""
    if any(byte < 0x20 or byte == 0x7F for byte in line):
        return "it has a control character"
    if name[:1] in (b"+", b"-", b"#") or any(byte in b" /,\\" for byte in name):
        return "its name starts with + - #, or has a blank, slash, comma or backslash"
    return ""


# -- selection ---------------------------------------------------------------------------------


def select_users(
    spec: Accounts, parsed: Parsed, extra: tuple[User, ...], path: str, *, keep_nis: bool = False
) -> tuple[User, ...]:
    """Return the kept users: the sysroot's in their order, then ``extra``.

    ``min_uid`` N keeps uids from N, but nobody by name only; 0 keeps every
    line, with ``keep_nis`` NIS lines too; None keeps only ``users``. An extra
    line replaces the sysroot's of the same name. Raises TargetError for an
    unknown name in ``users``.
    """
    known = first_by_name(parsed.users)
    own = {user.name for user in extra}
    named = _named("user", spec.users, [*known, *own], parsed.problems, path)
    kept = []
    for user in parsed.users:
        if user.nis:
            if keep_nis and spec.min_uid == 0:
                kept.append(user)
        elif user.name not in own and _wanted(spec.min_uid, named, user, known):
            kept.append(user)
    return (*kept, *extra)


def _wanted(min_uid: int | None, named: set[bytes], user: User, known: dict[bytes, User]) -> bool:
    if min_uid == 0:
        return True
    if known[user.name] is not user:
        return False  # libc never finds it by name, and its uid is not the account's own
    if user.name in named:
        return True
    return min_uid is not None and user.uid is not None and user.uid >= min_uid and user.uid != NOBODY


def select_groups(
    spec: Accounts,
    parsed: ParsedGroups,
    extra: tuple[Group, ...],
    users: tuple[User, ...],
    path: str,
    *,
    keep_nis: bool = False,
) -> tuple[Group, ...]:
    """Return the kept groups, members cut to the kept users, then ``extra`` as written.

    Kept are the users' primary groups, the groups that list one of them, and
    ``groups``; with ``min_uid`` 0 every line. Raises TargetError for an unknown
    name in ``groups``.
    """
    known = first_by_name(parsed.groups)
    own = {group.name for group in extra}
    named = _named("group", spec.groups, [*known, *own], parsed.problems, path)
    names = {user.name for user in users if not user.nis}
    primary = {user.gid for user in users if not user.nis} - {group.gid for group in extra}
    kept = []
    for group in parsed.groups:
        if group.nis:
            if keep_nis and spec.min_uid == 0:
                kept.append(group)
            continue
        if group.name in own:
            continue
        members = tuple(member for member in group.members if member in names)
        first = known[group.name] is group
        if spec.min_uid == 0 or (first and (members or group.name in named or group.gid in primary)):
            primary.discard(group.gid)
            kept.append(Group(group.name, group.gid, members, group.number))
    return (*kept, *extra)


def _named(
    noun: str, items: Sequence[Item], known: Sequence[bytes], problems: tuple[Problem, ...], path: str
) -> set[bytes]:
    """Return the names that a target keeps; raises TargetError for one that is not ``known``."""
    there = set(known)
    for item in items:
        if encoded(item.value) not in there:
            raise _not_found(noun, item, known, problems, path)
    return {encoded(item.value) for item in items}


def _not_found(
    noun: str, item: Item, known: Sequence[bytes], problems: tuple[Problem, ...], path: str
) -> TargetError:
    for problem in problems:
        if problem.name == encoded(item.value):
            return TargetError(
                f"cannot use the {noun} {item.value}: line {problem.number} of {path} is wrong, "
                f"{problem.what} ({item.origin})",
                hint=f"correct the line, or write the {noun} as a whole line in "
                f"{'extra' if noun == 'user' else 'extra_groups'}",
            )
    extra = "extra" if noun == "user" else "extra_groups"
    hint = (
        did_you_mean(item.value, map(shown, known), 3)
        or f"a {noun} that exists only in the root goes into {extra}"
    )
    return TargetError(f"cannot find the {noun} {item.value} in {path} ({item.origin})", hint=hint)


@dataclass(frozen=True, slots=True)
class Sources:
    """A sysroot's account files as bytes; None where absent or unreadable.

    The paths are for messages only.
    """

    passwd: bytes
    group: bytes
    master: bytes | None = None
    shadow: bytes | None = None
    passwd_path: str = "/etc/passwd"  # noqa: S105 -- a path
    group_path: str = "/etc/group"
    master_path: str = "/etc/master.passwd"
    shadow_path: str = "/etc/shadow"


@dataclass(frozen=True, slots=True)
class Rendered:
    """The account files of a root.

    ``master`` is FreeBSD's. ``shadow`` is Linux's, None unless ``passwords`` names
    a kept user. ``warnings`` give file, line and name of skipped sysroot lines,
    never more of their content.
    """

    passwd: bytes
    group: bytes
    master: bytes | None = None
    shadow: bytes | None = None
    warnings: tuple[str, ...] = ()
