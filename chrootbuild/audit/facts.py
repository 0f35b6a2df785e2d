"""Facts that the rules judge: entries of a root, one a path, and facts of the root as a whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from chrootbuild.artifact import Artifact
from chrootbuild.audit.listeners import NO_LISTENERS, Listeners
from chrootbuild.console import SILENT, Progress
from chrootbuild.findings import Finding, Severity
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Installed, Record
from chrootbuild.system.rights.acl import NO_ATTRIBUTES, Acl, Attributes, mask_of
from chrootbuild.target.model import Target

READ, WRITE, EXECUTE = 4, 2, 1


@dataclass(frozen=True, slots=True)
class Person:
    """A user that the daemon is or may become, never root: numbers, and a name for messages."""

    uid: int
    gids: frozenset[int]
    name: str

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})" if self.name else f"uid {self.uid}"


# Any other user, to whom the last three permission bits apply.
OTHERS = Person(-1, frozenset(), "others")


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of the root.

    ``head`` is the start of a regular file, None where it cannot be read. ``free``: it is
    daemon-owned (a declared directory, a path in one, a seed). ``reach`` are the users who can reach it.
    """

    path: str
    info: os.stat_result
    parent: Entry | None
    installed: Installed | None
    free: bool
    reach: frozenset[Person]
    head: bytes | None = b""
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def acl(self) -> Acl:
        """Return its access ACL."""
        return self.attributes.acl

    @property
    def capability(self) -> bool:
        """Return whether it has file capabilities."""
        return self.attributes.capability

    @property
    def is_file(self) -> bool:
        """Return whether the path is a regular file."""
        return stat.S_ISREG(self.info.st_mode)

    @property
    def is_directory(self) -> bool:
        """Return whether the path is a directory."""
        return stat.S_ISDIR(self.info.st_mode)

    @property
    def is_program(self) -> bool:
        """Return whether the path is ELF, an executable script, or an executable that cannot be read."""
        if not self.is_file:
            return False
        executable = bool(self.info.st_mode & 0o111)
        if self.head is None:
            return executable
        return self.head.startswith(b"\x7fELF") or (executable and self.head.startswith(b"#!"))

    @property
    def name(self) -> str:
        """Return the last component."""
        return self.path.rpartition("/")[2]


def can(person: Person, entry: Entry, bit: int) -> bool:
    """Return whether a user, not root, may read, write or execute an entry (``bit`` 4, 2, 1): acl(5)."""
    mode = entry.info.st_mode
    if person.uid == entry.info.st_uid:
        return bool(mode >> 6 & bit)
    # With an ACL the mode's group bits are its mask, and the group's own are in the ACL.
    mask = mask_of(entry.acl, mode)
    for uid, permissions in entry.acl.users:
        if uid == person.uid:
            return bool(permissions & mask & bit)
    groups = [permissions for gid, permissions in entry.acl.groups if gid in person.gids]
    if entry.info.st_gid in person.gids:
        groups.append(mode >> 3 & 7 if entry.acl.group is None else entry.acl.group)
    if groups:
        return any(permissions & mask & bit for permissions in groups)
    return bool(mode & bit)


@dataclass(frozen=True, slots=True)
class Mount:
    """A filesystem mounted in the root; ``path`` is in the root.

    ``private``: visible only to processes of the root with a mount namespace of their own.
    """

    path: str
    type: str
    writable: bool
    private: bool = False
    source: str = ""  # the directory outside the root that it shows: of a bind mount


@dataclass(frozen=True, slots=True)
class Process:
    """A process whose root directory is this root; ``program`` is its path in the root, or empty.

    ``outside`` are its ways out: "its working directory is /x". ``capabilities`` is 0 in a user
    namespace of its own, where they have no effect on the host.
    """

    pid: int
    name: str
    uid: int
    capabilities: int
    program: str = ""
    gids: frozenset[int] = frozenset()
    outside: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a root known before the walk.

    ``setuid``, ``named`` (the programs of ``binaries``) and ``exact`` (the paths of ``files``, no
    trees or globs) are canonical in the root. ``trusted`` are the uids of root and the root's builder.
    """

    target: Target
    root: Root
    system: str  # "linux" or "freebsd"
    record: Record | None = None
    planned: Mapping[str, Artifact] | None = None  # without a record: what a build would install
    people: tuple[Person, ...] = ()
    setuid: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    exact: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()  # declared directories and seeds
    trusted: frozenset[int] = frozenset({0})
    trusted_groups: frozenset[int] = frozenset({0})
    knows_user: Callable[[int], bool] = lambda uid: (
        uid == 0
    )  # that has an account, in the root or the sysroot
    knows_group: Callable[[int], bool] = lambda gid: gid == 0
    mounts: tuple[Mount, ...] = ()
    processes: tuple[Process, ...] = ()
    listeners: Listeners = NO_LISTENERS
    places: tuple[str, ...] = ()  # real paths that decide what the root will be
    bar: Progress = SILENT  # of a rule that reads every byte


def is_wanted(entry: Entry, facts: Facts) -> bool:
    """Return whether the target brings a path: it was installed, or without a record is planned."""
    return entry.installed is not None or (facts.planned is not None and entry.path in facts.planned)


@dataclass(slots=True)
class Linked:
    """A file with several hard links: their number, and the number met in the root."""

    entry: Entry
    met: int = 1


@dataclass(slots=True)
class Summary:
    """Totals of the walk, for the rules that judge the whole."""

    links: dict[int, Linked] = field(default_factory=dict)  # by inode
    uids: dict[int, list[str | int]] = field(default_factory=dict)  # uid: first path, count
    gids: dict[int, list[str | int]] = field(default_factory=dict)
    programs: dict[str, int] = field(default_factory=dict)  # programs and libraries: inode
    unreadable: list[str | int] = field(default_factory=list)  # first path, count

    def add(self, entry: Entry) -> None:
        """Add one path to the totals."""
        for table, number in ((self.uids, entry.info.st_uid), (self.gids, entry.info.st_gid)):
            _count(table.setdefault(number, []), entry.path)
        here = entry.parent is not None and entry.parent.info.st_dev == entry.info.st_dev
        if entry.info.st_nlink > 1 and not entry.is_directory and here:
            known = self.links.get(entry.info.st_ino)
            if known is None:
                self.links[entry.info.st_ino] = Linked(entry)
            else:
                known.met += 1
        if entry.head is None:
            _count(self.unreadable, entry.path)
        elif entry.is_program and not entry.free:
            self.programs[entry.path] = entry.info.st_ino


def _count(counter: list[str | int], path: str) -> None:
    if counter:
        counter[1] = int(counter[1]) + 1
    else:
        counter += [path, 1]


def others(counter: list[str | int]) -> str:
    """Return the number of paths after the first, in words."""
    more = int(counter[1]) - 1
    return f", and {more} more" if more else ""


def ancestors(entry: Entry) -> Iterator[Entry]:
    """Yield the directories above an entry, the nearest first."""
    above = entry.parent
    while above is not None:
        yield above
        above = above.parent


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; ``severities`` describes when a finding has which severity: as in docs/audit.md."""

    id: str
    severities: str
    reason: str
    remedy: str

    def error(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding that makes audit fail."""
        return self._finding("error", path, fact, more)

    def warning(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding that somebody should examine."""
        return self._finding("warning", path, fact, more)

    def note(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding for information; it needs no remedy."""
        return Finding("note", self.id, path, "\n".join((fact, *more)))

    def _finding(self, severity: Severity, path: str, fact: str, more: tuple[str, ...]) -> Finding:
        return Finding(severity, self.id, path, "\n".join((fact, *more)), self.remedy)
