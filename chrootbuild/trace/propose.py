"""Accesses to proposals: what a target file lacks, judged against the sysroot; what is refused, and why.

A run on the host shows what a service uses; a run inside its root shows what it
asked for and did not find (:func:`missing`) and what it used (:func:`touched`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field, replace

from chrootbuild.host import Host, Unreadable
from chrootbuild.trace import directories, people
from chrootbuild.trace.access import Access, Deed, Event
from chrootbuild.trace.known import KEYS, Known, Proposal, Proposals, Refusal
from chrootbuild.trace.rules import is_library_name, is_nss, is_secret_name, never, proc_data, zone
from chrootbuild.trace.uses import By, Use, Uses, collect, plain

__all__ = ["missing", "propose", "touched"]

_NODES = frozenset({"null", "zero", "full", "random", "urandom"})  # they lead nowhere
_ELF = b"\x7fELF"
_HEAD = 1 << 16  # bytes in which a key shows itself
_NOT_FOUND = frozenset({"ENOENT", "ENOTDIR", "EACCES", "EPERM"})
_OPENED = frozenset({Deed.READ, Deed.UPDATE, Deed.MAP, Deed.EXEC})
_INPUT = (
    Deed.READ,
    Deed.UPDATE,
    Deed.MAP,
    Deed.STAT,
    Deed.ACCESS,
    Deed.ACCESS_EXEC,
    Deed.READLINK,
    Deed.HOLD,
)
_WORDS = {
    Deed.EXEC: "executes it",
    Deed.ACCESS_EXEC: "asks whether it can execute it",
    Deed.READ: "opens it",
    Deed.UPDATE: "opens it for writing",
    Deed.MAP: "maps it",
    Deed.STAT: "looks for it",
    Deed.ACCESS: "looks for it",
    Deed.READLINK: "reads the link",
    Deed.HOLD: "looks for it",
    Deed.CONNECT: "connects to it",
}
_SWEPT = 16  # files: a directory whose every file was looked at, and none opened, was only listed


@dataclass(slots=True)
class _Draft:
    """What is decided so far."""

    found: Uses
    host: Host
    known: Known
    have: set[str]  # canonical paths the root has or will have
    entries: dict[tuple[str, str], Proposal] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    seeds: set[str] = field(default_factory=set)

    def add(self, key: str, use: Use, deed: Deed) -> None:
        by = use.deeds[deed]
        self.entries.setdefault(
            (key, use.path), Proposal(key, use.path, reason(by, _WORDS[deed]), by.program, by.call)
        )
        self.have.update((use.canonical, *(link.path for link in use.links)))

    def refuse(self, path: str, why: str, by: By) -> None:
        self.refused.setdefault(path, Refusal(path, why, by.program, by.call))

    def has(self, use: Use) -> bool:
        return use.canonical in self.have and all(link.path in self.have for link in use.links)

    def seeded(self, path: str) -> bool:
        return any(path == top or path.startswith(f"{top}/") for top in self.seeds)


def reason(by: By, words: str) -> str:
    """Return a reason as it is shown: the program's name, and what it does."""
    return f"{by.program.rpartition('/')[2] or 'the program'} {words}"


def propose(events: Iterable[Event], host: Host, known: Known | None = None) -> Proposals:
    """Return what a run on the host used and the target has not.

    ``host`` is the sysroot as it was before the run. Raises Failure for a trace
    that names more than a million paths.
    """
    known = known or Known()
    found = collect(events, host)
    planned = (path for path, artifact in known.artifacts.items() if not artifact.implied)
    draft = _Draft(found, host, known, set(planned), seeds=set(known.seeds))
    rest = [use for _, use in sorted(found.uses.items()) if not _settled(draft, use)]
    programs = [use for use in rest if _is_program(draft, use)]
    _programs(draft, programs)
    rest = [use for use in rest if not draft.has(use)]
    libraries = [use for use in rest if _is_library(host, use)]
    _libraries(draft, libraries)
    _files(draft, [use for use in rest if use not in libraries and use not in programs])
    _machine(draft)
    for proposal in directories.needed(found, host, known, draft.have, draft.seeds):
        draft.entries.setdefault((proposal.key, proposal.value), proposal)
    for proposal in people.accounts(found, host, known):
        draft.entries.setdefault((proposal.key, proposal.value), proposal)
    _unnameable(draft)
    order = {key: index for index, key in enumerate(KEYS)}
    return Proposals(
        tuple(sorted(draft.entries.values(), key=lambda entry: (order[entry.key], entry.value))),
        tuple(refusal for _, refusal in sorted(draft.refused.items())),
    )


def missing(
    events: Iterable[Event], host: Host, known: Known | None = None, *, last_resort: bool = False
) -> Proposals:
    """Return what a run inside the root asked for in vain and the sysroot has.

    With ``last_resort`` a program that asked for anything in /proc gets it:
    for when the check fails and nothing else is missing.
    """
    asked_proc: list[Access] = []

    def wanted() -> Iterator[Event]:
        for event in events:
            if not isinstance(event, Access):
                yield event
            elif event.errno in _NOT_FOUND:
                if event.path.startswith("/proc/") and event.errno == "ENOENT":
                    asked_proc[:] = asked_proc[:1] or [event]
                yield replace(event, errno="")
            else:
                yield event

    proposals = propose(wanted(), host, known)
    if last_resort and asked_proc and all(entry.key != "mounts" for entry in proposals.entries):
        by = By(asked_proc[0].program, asked_proc[0].call)
        entry = Proposal(
            "mounts", "/proc", reason(by, f"asks for {asked_proc[0].path}"), by.program, by.call
        )
        if known is None or "/proc" not in known.artifacts:
            return replace(proposals, entries=_sorted((*proposals.entries, entry)))
    return proposals


def _sorted(entries: Iterable[Proposal]) -> tuple[Proposal, ...]:
    order = {key: index for index, key in enumerate(KEYS)}
    return tuple(sorted(entries, key=lambda entry: (order[entry.key], entry.value)))


def touched(events: Iterable[Event], host: Host | None = None) -> Set[str]:
    """Return the paths a run used; with the ``host`` it ran in also where they lead, and the links on the way.

    A path below a listed directory is only used if it was asked for as well.
    """
    paths: set[str] = set()
    for event in events:
        if not isinstance(event, Access) or (event.errno and event.errno != "EEXIST"):
            continue
        paths.update(path for path in (event.path, event.real) if path.startswith("/"))
    if host is not None:
        for path in list(paths):
            asked, passed = plain(host, path)
            paths.update((asked, *passed))
            try:
                canonical, links = host.resolve(path)
            except Unreadable:
                continue
            paths.update((canonical, *(link.path for link in links)))
    return paths


# -- what a use is ------------------------------------------------------------------------


def _info(host: Host, path: str) -> int:
    info = host.stat(path) or host.lstat(path)
    return info.st_mode if info is not None else 0


def _settled(draft: _Draft, use: Use) -> bool:
    """Tell whether a path is no input: the root has it, it is a directory, or it is refused here."""
    mode = _info(draft.host, use.canonical)
    if stat.S_ISDIR(mode) or draft.has(use) or use.path in draft.found.made:
        return True
    if use.canonical.startswith("/dev/") or use.canonical.startswith("/proc/"):
        return True  # _machine decides
    by = min(use.deeds.values())
    why = never(use.path) or never(use.canonical)
    if why:
        if _names_host(draft, use):
            return True
        if draft.found.uses[use.path].deeds.keys() & _OPENED:
            draft.refuse(_shown(use), why, by)
        return True
    if stat.S_ISLNK(mode):
        if Deed.READLINK not in use.deeds:
            return True
        return False
    if not stat.S_ISREG(mode):
        kind = "a socket" if stat.S_ISSOCK(mode) else "a FIFO" if stat.S_ISFIFO(mode) else "a device"
        made = {Deed.BIND, Deed.MAKE, Deed.REMOVE} & use.deeds.keys()
        if not made:
            draft.refuse(use.path, f"{kind} of another daemon", by)
        return True
    return not _is_input(draft, use)


def _names_host(draft: _Draft, use: Use) -> bool:
    """Tell whether a refused name is one that another key stands for."""
    return use.canonical == "/etc/localtime"


def _shown(use: Use) -> str:
    """Return what a refusal names: one line for all of /sys."""
    return "/sys" if use.canonical.startswith("/sys/") else use.path


def _is_input(draft: _Draft, use: Use) -> bool:
    """Tell whether a file's content was there for the run to use, and not its own output."""
    deeds = use.deeds.keys()
    if not deeds & frozenset(_INPUT):
        return False
    written = deeds & {Deed.WRITE, Deed.RENAME_TO}
    if not written and Deed.UPDATE not in deeds:
        return True
    history = draft.found.histories.get(use.canonical)
    return history is not None and history.read_first and _size(draft.host, use.canonical) > 0


def _size(host: Host, path: str) -> int:
    info = host.stat(path)
    return info.st_size if info else 0


def _head(host: Host, path: str, size: int = _HEAD) -> bytes:
    try:
        with host.open(path) as file:
            return file.read(size)
    except (Unreadable, OSError):
        return b""


def _is_program(draft: _Draft, use: Use) -> bool:
    deeds = use.deeds.keys()
    if Deed.EXEC in deeds:
        return True
    mode = _info(draft.host, use.canonical)
    if not mode & 0o111 or is_library_name(use.canonical):
        return False
    head = _head(draft.host, use.canonical, 4)
    if Deed.ACCESS_EXEC in deeds:
        return head.startswith((_ELF, b"#!"))
    return not deeds & _OPENED and head == _ELF


def _is_library(host: Host, use: Use) -> bool:
    named = is_library_name(use.canonical) or is_library_name(use.path) or Deed.MAP in use.deeds
    return named and _head(host, use.canonical, 4) == _ELF


# -- the keys -----------------------------------------------------------------------------


def _best(use: Use, *deeds: Deed) -> Deed:
    return next((deed for deed in deeds if deed in use.deeds), next(iter(use.deeds)))


def _programs(draft: _Draft, uses: list[Use]) -> None:
    for use in uses:
        if draft.has(use) or draft.seeded(use.canonical):
            continue
        if _private(draft, use):
            continue
        draft.add("binaries", use, _best(use, Deed.EXEC, Deed.ACCESS_EXEC, *_INPUT))
        draft.have.update(draft.known.closure(use.path))


def _libraries(draft: _Draft, uses: list[Use]) -> None:
    """Add the modules, without the libraries that come with one of them."""
    named = "/etc/nsswitch.conf" in draft.known.artifacts
    switched: set[str] = set()
    wanted: dict[str, tuple[Use, Set[str]]] = {}
    for use in uses:
        closure = draft.known.closure(use.path)
        if is_nss(use.canonical) and not named:
            switched.update(closure)
            draft.refuse(use.path, "a module of nsswitch.conf, which no root needs", min(use.deeds.values()))
        else:
            wanted[use.path] = (use, closure)
    for path, (use, _) in list(wanted.items()):
        others = (closure for other, (_, closure) in wanted.items() if other != path)
        if use.canonical in switched or any(use.canonical in closure for closure in others):
            del wanted[path]
    for use, closure in wanted.values():
        if not draft.has(use) and not draft.seeded(use.canonical) and not _private(draft, use):
            draft.add("libraries", use, _best(use, *_INPUT))
            draft.have.update(closure)


def _files(draft: _Draft, uses: list[Use]) -> None:
    state = [use for use in uses if _is_state(draft, use)]
    for use in state:
        _seed(draft, use)
    for use in uses:
        if draft.seeded(use.canonical) or draft.has(use) or _swept(draft, use):
            continue
        if use.canonical == "/etc/resolv.conf" or use.path == "/etc/resolv.conf":
            if not draft.found.queries:
                draft.refuse(use.path, "no DNS query was sent", min(use.deeds.values()))
                continue
        if use.path == "/etc/localtime":
            continue
        if not _private(draft, use):
            draft.add("files", use, _best(use, *_INPUT))
            draft.have.update(draft.known.closure(use.path) if _executable(draft, use) else ())


def _executable(draft: _Draft, use: Use) -> bool:
    return (
        bool(_info(draft.host, use.canonical) & 0o111) and _head(draft.host, use.canonical, 4)[:2] == b"#!"
    )


def _private(draft: _Draft, use: Use) -> bool:
    """Refuse what is secret, and say why."""
    by = min(use.deeds.values())
    if is_secret_name(use.canonical) or is_secret_name(use.path):
        draft.refuse(use.path, "a key or hashes, by its name; name it under files if it has to be there", by)
        return True
    if not _readable(draft.host, use.canonical):
        draft.refuse(use.path, "others may not read it; name it under files if it has to be there", by)
        return True
    if b"PRIVATE KEY-----" in _head(draft.host, use.canonical):
        draft.refuse(use.path, "a private key; name it under files if it has to be there", by)
        return True
    return False


def _readable(host: Host, path: str) -> bool:
    """Tell whether everybody may read a file: it, and every directory above it."""
    if _info(host, path) & 0o005 == 0:
        return False
    parent = path.rpartition("/")[0]
    while parent:
        if not _info(host, parent) & 0o001:
            return False
        parent = parent.rpartition("/")[0]
    return True


def _swept(draft: _Draft, use: Use) -> bool:
    """Tell whether a file was only one of many that somebody listed and looked at, one and all."""
    if use.deeds.keys() - {Deed.STAT, Deed.READLINK, Deed.HOLD}:
        return False
    directory = use.canonical.rpartition("/")[0] or "/"
    for program, listed in draft.found.listed.items():
        if directory in listed:
            names = draft.host.listdir(directory)
            looks = draft.found.looks[program]
            prefix = directory.rstrip("/")
            if len(names) >= _SWEPT and all(f"{prefix}/{name}" in looks for name in names):
                return True
    return False


# -- state ---------------------------------------------------------------------------------

_DATA = ("/var/lib", "/var/spool", "/var/db", "/var/games", "/var/mail", "/srv", "/usr/local/var")


def _is_state(draft: _Draft, use: Use) -> bool:
    return draft.found.is_state(use.canonical) and Deed.EXEC not in use.deeds


def _seed(draft: _Draft, use: Use) -> None:
    top = _data_directory(draft, use.canonical)
    if not top or draft.seeded(use.canonical):
        return
    by = use.deeds[_best(use, Deed.UPDATE, Deed.READ, Deed.RENAME_TO)]
    name = use.path.rpartition("/")[2]
    draft.seeds.add(top)
    draft.entries[("seed", f"{top}/")] = Proposal(
        "seed", f"{top}/", reason(by, f"reads and writes {name} there"), by.program, by.call
    )
    draft.have.add(top)


def _data_directory(draft: _Draft, path: str) -> str:
    """Return the topmost directory of the service's own above a file, else the one below /var/lib and the like."""
    uids = {uid for identity in draft.found.identities for uid in identity.users}
    uids.add(draft.known.uid)
    top = ""
    parent = path.rpartition("/")[0]
    while parent:
        info = draft.host.stat(parent)
        if info is not None and info.st_uid and info.st_uid in uids and not zone(parent):
            top = parent
        parent = parent.rpartition("/")[0]
    if top:
        return top
    for place in _DATA:
        if path.startswith(f"{place}/"):
            below = path[len(place) + 1 :].split("/")
            return f"{place}/{below[0]}" if len(below) > 1 else ""
    return ""


# -- the machine ---------------------------------------------------------------------------


def _machine(draft: _Draft) -> None:
    """Devices, /proc, the time zone, and sockets that other daemons listen on."""
    for path, use in sorted(draft.found.uses.items()):
        if use.canonical.startswith("/dev/") and not stat.S_ISDIR(_info(draft.host, use.canonical)):
            _device(draft, use)
        elif path.startswith("/dev/"):
            _standard_stream(draft, use)
        if path == "/etc/localtime" and "/etc/localtime" not in draft.have:
            by = min(use.deeds.values())
            draft.entries[("timezone", "host")] = Proposal(
                "timezone", "host", reason(by, "reads /etc/localtime"), by.program, by.call
            )
    for path, by in draft.found.sockets.items():
        if path in ("/dev/log", "/var/run/log", "/var/run/logpriv", "/run/systemd/journal/dev-log"):
            draft.refuse(path, "the host's syslog: [syslog] socket = true gives the root one", by)
    _proc(draft)


def _device(draft: _Draft, use: Use) -> None:
    name = use.canonical.removeprefix("/dev/")
    by = min(use.deeds.values())
    mode = _info(draft.host, use.canonical)
    if draft.has(use) or use.canonical.startswith("/dev/shm/"):
        return
    if name in _NODES and stat.S_ISCHR(mode):
        deed = _best(use, Deed.READ, Deed.UPDATE, Deed.WRITE, *_INPUT)
        by = use.deeds[deed]
        draft.entries[("devices", name)] = Proposal(
            "devices", name, reason(by, "opens it"), by.program, by.call
        )
        draft.have.add(use.canonical)
    elif name in ("tty", "console") or name.startswith(("pts/", "tty", "ptmx")):
        draft.refuse(use.path, "a terminal", by)
    elif not stat.S_ISSOCK(mode):
        draft.refuse(use.path, "a device of the machine: name it under devices if the service drives it", by)


_STREAMS = {"/dev/stdin": "0", "/dev/stdout": "1", "/dev/stderr": "2"}


def _standard_stream(draft: _Draft, use: Use) -> None:
    """/dev/stdout and the like lead into /proc: the link and the mount."""
    by = min(use.deeds.values())
    number = _STREAMS.get(use.path)
    if number is None or use.path in draft.have:
        return
    text = f"/proc/self/fd/{number}"
    draft.entries[("links", use.path)] = Proposal(
        "links", use.path, reason(by, "opens it"), by.program, by.call, text=text
    )
    if "/proc" not in draft.known.artifacts:
        draft.entries[("mounts", "/proc")] = Proposal(
            "mounts", "/proc", reason(by, f"opens {use.path}, which leads there"), by.program, by.call
        )


def _proc(draft: _Draft) -> None:
    """Propose /proc for a program that reads what the machine does: two such files, or one again and again."""
    if "/proc" in draft.known.artifacts:
        return
    for program in sorted({program for program, _ in draft.found.opens}):
        data = {
            path: times
            for (who, path), times in draft.found.opens.items()
            if who == program and proc_data(path)
        }
        # A process's own numbered directory is like /proc/self: one of them tells nothing.
        if len({path.split("/")[2] for path in data if path[6:7].isdigit()}) < 2:
            data = {path: times for path, times in data.items() if not path[6:7].isdigit()}
        if len(data) > 1 or any(times > 2 for times in data.values()):
            path = min(data)
            by = By(program, "open")
            draft.entries[("mounts", "/proc")] = Proposal(
                "mounts", "/proc", reason(by, f"reads {path}"), program, "open"
            )
            return
    for program, path in sorted(draft.found.opens):
        draft.refuse(
            "/proc", f"{path} and the like are done without; mounts = ['/proc'] if not", By(program, "open")
        )
        return


def _unnameable(draft: _Draft) -> None:
    """Refuse what no target file can hold, and what the trace does not place."""
    for path, by in draft.found.loose.items():
        draft.refuse(path, "relative to a directory that the trace does not tell", by)
    for key, proposal in list(draft.entries.items()):
        try:
            proposal.value.encode()
        except UnicodeEncodeError:
            del draft.entries[key]
            draft.refuse(
                proposal.value, "its name is no UTF-8: rename it", By(proposal.program, proposal.call)
            )
