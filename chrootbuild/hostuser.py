"""Who a target's service runs as, in numbers, and which system its root is for."""

from __future__ import annotations

from dataclasses import dataclass

from chrootbuild.accounts import Names, Sources
from chrootbuild.accounts.passwd import parse_groups
from chrootbuild.errors import TargetError
from chrootbuild.gather import find_program
from chrootbuild.host import Host, Unreadable
from chrootbuild.plan import system_of
from chrootbuild.privileges import ROOT, User
from chrootbuild.spec import Target

__all__ = ["Known", "look", "program"]


@dataclass(frozen=True, slots=True)
class Known:
    """What the sysroot says about a target, for the host's side."""

    system: str  # "linux" or "freebsd"
    user: User = ROOT  # of [check.service]
    name: str = "root"  # the user's name in the root's accounts, else the number


def look(target: Target, host: Host) -> Known:
    """Read a target's system and its service's user; raises TargetError for an unknown name."""
    service = target.check.service
    system = system_of(target, host)
    if service is None or service.user in ("root", "0"):
        return Known(system)
    names, groups = _names(target, host), _groups(target, host)
    name, _, group = service.user.partition(":")
    uid = names.uid(name, service.origin)
    gid = names.gid(group, service.origin) if group else names.group_of(name, service.origin)
    known = names.user_of(uid)
    others = tuple(sorted({number for number, members in groups if known in members} - {gid}))
    return Known(system, User(uid, gid, others if uid else ()), known or str(uid))


def program(target: Target, host: Host, name: str) -> str:
    """Return the path of a program in the root: as it stands, or found in the sysroot by its bare name."""
    if name.startswith("/"):
        return name
    found = find_program(host, name)
    if found is None:
        raise TargetError(
            f"cannot find {name} in the sysroot {host.sysroot} ({target.origin.file})",
            hint="write its whole path",
        )
    return found


def _names(target: Target, host: Host) -> Names:
    sources = Sources(_read(host, "/etc/passwd"), _read(host, "/etc/group"))
    return Names(sources, target.accounts)


def _groups(target: Target, host: Host) -> list[tuple[int, list[str]]]:
    """Return the groups of the sysroot and of extra_groups, with their members' names."""
    extra = target.accounts.extra_groups if target.accounts is not None else ()
    lines = "".join(f"{item.value}\n" for item in extra).encode("utf-8", "surrogateescape")
    return [
        (group.gid, [member.decode("utf-8", "surrogateescape") for member in group.members])
        for group in parse_groups(lines + _read(host, "/etc/group")).groups
        if group.gid is not None and not group.nis
    ]


def _read(host: Host, path: str) -> bytes:
    try:
        return host.read(path)
    except Unreadable:
        return b""
