"""Filesystems mounted in the root."""

from __future__ import annotations

from collections.abc import Iterator

from chrootbuild.audit.facts import Facts, Mount, Rule, Summary
from chrootbuild.findings import Finding

MOUNT = Rule(
    "mount",
    "error for a writable /proc, /sys or the like, for all of the host's /dev, and for the host's / or one of its "
    "system's directories that can be written; "
    "warning for one that `mounts` does not name",
    "A writable proc or sysfs changes the host's kernel, a whole /dev opens its disks; others show more of the host.",
    "umount it; mount /proc and /sys read-only (chrootbuild host NAME fstab writes it so)",
)

_KERNEL = {
    *"bpf cgroup cgroup2 configfs debugfs efivarfs proc pstore securityfs sysfs tracefs".split(),
    *"linprocfs linsysfs procfs".split(),  # FreeBSD's
}
_DEVICES = {"devtmpfs", "devfs"}
_OWN = _KERNEL | _DEVICES | set("devpts mqueue hugetlbfs autofs rpc_pipefs nsfs fdescfs".split())
# The host's: who writes there is root at the next login, start or package.
_SYSTEM = set("/ /boot /etc /home /root /run /usr /usr/local /var /var/lib /var/run /var/spool".split())
_BELOW = (
    *"/bin /boot /dev /etc /lib /lib32 /lib64 /libx32 /sbin /usr /root/.ssh /run/dbus /run/systemd".split(),
    *"/var/cron /var/lib/containers /var/lib/dpkg /var/lib/docker /var/lib/systemd /var/spool/cron".split(),
)


def mounted(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Judge mounts: those that the target names are wanted, kernel interfaces read-only."""
    wanted = {item.value for item in facts.target.mounts}
    for mount in facts.mounts:
        if mount.type in _KERNEL and mount.writable:
            yield MOUNT.error(mount.path, f"{mount.type} is mounted, and writable")
        elif mount.type in _DEVICES and not _ruled(facts):
            yield MOUNT.error(mount.path, f"{mount.type} is mounted: every device of the host's")
        elif fact := _of_the_host(mount, wanted):
            yield MOUNT.error(mount.path, fact)
        elif not mount.private and not _named(mount.path, wanted):
            how = "writable" if mount.writable else "read-only"
            yield MOUNT.warning(mount.path, f"{mount.type} is mounted ({how}), and mounts does not name it")


def _of_the_host(mount: Mount, wanted: set[str]) -> str:
    """Return what is wrong with a bind mount of the host's, or empty; one that is meant may be below a system's."""
    source = mount.source
    if not source or mount.type in _OWN:
        return ""
    if source == "/":
        return "the host's whole tree is mounted, and the sockets in it answer"
    meant = mount.private or _named(mount.path, wanted)
    below = source in _BELOW or any(source.startswith(f"{place}/") for place in _BELOW)
    if mount.writable and (source in _SYSTEM or (below and not meant)):
        return f"the host's {source} is mounted, and writable"
    return ""


def _named(path: str, wanted: set[str]) -> bool:
    return path in wanted or any(path.startswith(f"{named}/") for named in wanted)


def _ruled(facts: Facts) -> bool:
    """Return whether a ruleset can limit a devfs: on FreeBSD alone."""
    return facts.system == "freebsd"
