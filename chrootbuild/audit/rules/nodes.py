"""Device nodes and FIFOs: ways to the kernel, and to other processes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule
from chrootbuild.findings import Finding

DEVICE = Rule(
    "device",
    "error for block devices, memory, ports, raw disks, tapes, disk controllers, and what is neither "
    "usual nor declared, and for one whose numbers are not the target's; "
    "warning for a usual one that was not installed; note for an unusual one that "
    "`devices` names",
    "A disk or memory device is the whole host, read and written past every permission.",
    "remove the node; name in devices what the service needs",
)
FIFO = Rule(
    "fifo",
    "note",
    "What opens a FIFO waits for the other end, or reads what somebody else writes.",
    "remove it, or declare the directory it is in",
)

# Numbers: Linux's Documentation/admin-guide/devices.txt; FreeBSD's etc/MAKEDEV and sys/conf/majors (before devfs).
_USUAL = {
    "linux": {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)},
    "freebsd": {(1, 0), (2, 2), (2, 3), (2, 4), (2, 12)},
}
_USUAL_MAJORS = {"linux": range(136, 144), "freebsd": (5, 6, 22)}  # pts; ttyp and ptyp, fd
_DANGEROUS = {
    "linux": {
        (1, 1): "the host's memory",
        (1, 2): "the kernel's memory",
        (1, 4): "the I/O ports",
        (10, 144): "the nvram",
        (10, 234): "the control of btrfs",
        (10, 236): "the device mapper",
        (10, 237): "the control of loop devices",
    },
    "freebsd": {(2, 0): "the host's memory", (2, 1): "the kernel's memory", (2, 14): "the I/O ports"},
}
_DANGEROUS_MAJORS = {
    "linux": {21: "a SCSI device", 90: "flash memory", 162: "a raw disk", 202: "the CPU's registers"},
    "freebsd": {
        # wd, geom, da, vn, ccd, vinum, fla, ida, ad, mlxd, amrd, twed, aacd, ar, pst, ofwd, pst, mided, ipsd
        **dict.fromkeys((3, 4, 13, 43, 74, 91, 102, 109, 116), "a raw disk"),
        **dict.fromkeys((131, 133, 147, 151, 157, 168, 169, 170, 172, 176), "a raw disk"),
        **dict.fromkeys((9, 87, 118), "a floppy disk"),  # fd, wfd, afd
        **dict.fromkeys((15, 29, 45, 62, 69, 117), "an optical disk"),  # cd, mcd, scd, worm, wcd, acd
        **dict.fromkeys((10, 14, 90, 119), "a tape"),  # wt, sa, wst, ast
        31: "a SCSI device",  # pass
        **dict.fromkeys((88, 130, 132, 146, 150, 154, 158, 159), "a disk controller"),
        **dict.fromkeys((164, 166, 171, 175), "a disk controller"),  # dpt, mlx, amr, twe ... ips
        104: "the SCSI transport",  # xpt
        **dict.fromkeys((32, 33, 34, 35, 36, 37, 38), "a kernel module"),
    },
}


def device(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge a device node by its numbers, whatever its name."""
    mode = entry.info.st_mode
    if stat.S_ISBLK(mode):
        yield DEVICE.error(entry.path, f"a block device, {_numbers(entry)}")
        return
    if not stat.S_ISCHR(mode):
        return
    number = os.major(entry.info.st_rdev), os.minor(entry.info.st_rdev)
    if number == (0, 0):
        return  # overlayfs's whiteout; no driver has these numbers
    danger = _DANGEROUS[facts.system].get(number) or _DANGEROUS_MAJORS[facts.system].get(number[0])
    usual = number in _USUAL[facts.system] or number[0] in _USUAL_MAJORS[facts.system]
    declared = _declared(entry, facts)
    ours = declared == f"char {_numbers(entry)}"
    if danger:
        yield DEVICE.error(entry.path, f"a device that is {danger}, {_numbers(entry)}")
    elif declared and not ours:
        yield DEVICE.error(entry.path, f"it is char {_numbers(entry)}, and the target says {declared}")
    elif not usual and not ours:
        yield DEVICE.error(
            entry.path, f"a device beyond the usual that was not installed, {_numbers(entry)}"
        )
    elif not usual:
        yield DEVICE.note(entry.path, f"a device beyond the usual, {_numbers(entry)}, as the target says")
    elif not ours and (facts.record is not None or facts.planned is not None):
        yield DEVICE.warning(entry.path, f"a device that was not installed, {_numbers(entry)}")


def _declared(entry: Entry, facts: Facts) -> str:
    """Return the type and numbers that the target gives to a node at this path, or empty."""
    if entry.installed is not None:
        return entry.installed.detail if entry.installed.kind == "node" else ""
    artifact = None if facts.planned is None else facts.planned.get(entry.path)
    return "" if artifact is None or artifact.device is None else str(artifact.device)


def _numbers(entry: Entry) -> str:
    return f"{os.major(entry.info.st_rdev)}:{os.minor(entry.info.st_rdev)}"


def fifo(entry: Entry, _facts: Facts) -> Iterator[Finding]:
    """Judge FIFOs outside daemon-owned directories."""
    if stat.S_ISFIFO(entry.info.st_mode) and not entry.free:
        yield FIFO.note(entry.path, "a FIFO that is not in a declared directory")
