"""Which directories have to exist: entered, listed, looked for, or something is made in them."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Set

from chrootbuild.host import Host
from chrootbuild.trace.access import Deed
from chrootbuild.trace.known import Known, Proposal
from chrootbuild.trace.rules import never
from chrootbuild.trace.uses import By, Use, Uses

__all__ = ["needed"]

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
# Whatever the host has mounted there: sticky, for everybody.
_STICKY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 -- paths in a root
_PLAIN = (0o755, 0, 0)


def needed(found: Uses, host: Host, known: Known, have: Set[str], seeds: Set[str]) -> Iterator[Proposal]:
    """Yield an entry of [directories] for each that the root does not have as the sysroot has it.

    One that is root's 0755, and above something that comes anyway, needs no entry.
    """
    homes = known.homes()
    wanted = dict(_wanted(found, host))
    above = {parent for path in have for parent in _parents(path)}
    entries: dict[str, Proposal] = {}
    for path, (words, by) in sorted(wanted.items()):
        canonical = host.canonical(path) if host.exists(path) else path
        for where in (path, *_parents(canonical)):
            direct = where == path
            if where == "/" or _covered(where, seeds, homes) or not _allowed(where, host):
                continue
            if not direct and (where in wanted or _state(host, where) == _PLAIN):
                continue
            if not _has(where, canonical if direct else where, host, known, above):
                says = words if direct else f"uses {path}"
                entries.setdefault(where, _entry(where, says, by))
    yield from entries.values()
    yield from _homes(found, homes, known)


def _wanted(found: Uses, host: Host) -> Iterator[tuple[str, tuple[str, By]]]:
    for path, by in found.parents.items():
        if host.isdir(path):
            yield path, ("makes files in it", by)
    for path, by in found.passed.items():
        if host.isdir(path):
            yield path, ("goes through it", by)
    for path, use in found.uses.items():
        if host.isdir(path) and path not in found.made:
            deed = _deed(use, found)
            if deed is not None and not (deed in (Deed.STAT, Deed.OPENDIR) and path in found.parents):
                yield path, (_USED[deed], use.deeds[deed])


def _deed(use: Use, found: Uses) -> Deed | None:
    for deed in _USED:
        if deed in use.deeds and not (deed is Deed.OPENDIR and found.lists and len(use.deeds) == 1):
            return deed
    return None


def _parents(path: str) -> Iterator[str]:
    parent = path.rpartition("/")[0]
    while parent:
        yield parent
        parent = parent.rpartition("/")[0]


def _covered(path: str, seeds: Set[str], homes: dict[str, tuple[int, int]]) -> bool:
    tops = (*seeds, *homes)
    return any(path == top or path.startswith(f"{top}/") for top in tops)


def _allowed(path: str, host: Host) -> bool:
    if never(path, directory=True):
        return False
    if path == "/dev" or (path.startswith("/dev/") and path != "/dev/shm"):  # noqa: S108
        return False
    # A closed directory of /etc is for secrets; one of /var is for the service's own files.
    state = _state(host, path)
    return not (path.startswith("/etc/") and state is not None and state[0] & 0o005 != 0o005)


def _state(host: Host, path: str) -> tuple[int, int, int] | None:
    info = host.stat(path)
    if info is None or not stat.S_ISDIR(info.st_mode):
        return None
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def _has(path: str, canonical: str, host: Host, known: Known, above: Set[str]) -> bool:
    """Tell whether the root has a directory as the sysroot has it, with the links on the way."""
    links = host.resolve(path)[1] if host.exists(path) else ()
    if any(link.path not in known.artifacts for link in links):
        return False
    state = _state(host, canonical)
    artifact = known.artifacts.get(canonical)
    if artifact is not None:
        return not artifact.implied or (artifact.mode, artifact.uid, artifact.gid) == state
    return canonical in above and state == _PLAIN


def _entry(path: str, words: str, by: By) -> Proposal:
    table = (("mode", "1777"),) if path in _STICKY else ()
    name = by.program.rpartition("/")[2] or "the program"
    return Proposal("directories", path, f"{name} {words}", by.program, by.call, table)


def _homes(found: Uses, homes: dict[str, tuple[int, int]], known: Known) -> Iterator[Proposal]:
    """Yield the homes of the root's own accounts that were entered or written to: empty, their owner's."""
    seen = {**found.parents, **{path: by for path, (_, by) in found.absent.items()}}
    for path, use in found.uses.items():
        if use.deeds.keys() & {Deed.ENTER, Deed.STAT, Deed.LIST}:
            seen.setdefault(path, min(use.deeds.values()))
    for home, (uid, gid) in sorted(homes.items()):
        users = [by for path, by in seen.items() if path == home or path.startswith(f"{home}/")]
        if (
            users
            and home not in known.artifacts
            and not never(home.replace("/home/", "/srv/", 1), directory=True)
        ):
            by = min(users)
            name = by.program.rpartition("/")[2] or "the program"
            yield Proposal(
                "directories",
                home,
                f"{name} uses it",
                by.program,
                by.call,
                (("mode", "0755"), ("owner", str(uid)), ("group", str(gid))),
            )
