"""Renders the account files of a root from ``[accounts]`` and the sysroot's files."""

from __future__ import annotations

from chrootbuild.accounts.freebsd import host_users, master_file, passwd_file
from chrootbuild.accounts.passwd import Group, User, parse_groups, parse_users
from chrootbuild.accounts.passwords import password_names, shadow_file
from chrootbuild.accounts.select import (
    Rendered,
    Sources,
    extra_groups,
    extra_users,
    first_by_name,
    select_groups,
    select_users,
)
from chrootbuild.target.model import Accounts


def render(spec: Accounts, sources: Sources) -> Rendered:
    """Return the account files that ``spec`` asks for.

    Raises TargetError, with the place in the target file, for an unknown user or
    group, a wrong extra line, two differing extra lines of one name, a password
    wanted from an unreadable shadow; for FreeBSD also for a root whose uid is not
    0, a line of 2047 bytes or more, and a kept line that stops pwd_mkdb(8).
    """
    return _freebsd(spec, sources) if spec.format == "freebsd" else _linux(spec, sources)


def _linux(spec: Accounts, sources: Sources) -> Rendered:
    parsed = parse_users(sources.passwd)
    parsed_groups = parse_groups(sources.group)
    users = select_users(spec, parsed, extra_users(spec), sources.passwd_path)
    groups = select_groups(spec, parsed_groups, extra_groups(spec), users, sources.group_path)
    wanted = password_names(spec, first_by_name(parsed.users), users)
    shadow, warnings = shadow_file(users, wanted, sources.shadow, sources.shadow_path)
    return Rendered(
        passwd=_passwd_file(users),
        group=_group_file(groups),
        shadow=shadow,
        warnings=(
            *(problem.text(sources.passwd_path) for problem in parsed.problems),
            *(problem.text(sources.group_path) for problem in parsed_groups.problems),
            *warnings,
        ),
    )


def _freebsd(spec: Accounts, sources: Sources) -> Rendered:
    parsed, path = host_users(sources)
    parsed_groups = parse_groups(sources.group)
    users = select_users(spec, parsed, extra_users(spec), path, keep_nis=True)
    groups = select_groups(spec, parsed_groups, extra_groups(spec), users, sources.group_path, keep_nis=True)
    wanted = password_names(spec, first_by_name(parsed.users), users)
    master = master_file(spec, users, wanted, parsed.problems, sources)
    return Rendered(
        passwd=passwd_file(master),
        group=_group_file(groups, b"*"),
        master=master,
        warnings=tuple(problem.text(sources.group_path) for problem in parsed_groups.problems),
    )


def _passwd_file(users: tuple[User, ...]) -> bytes:
    """Return passwd(5), root first; every password field is ``x``."""
    ordered = sorted(users, key=lambda user: user.name != b"root")
    rows = [b":".join((user.fields[0], b"x", *user.fields[2:])) for user in ordered]
    return b"".join(row + b"\n" for row in rows)


def _group_file(groups: tuple[Group, ...], password: bytes = b"x") -> bytes:
    """Return group(5), group passwords replaced by ``password``."""
    rows = []
    for group in groups:
        gid = b"" if group.gid is None else b"%d" % group.gid
        rows.append(b":".join((group.name, password, gid, b",".join(group.members))) + b"\n")
    return b"".join(rows)
