"""Processes of the root: their users, their capabilities, and their ways out."""

from __future__ import annotations

from collections.abc import Iterator

from chrootbuild.audit.facts import Facts, Rule, Summary
from chrootbuild.findings import Finding
from chrootbuild.system.processes import running_outdated
from chrootbuild.system.rights.user import KEPT

ROOT = Rule(
    "process-root",
    "warning",
    "A process that is root can leave a chroot, unless something else holds it.",
    "let it run as a user of its own; start it by the unit: chrootbuild host NAME unit",
)
CAPABLE = Rule(
    "process-capabilities",
    "error",
    "Capabilities beyond those that services need (mount, mknod, ptrace, modules) reach out of every chroot.",
    "CapabilityBoundingSet= of the unit: chrootbuild host NAME unit",
)
OUTSIDE = Rule(
    "process-outside",
    "error",
    "A process that has a directory outside open, or as its working directory, leaves the root by fchdir(2) or ..",
    "chdir to the root before chroot(2), close what is open, or start it by the unit: chrootbuild host NAME unit",
)
OUTDATED = Rule(
    "process-outdated",
    "warning",
    "It still runs the program or library that was replaced, with whatever was wrong with it.",
    "restart the service ([host] restart does it after each refresh)",
)
WAYS = Rule(
    "ways-out",
    "note",
    "chroot(2) hides files; it does not hold root.",
    "chrootbuild host NAME unit --install; on FreeBSD host NAME jail",
)

# capability.h; only for messages.
_NAMES = {
    2: "CAP_DAC_READ_SEARCH",
    12: "CAP_NET_ADMIN",
    16: "CAP_SYS_MODULE",
    17: "CAP_SYS_RAWIO",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
    22: "CAP_SYS_BOOT",
    25: "CAP_SYS_TIME",
    27: "CAP_MKNOD",
    39: "CAP_BPF",
}
_LINUX = (
    "a second chroot(2), fchdir(2): closed by RootDirectory= in a mount namespace of its own",
    "mount(2), mknod(2) of a disk: CapabilityBoundingSet= without CAP_SYS_ADMIN and CAP_MKNOD, DevicePolicy=closed",
    "ptrace(2) of processes outside: CapabilityBoundingSet= without CAP_SYS_PTRACE, SystemCallFilter=",
    "open_by_handle_at(2), modules, ports: CapabilityBoundingSet=, ProtectKernelModules=, SystemCallFilter=",
    "a new user namespace: RestrictNamespaces=; setuid programs: NoNewPrivileges=",
    "open still: signals to processes of the same user, abstract sockets, the network",
)
_FREEBSD = ("mount(2), mknod(2), kldload(2), ptrace(2), a second chroot(2): closed by jail(8)",)


def running_as_root(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Judge processes by their effective user id."""
    for process in facts.processes:
        if process.uid == 0:
            yield ROOT.warning(process.program, f"{process} runs as root")


def capable(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Judge capabilities that a process has, or can acquire, beyond those that `check` keeps: capabilities(7)."""
    kept = sum(1 << number for number in KEPT.values())
    for process in facts.processes:
        beyond = process.capabilities & ~kept
        if beyond:
            names = [name for number, name in _NAMES.items() if beyond >> number & 1]
            more = beyond.bit_count() - len(names)
            shown = ", ".join([*names, *([f"{more} more"] if more else [])])
            yield CAPABLE.error(
                process.program, f"{process} has capabilities that reach beyond the root: {shown}"
            )


def outside(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Judge directories outside that a process has open: the classical way out of a chroot."""
    for process in facts.processes:
        if process.outside:
            yield OUTSIDE.error(process.program, f"{process}: {process.outside[0]}", *process.outside[1:5])


def outdated(facts: Facts, summary: Summary) -> Iterator[Finding]:
    """Judge mapped programs and libraries whose file was deleted: proc_pid_maps(5)."""
    if not facts.processes:
        return
    programs = {process.pid: process.program for process in facts.processes}
    for pid, name in running_outdated(facts.root.path, summary.programs, summary.programs.values):
        yield OUTDATED.warning(
            programs.get(pid, ""), f"{name} (pid {pid}) runs on files that were replaced or removed"
        )


def ways_out(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Note, where root starts the service or runs in the root, the confinement it needs beyond chroot(2)."""
    service = facts.target.check.service
    if any(process.uid == 0 for process in facts.processes):
        who = "a process of this root is root"
    elif service is not None and service.user.partition(":")[0] in ("root", "0"):
        who = "the service is started as root"
    else:
        return
    lines = _FREEBSD if facts.system == "freebsd" else _LINUX
    kind = "jail" if facts.system == "freebsd" else "unit"
    yield WAYS.note(
        "", f"{who}: chroot alone does not hold it; chrootbuild host {facts.target.name} {kind} does", *lines
    )
