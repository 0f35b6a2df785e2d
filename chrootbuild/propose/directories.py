"""Directories that a run needs: entered, listed, looked up, or written in."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from chrootbuild.propose.builder import ProposalBuilder, reason
from chrootbuild.propose.model import Proposal
from chrootbuild.propose.rules import never, zone
from chrootbuild.propose.uses import By, Use, Uses
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.sysroot.runtime_directories import runtime_directories
from chrootbuild.trace.events import Deed

# ruff: noqa: S108 -- paths in a root, none is written to

_USED = {
    Deed.MKDIR: "makes it",
    Deed.CHROOT: "makes it its root",
    Deed.ENTER: "enters it",
    Deed.LIST: "lists it",
    Deed.OPENDIR: "opens it",
    Deed.READ: "opens it",
    Deed.STAT: "looks for it",
    Deed.ACCESS: "looks for it",
    Deed.ACCESS_EXEC: "looks for it",
    Deed.CHANGE: "changes it",
    Deed.RENAME_FROM: "renames it",
}
_WEAK = frozenset({Deed.STAT, Deed.ACCESS, Deed.ACCESS_EXEC, Deed.LIST, Deed.OPENDIR, Deed.READ})
# Independent of the host's mount: sticky, for everybody.
_STICKY = ("/tmp", "/var/tmp", "/dev/shm")
_PLAIN = (0o755, 0, 0)
_HOMES = ("/home/", "/usr/home/", "/export/home/")
_ORDINARY = 1000  # uids of ordinary users, adduser.conf(5)

Homes = Mapping[str, tuple[int, int]]


def needed(builder: ProposalBuilder, swept: Mapping[str, str]) -> Iterator[Proposal]:
    """Yield an entry of [directories] for each that differs between root and sysroot.

    A parent of another path that is root's and 0755 needs no entry; nor do
    directories below the top of a swept tree (``swept``).
    """
    sysroot = builder.sysroot
    homes = _homes(builder)
    entries: dict[str, Proposal] = {}
    wanted = dict(_wanted(builder.found, sysroot))
    above = {parent for path in builder.have for parent in _parents(path)}
    for path, (words, by) in sorted(wanted.items()):
        if swept.get(path, path) != path:
            continue
        if _wants(builder, path, homes, above):
            entries[path] = _entry(path, words, by)
        for parent in _parents(sysroot.canonical(path)):
            if parent in wanted or parent in entries or _state(sysroot, parent) == _PLAIN:
                continue
            if _wants(builder, parent, homes, above):
                entries[parent] = _entry(parent, f"uses {path}", by)
    for path, entry in (*_made_at_start(builder), *_used_homes(builder, homes)):
        entries.setdefault(path, entry)
    above = {parent for path in entries for parent in _parents(path)}
    for path, entry in entries.items():
        if path not in above or entry.table or _state(sysroot, path) != _PLAIN:
            yield entry


def _wanted(found: Uses, sysroot: Sysroot) -> Iterator[tuple[str, tuple[str, By]]]:
    for path, by in found.passed.items():
        if sysroot.isdir(path):
            yield path, ("goes through it", by)
    for path, use in found.uses.items():
        deed = _deed(use, found)
        if deed is None or not sysroot.isdir(path) or path in found.made:
            continue
        if deed in _WEAK and zone(use.canonical) in ("/run", "/var/run"):
            continue  # other daemons' exist only while they run
        yield path, (_USED[deed], use.deeds[deed])
    for path, by in found.parents.items():
        if sysroot.isdir(path):
            yield path, ("makes files in it", by)


def _deed(use: Use, found: Uses) -> Deed | None:
    """Return the strongest operation; OPENDIR does not count if the trace shows listings."""
    for deed in _USED:
        if deed in use.deeds and not (deed is Deed.OPENDIR and found.lists):
            return deed
    return None


def _parents(path: str) -> Iterator[str]:
    parent = path.rpartition("/")[0]
    while parent:
        yield parent
        parent = parent.rpartition("/")[0]


def _wants(builder: ProposalBuilder, path: str, homes: Homes, above: set[str]) -> bool:
    """Return whether a directory may be proposed, and root and sysroot differ."""
    sysroot = builder.sysroot
    if path == "/" or never(path, directory=True) or path in homes:
        return False
    if any(path == top or path.startswith(f"{top}/") for top in builder.seeds):
        return False
    if path == "/dev" or (path.startswith("/dev/") and path != "/dev/shm"):
        return False
    canonical, links = sysroot.resolve(path)
    state = _state(sysroot, canonical)
    if canonical.startswith("/etc/") and state is not None and state[0] & 0o005 != 0o005:
        return False  # closed to others: for secrets
    if any(link.path not in builder.known.artifacts for link in links):
        return True
    artifact = builder.known.artifacts.get(canonical)
    if artifact is not None:
        return artifact.implied and (artifact.mode, artifact.uid, artifact.gid) != state
    return canonical not in above or state != _PLAIN


def _state(sysroot: Sysroot, path: str) -> tuple[int, int, int] | None:
    info = sysroot.stat(path)
    if info is None or not stat.S_ISDIR(info.st_mode):
        return None
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def _entry(path: str, words: str, by: By, *table: tuple[str, str]) -> Proposal:
    if path in _STICKY:
        table = (("mode", "1777"),)
    return Proposal("directories", path, reason(by, words), by.program, by.call, table)


# -- directories that differ from the sysroot's -------------------------------------------


def _made_at_start(builder: ProposalBuilder) -> Iterator[tuple[str, Proposal]]:
    """Yield those that the system makes at a service's start, if it was not started."""
    asked = {**builder.found.absent, **builder.found.parents}
    if not asked:
        return
    for path, made in runtime_directories(builder.sysroot).items():
        users = _users(path, asked)
        if users and path not in builder.known.artifacts and not builder.sysroot.exists(path):
            settings = (("mode", made.mode), ("owner", made.owner), ("group", made.group))
            yield path, _entry(path, "uses it", min(users), *settings)


def _homes(builder: ProposalBuilder) -> Homes:
    """Return the homes of ordinary users among the root's accounts.

    A system account's home is not one: its use decides its owner.
    """
    return {
        home: ids
        for home, ids in builder.known.homes().items()
        if (ids[0] >= _ORDINARY or home.startswith(_HOMES)) and not home.startswith("/root")
    }


def _used_homes(builder: ProposalBuilder, homes: Homes) -> Iterator[tuple[str, Proposal]]:
    """Yield the homes that were used, empty and owned by their user."""
    asked = {**builder.found.absent, **builder.found.parents}
    for path, use in builder.found.uses.items():
        asked.setdefault(path, min(use.deeds.values()))
    for home, (uid, gid) in homes.items():
        users = _users(home, asked)
        if users and home not in builder.known.artifacts:
            settings = (("mode", "0755"), ("owner", str(uid)), ("group", str(gid)))
            yield home, _entry(home, "uses it", min(users), *settings)


def _users(directory: str, asked: Mapping[str, By]) -> list[By]:
    return [by for path, by in asked.items() if path == directory or path.startswith(f"{directory}/")]
