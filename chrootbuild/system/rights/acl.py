"""Access control lists and file capabilities of a path, links not followed: acl(5), capabilities(7)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# The value of system.posix_acl_access: u32 version 2, then entries; linux/posix_acl_xattr.h.
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_USER, _GROUP_OBJ, _GROUP = 0x02, 0x04, 0x08
_MASK, _OTHER = 0x10, 0x20
_NAME = "system.posix_acl_access"
_DEFAULT = "system.posix_acl_default"


@dataclass(frozen=True, slots=True)
class Acl:
    """The users and groups that an ACL names; ``group`` is the owning group's, None without an ACL."""

    users: tuple[tuple[int, int], ...] = ()  # (uid, permissions)
    groups: tuple[tuple[int, int], ...] = ()  # (gid, permissions)
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Default:
    """What a directory's default ACL gives to what will be made in it; the mask is applied."""

    users: tuple[tuple[int, int], ...] = ()  # (uid, permissions)
    groups: tuple[tuple[int, int], ...] = ()  # (gid, permissions)
    group: int = 0  # of the owning group
    others: int = 0


@dataclass(frozen=True, slots=True)
class Attributes:
    """The extended attributes of a path that decide over it; ``more`` are the names of trusted and overlay ones."""

    acl: Acl
    capability: bool = False
    default: Default | None = None
    more: tuple[str, ...] = ()


NO_ACL = Acl()
NO_ATTRIBUTES = Attributes(NO_ACL)


def _entries(value: bytes) -> Iterator[tuple[int, int, int]]:
    return _ENTRY.iter_unpack(value[4 : 4 + max(0, len(value) - 4) // _ENTRY.size * _ENTRY.size])


def parse_default(value: bytes) -> Default:
    """Parse a value of system.posix_acl_default; truncated entries are ignored."""
    entries = list(_entries(value))
    mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), 7)

    def named(wanted: int) -> tuple[tuple[int, int], ...]:
        return tuple((number, bits & mask) for tag, bits, number in entries if tag == wanted)

    group = next((permissions & mask for tag, permissions, _ in entries if tag == _GROUP_OBJ), 0)
    others = next((permissions for tag, permissions, _ in entries if tag == _OTHER), 0)
    return Default(named(_USER), named(_GROUP), group, others)


def parse(value: bytes) -> Acl:
    """Parse a value of system.posix_acl_access; truncated entries are ignored."""
    users, groups, group = [], [], 0
    for tag, permissions, number in _entries(value):
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


def attributes(directory: int, name: str) -> Attributes:
    """Return what the extended attributes of a name in an open directory say; the name is not followed."""
    if not hasattr(os, "listxattr"):
        return NO_ATTRIBUTES
    # Relative to the descriptor, for the directory's path may have changed; the name is not followed.
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        found = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return NO_ATTRIBUTES
    if not found:
        return NO_ATTRIBUTES
    default = _default_of(path) if _DEFAULT in found else None
    # What overlayfs reads is trusted.overlay.*, or user.overlay.* where it was mounted without root.
    more = tuple(sorted(name for name in found if name.startswith(("trusted.", "user.overlay."))))
    return Attributes(
        acl_of(path) if _NAME in found else NO_ACL, "security.capability" in found, default, more
    )


def _default_of(path: str) -> Default | None:
    try:
        return parse_default(os.getxattr(path, _DEFAULT, follow_symlinks=False))
    except OSError:
        return None
