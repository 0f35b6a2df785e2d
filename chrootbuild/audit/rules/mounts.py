"""Filesystems mounted in the root."""

from __future__ import annotations

from collections.abc import Iterator

from chrootbuild.audit.facts import Facts, Rule, Summary
from chrootbuild.findings import Finding

MOUNT = Rule(
    "mount",
    "error for a writable /proc, /sys or the like, and for all of the host's /dev; "
    "warning for one that `mounts` does not name",
    "A writable proc or sysfs changes the host's kernel, a whole /dev opens its disks; others show more of the host.",
    "umount it; mount /proc and /sys read-only (chrootbuild host NAME fstab writes it so)",
)

_KERNEL = {
    *"bpf cgroup cgroup2 configfs debugfs efivarfs proc pstore securityfs sysfs tracefs".split(),
    *"linprocfs linsysfs procfs".split(),  # FreeBSD's
}
_DEVICES = {"devtmpfs", "devfs"}


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
