"""Kernel interfaces in a trace: devices, /proc, standard streams; also the time zone and syslog."""

from __future__ import annotations

import re
import stat

from chrootbuild.propose.builder import INPUT, ProposalBuilder, best
from chrootbuild.propose.content import mode_of
from chrootbuild.propose.rules import proc_data
from chrootbuild.propose.uses import By, Use
from chrootbuild.trace.events import Deed

_NODES = ("full", "null", "random", "urandom", "zero")  # they lead nowhere
_TERMINALS = ("pts/", "tty", "ptmx", "console", "vcs")
_STREAMS = {"/dev/stdin": "0", "/dev/stdout": "1", "/dev/stderr": "2"}
_SYSLOG = ("/dev/log", "/var/run/log", "/var/run/logpriv", "/run/systemd/journal/dev-log")  # syslog(3)
_AGAIN = 2  # reads of one file of /proc that still count as tuning at start-up


def machine(builder: ProposalBuilder) -> None:
    """Propose the devices, links and mounts that the run needs, and refuse the rest."""
    for name in _NODES:
        # The sysroot may be a tree without a populated /dev.
        path = f"/dev/{name}"
        by = builder.found.absent.get(path)
        if path in builder.found.uses:
            use = builder.found.uses[path]
            by = use.deeds[best(use, Deed.READ, Deed.UPDATE, Deed.WRITE, *INPUT)]
        if by is not None and path not in builder.have:
            builder.enter("devices", name, "opens it", by)
    for path, use in sorted(builder.found.uses.items()):
        if path in _STREAMS:
            _stream(builder, use)
        elif use.canonical.startswith("/dev/") and not stat.S_ISDIR(mode_of(builder.sysroot, use.canonical)):
            _device(builder, use)
        elif path == "/etc/localtime" and path not in builder.have:
            builder.enter("timezone", "host", "reads /etc/localtime", min(use.deeds.values()))
    for path in _SYSLOG:
        if path in builder.found.sockets:
            why = "the host's syslog: [syslog] socket = true gives the root one"
            builder.refuse(path, why, builder.found.sockets[path])
    if "/proc" not in builder.known.artifacts:
        _proc(builder)


def _device(builder: ProposalBuilder, use: Use) -> None:
    name = use.canonical.removeprefix("/dev/")
    mode = mode_of(builder.sysroot, use.canonical)
    by = use.deeds[best(use, Deed.READ, Deed.UPDATE, Deed.WRITE, *INPUT)]
    if builder.has(use) or name in _NODES or name.startswith("shm/") or stat.S_ISSOCK(mode):
        return
    if name.startswith(_TERMINALS):
        builder.refuse(use.path, "a terminal", by)
    else:
        builder.refuse(
            use.path,
            "a device of the machine: name it under devices if the service drives it",
            by,
            nameable=True,
        )


def _stream(builder: ProposalBuilder, use: Use) -> None:
    """Propose the link into /proc, and the mount it needs."""
    by = min(use.deeds.values())
    if use.path in builder.have:
        return
    builder.enter("links", use.path, "opens it", by, text=f"/proc/self/fd/{_STREAMS[use.path]}")
    if "/proc" not in builder.known.artifacts:
        builder.enter("mounts", "/proc", f"opens {use.path}, which leads there", by)


def _proc(builder: ProposalBuilder) -> None:
    """Propose /proc for a program that reads kernel statistics: two files, or one repeatedly.

    One such file, read once or twice, is tuning at start-up, as is all else in
    /proc: nearly every service runs without it.
    """
    opens = builder.found.opens
    for program in sorted({program for program, _ in opens}):
        data = {path: count for (who, path), count in opens.items() if who == program and proc_data(path)}
        # A process sees its own directory by pid too: one pid proves nothing.
        if len({path.split("/")[2] for path in data if path[6:7].isdigit()}) < 2:
            data = {path: count for path, count in data.items() if not path[6:7].isdigit()}
        if len(data) > 1 or any(count > _AGAIN for count in data.values()):
            builder.enter("mounts", "/proc", f"reads {min(map(_any_process, data))}", By(program, "open"))
            return
    for program, path in sorted((program, _any_process(path)) for program, path in opens):
        why = f"{path} and the like are done without; mounts = ['/proc'] if not"
        builder.refuse("/proc", why, By(program, "open"))
        return


def _any_process(path: str) -> str:
    """Return a path of /proc without the pid, which differs in every run."""
    return re.sub(r"\A/proc/\d+", "/proc/PID", path)
