"""Trust in a file that root is about to read: nobody else may write it (law 8), as sudo and cron judge it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from chrootbuild.errors import Failure
from chrootbuild.paths import LinkLoopError, walk
from chrootbuild.system.rights.acl import acl_of
from chrootbuild.system.rights.provenance import sudo_caller

_WRITE = 0o2
_OVERFLOW = 65534  # who has no id in this user namespace: user_namespaces(7)


def refuse_untrusted(
    paths: Iterable[str], *, what: str, kind: type[Failure] = Failure, remedy: str = ""
) -> None:
    """Raise ``kind`` where someone else can write one of ``paths`` or change what it names.

    Only for root: others risk no more than their own rights. Each component
    of a path, and of every link on the way, has to belong to root, or
    under sudo to the caller, and not be writable for others. A sticky
    directory of root's is fine (/tmp). An absent path is judged by the
    directories above it. ``what`` names the file in messages: "the target file". ``remedy`` is the
    hint where the fault is the path's own, and another owner would not mend it.
    """
    if os.geteuid() != 0:
        return
    judge = _Judge(sudo_caller(), what, kind, remedy)
    for path in paths:
        judge.walk(os.path.join(os.getcwd(), path))


@dataclass(slots=True)
class _Judge:
    caller: int | None
    what: str
    kind: type[Failure]
    remedy: str = ""
    seen: set[str] = field(default_factory=set)

    def walk(self, path: str) -> None:
        """Judge every component from / down to ``path``, and those of its links' targets."""

        def readlink(here: str) -> str | None:
            info = self._judge(here, path)
            if info is None:
                raise FileNotFoundError  # it is judged by what is above
            return os.readlink(here) if stat.S_ISLNK(info.st_mode) else None

        self._judge("/", path)
        try:
            walk(path, readlink)
        except FileNotFoundError:
            return
        except LinkLoopError as loop:
            raise self.kind(f"cannot read {path}: {loop.strerror}") from None

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
                hint = self.remedy if self.remedy and here == path else hint
                details = () if here == path else (f"it leads to {self.what} {path}",)
                raise self.kind(
                    f"cannot trust {here}: it can be written by {who}", hint=hint, details=details
                )
        return info

    def _fault(self, here: str, info: os.stat_result) -> tuple[str, str] | None:
        """Return who else can write, and the command that forbids it; None where nobody can."""
        if not self._trusts(info.st_uid):
            # Never -R: nobody looked at what is below, and a hint is followed.
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
        acl = acl_of(here)
        for uid, permissions in acl.users:
            if permissions & _WRITE and not self._trusts(uid):
                return f"{_user(uid)}, by its ACL", f"setfacl -b {here}"
        for gid, permissions in acl.groups:
            if permissions & _WRITE and gid != 0:
                return f"the group {_group(gid)}, by its ACL", f"setfacl -b {here}"
        if info.st_gid == 0 or _private_group(info.st_gid, self.caller):
            return None
        return f"its group, {_group(info.st_gid)}", f"chmod g-w {here}"

    def _trusts(self, uid: int) -> bool:
        return uid in (0, self.caller) or _is_nobodys(uid)


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
