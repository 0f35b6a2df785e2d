"""Access control lists and file capabilities of a path, links not followed: acl(5), capabilities(7)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

# The value of system.posix_acl_access: u32 version 2, then entries; linux/posix_acl_xattr.h.
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_USER, _GROUP_OBJ, _GROUP = 0x02, 0x04, 0x08
_NAME = "system.posix_acl_access"


@dataclass(frozen=True, slots=True)
class Acl:
    """The users and groups that an ACL names; ``group`` is the owning group's, None without an ACL."""

    users: tuple[tuple[int, int], ...] = ()  # (uid, permissions)
    groups: tuple[tuple[int, int], ...] = ()  # (gid, permissions)
    group: int | None = None


NO_ACL = Acl()


def parse(value: bytes) -> Acl:
    """Parse a value of system.posix_acl_access; truncated entries are ignored."""
    users, groups, group = [], [], 0
    for tag, permissions, number in _ENTRY.iter_unpack(
        value[4 : 4 + max(0, len(value) - 4) // _ENTRY.size * _ENTRY.size]
    ):
        if tag == _USER:
            users.append((number, permissions))
        elif tag == _GROUP:
            groups.append((number, permissions))
        elif tag == _GROUP_OBJ:
            group = permissions
    return Acl(tuple(users), tuple(groups), group)


def mask_of(acl: Acl, mode: int) -> int:
    """Return the mask on the permissions of groups and named users: of an ACL the mode's group bits."""
    return 7 if acl.group is None else mode >> 3 & 7


def acl_of(path: str) -> Acl:
    """Return the ACL of a path, itself not followed; NO_ACL where it has none, or its filesystem knows none."""
    if not hasattr(os, "getxattr"):
        return NO_ACL
    try:
        return parse(os.getxattr(path, _NAME, follow_symlinks=False))
    except OSError:
        return NO_ACL


def attributes(directory: int, name: str) -> tuple[Acl, bool]:
    """Return the ACL of a name in an open directory, and whether it has capabilities."""
    if not hasattr(os, "listxattr"):
        return NO_ACL, False
    # Relative to the descriptor, for the directory's path may have changed; the name is not followed.
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        found = os.listxattr(path, follow_symlinks=False)
        if not found:
            return NO_ACL, False
    except OSError:
        return NO_ACL, False
    return acl_of(path) if _NAME in found else NO_ACL, "security.capability" in found
