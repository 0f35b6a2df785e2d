"""Filesystems mounted in the root."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.auditrules.facts import Facts, Mount, Summary
from chrootbuild.auditrules.rule import Rule
from chrootbuild.findings import Finding

__all__ = ["MOUNT", "mounted", "read_mounts"]

MOUNT = Rule(
    "mount",
    "error for a writable /proc, /sys or the like, and for all of the host's /dev; "
    "warning for one that `mounts` does not name",
    "A writable proc or sysfs changes the host's kernel, a whole /dev opens its disks; others show more of the host.",
    "umount it; mount /proc and /sys read-only (chrootbuild host NAME fstab writes it so)",
)

_KERNEL = {
    "proc",
    "procfs",
    "linprocfs",
    "sysfs",
    "linsysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "efivarfs",
    "bpf",
    "pstore",
}
_DEVICES = {"devtmpfs", "devfs"}


def read_mounts(text: str, root: str) -> tuple[Mount, ...]:
    """Return the mounts below a directory, from a mountinfo's text: proc_pid_mountinfo(5).

    ``root`` is a real path, or empty for /. Of several mounts on one path the last one counts.
    """
    found = {}
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if not place.startswith(f"{root}/") or place == "/":
            continue
        options = {*fields[5].split(","), *rest[2].split(",")}
        path = place[len(root) :]
        found[path] = Mount(path, rest[0], "ro" not in options)
    return tuple(found.values())


def mounted(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Judge mounts: those that the target names are wanted, kernel interfaces read-only."""
    wanted = {item.value for item in facts.target.mounts}
    for mount in facts.mounts:
        if mount.type in _KERNEL and mount.writable:
            yield MOUNT.error(mount.path, f"{mount.type} is mounted, and writable")
        elif mount.type in _DEVICES and not _ruled(facts):
            yield MOUNT.error(mount.path, f"{mount.type} is mounted: every device of the host's")
        elif not mount.private and not _named(mount.path, wanted):
            how = "writable" if mount.writable else "read-only"
            yield MOUNT.warning(mount.path, f"{mount.type} is mounted ({how}), and mounts does not name it")


def _named(path: str, wanted: set[str]) -> bool:
    return path in wanted or any(path.startswith(f"{named}/") for named in wanted)


def _ruled(facts: Facts) -> bool:
    """Return whether a ruleset can limit a devfs: on FreeBSD alone."""
    return facts.system == "freebsd"
