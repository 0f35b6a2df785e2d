"""Proposals from accesses: entries that a target file lacks, and refusals, by the sysroot's files.

A run on the host shows the paths that a service uses; a run inside its root
shows those it did not find (:func:`missing`) and those it used (:func:`touched`).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from chrootbuild.propose import accounts, directories
from chrootbuild.propose.builder import INPUT, OPENED, ProposalBuilder
from chrootbuild.propose.content import is_input, is_library, is_program, is_script, mode_of, secret, seed
from chrootbuild.propose.kernel import machine
from chrootbuild.propose.model import KEYS, Known, Proposal, Proposals
from chrootbuild.propose.optional import Optional, optional
from chrootbuild.propose.rules import is_nss, never
from chrootbuild.propose.uses import By, Use, collect, plain
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Access, Deed, Event

_NOT_FOUND = frozenset({"ENOENT", "ENOTDIR", "EACCES", "EPERM"})
_MADE = frozenset({Deed.BIND, Deed.MAKE, Deed.REMOVE})


def propose(events: Iterable[Event], sysroot: Sysroot, known: Known | None = None) -> Proposals:
    """Return entries for the paths that a run on the host used and the target lacks.

    The sysroot is in its state before the run. Raises Failure for a trace of more
    than a million paths.
    """
    known = known or Known()
    found = collect(events, sysroot)
    planned = {path for path, artifact in known.artifacts.items() if not artifact.implied}
    builder = ProposalBuilder(found, sysroot, known, planned, set(known.seeds))
    uses = [use for _, use in sorted(found.uses.items()) if not _settled(builder, use)]
    programs = [use for use in uses if is_program(sysroot, use)]
    for use in programs:
        if not builder.has(use):
            builder.take("binaries", use, *INPUT)
            builder.have.update(known.closure(use.path))
    uses = [use for use in uses if use not in programs and not builder.has(use)]
    libraries = [use for use in uses if is_library(sysroot, use)]
    spare = optional(builder, uses)
    _libraries(builder, libraries, spare)
    _files(builder, [use for use in uses if use not in libraries], spare)
    machine(builder)
    for proposal in (*directories.needed(builder, spare.swept), *accounts.accounts(found, sysroot, known)):
        builder.entries.setdefault((proposal.key, proposal.value), proposal)
    _unnameable(builder)
    refused = tuple(refusal for _, refusal in sorted(builder.refused.items()))
    return Proposals(_sorted(builder.entries.values()), refused, _sorted(builder.spares.values()))


def missing(
    events: Iterable[Event], sysroot: Sysroot, known: Known | None = None, *, last_resort: bool = False
) -> Proposals:
    """Return entries for the paths that a run inside the root did not find and the sysroot has.

    ``last_resort``, for a check that fails though nothing else is missing, mounts
    /proc for a program that asked for anything in it.
    """
    asked: list[Access] = []

    def wanted() -> Iterator[Event]:
        for event in events:
            if not isinstance(event, Access) or event.errno not in _NOT_FOUND:
                yield event
                continue
            if event.path.startswith("/proc/") and not asked:
                asked.append(event)
            yield replace(event, errno="")

    known = known or Known()
    proposals = propose(wanted(), sysroot, known)
    if not last_resort or not asked or "/proc" in known.artifacts:
        return proposals
    if any(entry.key == "mounts" for entry in proposals.entries):
        return proposals
    by = asked[0]
    path = re.sub(r"\A/proc/\d+", "/proc/PID", by.path)  # the pid differs in every run
    reason = f"{by.program.rpartition('/')[2] or 'the program'} asks for {path}"
    mount = Proposal("mounts", "/proc", reason, by.program, by.call)
    return replace(proposals, entries=_sorted((*proposals.entries, mount)))


def touched(events: Iterable[Event], sysroot: Sysroot | None = None) -> AbstractSet[str]:
    """Return the paths that a run used.

    With the tree it ran in also their targets, and the links on the way. A path
    below a directory that was only listed is not included.
    """
    paths: set[str] = set()
    for event in events:
        if isinstance(event, Access) and event.errno in ("", "EEXIST"):
            paths.update(path for path in (event.path, event.real) if path.startswith("/"))
    if sysroot is None:
        return paths
    for path in list(paths):
        asked, passed = plain(sysroot, path)
        paths.update((asked, *passed))
        try:
            canonical, links = sysroot.resolve(path)
        except Unreadable:
            continue
        paths.update((canonical, *(link.path for link in links)))
    return paths


def _sorted(entries: Iterable[Proposal]) -> tuple[Proposal, ...]:
    order = {key: index for index, key in enumerate(KEYS)}
    return tuple(sorted(entries, key=lambda entry: (order[entry.key], entry.value)))


def _settled(builder: ProposalBuilder, use: Use) -> bool:
    """Return whether a path needs no proposal: in the root, decided elsewhere, or refused here."""
    mode = mode_of(builder.sysroot, use.canonical)
    if stat.S_ISDIR(mode) or builder.has(use) or use.path in builder.found.made:
        return True
    if use.canonical.startswith(("/dev/", "/proc/")) or use.path == "/etc/localtime":
        return True  # machine() decides
    by = min(use.deeds.values())
    why = never(use.path) or never(use.canonical)
    if why:
        if use.deeds.keys() & OPENED:
            builder.refuse("/sys" if use.canonical.startswith("/sys/") else use.path, why, by)
        return True
    if stat.S_ISLNK(mode):
        return Deed.READLINK not in use.deeds
    if not stat.S_ISREG(mode):
        if not use.deeds.keys() & _MADE:
            kind = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a FIFO"}.get(stat.S_IFMT(mode), "a device")
            builder.refuse(use.path, f"{kind} of another daemon", by)
        return True
    return not is_input(builder, use)


def _libraries(builder: ProposalBuilder, uses: list[Use], spare: Optional) -> None:
    """Propose the modules, without the libraries in the closure of another."""
    named = "/etc/nsswitch.conf" in builder.known.artifacts
    switched: set[str] = set()
    wanted: dict[str, tuple[Use, AbstractSet[str]]] = {}
    for use in uses:
        closure = builder.known.closure(use.path)
        if is_nss(use.canonical) and not named:
            switched.update(closure)
            why = "a module of nsswitch.conf, which no root needs"
            builder.refuse(use.canonical, why, min(use.deeds.values()))
        else:
            wanted[use.path] = (use, closure)
    for path, (use, _) in list(wanted.items()):
        others = (closure for other, (_, closure) in wanted.items() if other != path)
        if use.canonical in switched or any(use.canonical in closure for closure in others):
            del wanted[path]
    for path, (use, closure) in wanted.items():
        if not builder.has(use) and not _is_secret(builder, use):
            if path in spare.modules:
                builder.spare("libraries", use)
            else:
                builder.take("libraries", use, *INPUT)
                builder.have.update(closure)


def _files(builder: ProposalBuilder, uses: list[Use], spare: Optional) -> None:
    for use in uses:
        seed(builder, use)
    for use in uses:
        if builder.has(use):
            continue
        directory = use.path.rpartition("/")[0]
        if "/etc/resolv.conf" in (use.path, use.canonical) and not builder.found.queries:
            builder.refuse(use.path, "no DNS query was sent", min(use.deeds.values()))
        elif not _is_secret(builder, use):
            lying = directory in spare.read or (directory in spare.swept and not use.deeds.keys() & OPENED)
            if use.path in spare.fragments or lying:
                builder.spare("files", use)
                continue
            builder.take("files", use, *INPUT)
            if is_script(builder.sysroot, use.canonical):
                builder.have.update(builder.known.closure(use.path))


def _is_secret(builder: ProposalBuilder, use: Use) -> bool:
    why = secret(builder.sysroot, use)
    if why:
        builder.refuse(use.path, why, min(use.deeds.values()), nameable=True)
    return bool(why)


def _unnameable(builder: ProposalBuilder) -> None:
    """Refuse paths that no target file can hold, and relative ones without a known directory."""
    for path, by in builder.found.loose.items():
        builder.refuse(path, "relative to a directory that the trace does not tell", by)
    for entries in (builder.entries, builder.spares):
        for key, entry in list(entries.items()):
            try:
                entry.value.encode()
            except UnicodeEncodeError:
                del entries[key]
                builder.refuse(entry.value, "its name is no UTF-8: rename it", By(entry.program, entry.call))
