"""passwd(5), group(5) and shadow(5) of a Linux root."""

from __future__ import annotations

from chrootbuild.accounts.passwd import Group, User


def passwd_file(users: tuple[User, ...]) -> bytes:
    """Return passwd(5), root first; every password field is ``x``."""
    ordered = sorted(users, key=lambda user: user.name != b"root")
    rows = [b":".join((user.fields[0], b"x", *user.fields[2:])) for user in ordered]
    return b"".join(row + b"\n" for row in rows)


def group_file(groups: tuple[Group, ...], password: bytes = b"x") -> bytes:
    """Return group(5), group passwords replaced by ``password``."""
    rows = []
    for group in groups:
        gid = b"" if group.gid is None else b"%d" % group.gid
        rows.append(b":".join((group.name, password, gid, b",".join(group.members))) + b"\n")
    return b"".join(rows)
