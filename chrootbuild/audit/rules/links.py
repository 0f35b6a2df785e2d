"""Symbolic links that lead into what the daemon can change."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from chrootbuild.audit.facts import WRITE, Entry, Facts, Rule, is_wanted
from chrootbuild.audit.rules.believed import obeyed_by
from chrootbuild.audit.rules.permissions import in_program_place
from chrootbuild.findings import Finding

INTO = Rule(
    "link-to-daemon",
    "error among programs and libraries, and for what root's programs obey; else warning",
    "Whoever can write where a link leads decides what is found under its name.",
    "remove the link; put what it should lead to where root alone writes",
)

_MOST = 40  # links followed, as the kernel does
_PARTS = 4096  # components looked at: a path of the kernel's has fewer
_ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/master.passwd", "/etc/nsswitch.conf")


def link_to_daemon(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge links outside the daemon's directories by where they lead, there or not yet."""
    if not stat.S_ISLNK(entry.info.st_mode) or entry.free or not facts.free:
        return
    where = leads_into(entry.path, facts)
    if not where:
        return
    fact = f"a link that leads into {where}, where another than root can write"
    obeyed = entry.path in _ACCOUNTS or obeyed_by(entry.path) or obeyed_by(f"{entry.path}/x")
    if in_program_place(entry.path) or obeyed:
        yield INTO.error(entry.path, fact)
    elif not is_wanted(entry, facts):
        yield INTO.warning(entry.path, fact)


def leads_into(path: str, facts: Facts) -> str:
    """Return the daemon-owned directory that a link's target passes through, or empty."""
    followed = 0
    waiting, here = path.split("/")[:0:-1], ""
    for _ in range(_PARTS):
        if not waiting:
            break
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        here = f"{here}/{part}"
        if here in facts.free and _others_write(here, facts):
            return here
        text = facts.root.readlink(here)
        if text:
            followed += 1
            here = "" if text.startswith("/") else here.rpartition("/")[0]
            waiting += text.split("/")[::-1]
            if followed > _MOST or len(waiting) > _PARTS:
                break
    return ""


def _others_write(path: str, facts: Facts) -> bool:
    info = facts.root.lstat(path)
    if info is None or not stat.S_ISDIR(info.st_mode):
        return False
    group = info.st_mode >> 3 & WRITE and info.st_gid not in facts.trusted_groups
    return bool(info.st_uid not in facts.trusted or group or info.st_mode & WRITE)
