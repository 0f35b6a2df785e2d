"""Trust in a file that root is about to read: nobody else may write it (law 8), as sudo and cron judge it."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chrootbuild.errors import Failure

__all__ = ["refuse_untrusted"]

_MAX_LINKS = 40  # as the kernel: path_resolution(7)
_OVERFLOW = 65534  # the overflow uid, of users not mapped in this user namespace: user_namespaces(7)
# The value of system.posix_acl_access: u32 version 2, then entries; linux/posix_acl_xattr.h.
_ACL_ENTRY = struct.Struct("<HHI")  # tag, permissions, id
_ACL_USER, _ACL_GROUP, _ACL_WRITE = 0x02, 0x08, 0x02


def refuse_untrusted(paths: Iterable[str], *, what: str, kind: type[Failure] = Failure) -> None:
    """Raise ``kind`` where someone else can write one of ``paths`` or change what it names.

    Only for root: others risk no more than their own rights. Each component
    of a path, and of every link on the way, has to belong to root, or
    under sudo to the caller, and not be writable for others. A sticky
    directory of root's is fine (/tmp). An absent path is judged by the
    directories above it. ``what`` names the file in messages: "the target file".
    """
    if os.geteuid() != 0:
        return
    judge = _Judge(_caller(), what, kind)
    for path in paths:
        judge.walk(os.path.join(os.getcwd(), path))


def _caller() -> int | None:
    """Return the uid of the caller of sudo(8)."""
    text = os.environ.get("SUDO_UID", "")
    return int(text) if text.isascii() and text.isdecimal() else None


@dataclass(slots=True)
class _Judge:
    caller: int | None
    what: str
    kind: type[Failure]
    seen: set[str] = field(default_factory=set)

    def walk(self, path: str) -> None:
        """Judge every component from / down to ``path``, and those of its links' targets."""
        here, links = "/", 0
        self._judge("/", path)
        parts = _parts(path)
        while parts:
            part = parts.pop()
            if part == "..":
                here = os.path.dirname(here)
                continue
            here = os.path.join(here, part)
            info = self._judge(here, path)
            if info is None:
                return
            if stat.S_ISLNK(info.st_mode):
                links += 1
                if links > _MAX_LINKS:
                    raise self.kind(f"cannot read {path}: {os.strerror(errno.ELOOP)}")
                text = os.readlink(here)
                parts += _parts(text)
                here = "/" if text.startswith("/") else os.path.dirname(here)

    def _judge(self, here: str, path: str) -> os.stat_result | None:
        try:
            info = os.lstat(here)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self.kind(f"cannot read {here}: {error.strerror}") from None
        if here not in self.seen:
            self.seen.add(here)
            if fault := self._fault(here, info):
                who, hint = fault
                details = () if here == path else (f"it leads to {self.what} {path}",)
                raise self.kind(
                    f"cannot trust {here}: it can be written by {who}", hint=hint, details=details
                )
        return info

    def _fault(self, here: str, info: os.stat_result) -> tuple[str, str] | None:
        """Return who else can write, and the command that forbids it; None where nobody can."""
        if not self._trusts(info.st_uid):
            flag = "-h " if stat.S_ISLNK(info.st_mode) else ""
            return f"{_user(info.st_uid)}, its owner", f"chown {flag}root {here}"
        if stat.S_ISLNK(info.st_mode):
            return None  # a link has no mode
        if stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX:
            return None  # sticky: nobody can rename or remove another's files there
        if info.st_mode & stat.S_IWOTH:
            return "everyone", f"chmod o-w {here}"
        if info.st_mode & stat.S_IWGRP:
            return self._group_fault(here, info)
        return None

    def _group_fault(self, here: str, info: os.stat_result) -> tuple[str, str] | None:
        # With an ACL these bits are its mask: acl(5).
        for tag, number in _acl_writers(here):
            if tag == _ACL_USER and not self._trusts(number):
                return f"{_user(number)}, by its ACL", f"setfacl -b {here}"
            if tag == _ACL_GROUP and number != 0:
                return f"the group {_group(number)}, by its ACL", f"setfacl -b {here}"
        if info.st_gid == 0 or _private_group(info.st_gid, self.caller):
            return None
        return f"its group, {_group(info.st_gid)}", f"chmod g-w {here}"

    def _trusts(self, uid: int) -> bool:
        return uid in (0, self.caller) or _is_nobodys(uid)


def _acl_writers(path: str) -> Iterator[tuple[int, int]]:
    """Yield (tag, id) of the users and groups that an ACL names and lets write."""
    if not hasattr(os, "getxattr"):
        return
    try:
        value = os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except OSError:
        return  # no ACL, or a filesystem without them
    entries = value[4 : 4 + (len(value) - 4) // _ACL_ENTRY.size * _ACL_ENTRY.size]
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(entries):
        if tag in (_ACL_USER, _ACL_GROUP) and permissions & _ACL_WRITE:
            yield tag, number


def _is_nobodys(uid: int) -> bool:
    """Return whether a uid is the overflow uid of a user namespace that an ordinary user made.

    Its root has that user's rights: user_namespaces(7).
    """
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        return False
    outside = {start: other for start, other, _ in ranges}
    mapped = any(start <= uid < start + count for start, _, count in ranges)
    return uid == _OVERFLOW and not mapped and outside.get(0, 0) != 0


def _private_group(gid: int, caller: int | None) -> bool:
    """Return whether a group is the caller's own, with nobody else in it (useradd's default)."""
    if caller is None:
        return False
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(caller), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return f"{grp.getgrgid(gid).gr_name} (gid {gid})"
    except KeyError:
        return f"gid {gid}"


def _parts(path: str) -> list[str]:
    """Return the components, last first (a stack), without empty ones and single dots."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
