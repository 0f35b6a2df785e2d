"""Summary of a trace: the operations on each existing path, and the first program of each.

A path that the run itself made is not input, but needs its directory. Order
matters only for state: read before written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chrootbuild.errors import Failure
from chrootbuild.sysroot.lookup import Link, Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Access, Deed, Event, Identity

_LIMIT = 1_000_000  # paths; no trace of a service has more

# The path exists although the call failed: errno(3), and the pages of the calls.
_THERE = {
    Deed.MKDIR: frozenset({"EEXIST"}),
    Deed.MAKE: frozenset({"EEXIST"}),
    Deed.BIND: frozenset({"EADDRINUSE"}),
    Deed.READ: frozenset({"EEXIST", "EISDIR", "ELOOP", "ENXIO", "ETXTBSY"}),
    Deed.WRITE: frozenset({"EEXIST", "EISDIR", "ELOOP", "ENXIO", "ETXTBSY"}),
    Deed.UPDATE: frozenset({"EEXIST", "EISDIR", "ELOOP", "ENXIO", "ETXTBSY"}),
    Deed.READLINK: frozenset({"EINVAL"}),
    Deed.STAT: frozenset({"ENODATA", "EOPNOTSUPP", "ENOTSUP", "ERANGE", "EEXIST"}),
    Deed.CONNECT: frozenset({"EINPROGRESS", "ECONNREFUSED", "EAGAIN", "EACCES", "EPROTOTYPE"}),
    Deed.QUERY: frozenset({"EINPROGRESS", "ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH"}),
}
_MAKES = frozenset({Deed.MKDIR, Deed.MAKE, Deed.BIND, Deed.RENAME_TO})
# They change the directory, or would have made an absent file.
_WRITES_BELOW = _MAKES | {Deed.REMOVE, Deed.RENAME_FROM, Deed.WRITE, Deed.UPDATE}
_CONTENT = frozenset({Deed.READ, Deed.UPDATE, Deed.EXEC, Deed.MAP})
_WRITES = frozenset({Deed.WRITE, Deed.UPDATE, Deed.RENAME_TO})


@dataclass(frozen=True, slots=True, order=True)
class By:
    """Origin of an operation: the program's path and the call."""

    program: str
    call: str


@dataclass(slots=True)
class Use:
    """One path that leads somewhere in the sysroot."""

    path: str  # as requested, without ".."
    canonical: str
    links: tuple[Link, ...]
    deeds: dict[Deed, By] = field(default_factory=dict)


@dataclass(slots=True)
class _History:
    read_first: bool = False
    written: bool = False


@dataclass(slots=True)
class Uses:
    """Paths, identities and arguments of a run."""

    uses: dict[str, Use] = field(default_factory=dict)  # by path as requested
    parents: dict[str, By] = field(default_factory=dict)  # directories of created paths
    passed: dict[str, By] = field(default_factory=dict)  # directories before a ".."
    absent: dict[str, By] = field(default_factory=dict)  # used, but not in the sysroot
    loose: dict[str, By] = field(default_factory=dict)  # relative to an unknown directory
    sockets: dict[str, By] = field(default_factory=dict)  # connected to, successfully or not
    made: set[str] = field(default_factory=set)
    identities: dict[Identity, None] = field(default_factory=dict)
    words: dict[tuple[str, ...], By] = field(default_factory=dict)  # every argv
    listed: dict[str, set[str]] = field(default_factory=dict)  # program: directories
    looks: dict[str, set[str]] = field(default_factory=dict)  # program: paths it used, also canonical
    opens: dict[tuple[str, str], int] = field(default_factory=dict)  # (program, path below /proc): count
    queries: bool = False
    lists: bool = False  # the trace shows listings
    histories: dict[str, _History] = field(default_factory=dict)  # by canonical path

    def is_state(self, canonical: str) -> bool:
        """Return whether a file was read, then written."""
        history = self.histories.get(canonical)
        return history is not None and history.read_first and history.written


def plain(sysroot: Sysroot, path: str) -> tuple[str, tuple[str, ...]]:
    """Return an absolute path without "..", and the directories before each "..".

    The component before ".." may be a link, so the sysroot decides.
    """
    if "/.." not in path:
        return path, ()
    done = ""
    passed: list[str] = []
    for part in path.split("/"):
        if part == "..":
            passed.append(done or "/")
            try:
                done = sysroot.canonical(done or "/").rpartition("/")[0]
            except Unreadable:
                done = done.rpartition("/")[0]
        elif part not in ("", "."):
            done = f"{done}/{part}"
    return done or "/", tuple(passed)


def collect(events: Iterable[Event], sysroot: Sysroot) -> Uses:
    """Summarise a run's events; raises Failure for a trace of more than a million paths."""
    found = Uses()
    seen: dict[str, Use | None] = {}
    for event in events:
        if isinstance(event, Identity):
            found.identities.setdefault(Identity(0, event.program, event.call, event.users, event.groups))
        elif event.deed is Deed.QUERY:
            found.queries = found.queries or not event.errno or event.errno in _THERE[Deed.QUERY]
        else:
            _gather(found, event, sysroot, seen)
    return found


def _gather(found: Uses, event: Access, sysroot: Sysroot, seen: dict[str, Use | None]) -> None:
    by = By(event.program, event.call)
    if not event.path.startswith("/"):
        if not event.errno:
            _least(found.loose, event.path, by)
        return
    path, passed = plain(sysroot, event.path)
    if event.deed is Deed.CONNECT:
        _least(found.sockets, path, by)
    if event.errno and event.errno not in _THERE.get(event.deed, ()):
        if event.deed is Deed.ENTER and event.errno == "ENOENT":
            _least(found.absent, path, by)
        return
    for directory in passed:
        _least(found.passed, directory, by)
    if event.deed is Deed.EXEC and event.words and not event.errno and len(found.words) < _LIMIT:
        words = By(path, event.call)
        found.words[event.words] = min(found.words.get(event.words, words), words)
    if path not in seen:
        if len(seen) >= _LIMIT:
            raise Failure(f"cannot use the trace: it names more than {_LIMIT} paths")
        seen[path] = _use(sysroot, path)
    _note(found, event, path, seen[path], by)


def _use(sysroot: Sysroot, path: str) -> Use | None:
    try:
        canonical, links = sysroot.resolve(path)
    except Unreadable:
        info = sysroot.lstat(path) if "\0" not in path else None
        return None if info is None else Use(path, path, ())  # a dangling link
    return Use(path, canonical, links)


def _note(found: Uses, event: Access, path: str, use: Use | None, by: By) -> None:
    deed = event.deed
    if event.creates or deed in _WRITES_BELOW:
        parent = path.rpartition("/")[0] or "/"
        if not event.errno and use is None and (event.creates or deed in _MAKES):
            found.made.add(path)
        if parent not in found.made:
            _least(found.parents, parent, by)
    where = use.canonical if use else path
    found.looks.setdefault(by.program, set()).update((path, where))
    if deed in (Deed.LIST, Deed.OPENDIR):
        found.listed.setdefault(by.program, set()).update((path, where))
    if use is None:
        if path not in found.made:
            _least(found.absent, path, by)
        return
    found.uses.setdefault(path, use)
    if deed not in use.deeds or by < use.deeds[deed]:
        use.deeds[deed] = by
    if deed is Deed.LIST:
        found.lists = True
    if use.canonical.startswith("/proc") and deed in (Deed.READ, Deed.LIST):
        key = (by.program, use.canonical)
        found.opens[key] = found.opens.get(key, 0) + 1
    history = found.histories.setdefault(use.canonical, _History())
    if deed in _CONTENT and not history.written and not event.errno:
        history.read_first = True
    if deed in _WRITES and not event.errno:
        history.written = True


def _least(table: dict[str, By], key: str, by: By) -> None:
    """Keep the least reason, so that it does not depend on the order of processes."""
    if key not in table or by < table[key]:
        table[key] = by
