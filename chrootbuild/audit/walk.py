"""The one walk of audit: every path of a root with the facts that the rules need, in constant memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from chrootbuild.audit.facts import EXECUTE, OTHERS, Entry, Facts, Person, can
from chrootbuild.audit.rules.whole_root import UNREADABLE
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.paths import join
from chrootbuild.root.tree import Root
from chrootbuild.system.rights.acl import attributes

_HEAD = 4096  # bytes
_PATH_MAX = (
    4096  # bytes, with the NUL: path_resolution(7). Deeper ones would be opened by components, each anew
)
_STAGING = ("/.chrootbuild", "/.chrootbuild-kept")


def walk(facts: Facts, unreadable: Callable[[Finding], None]) -> Iterator[Entry]:
    """Yield every path of the root, parents first; other filesystems are left out.

    ``unreadable`` is called with directories that cannot be listed, or are too deep. The names of a
    directory are not collected: somebody may have put any number there.
    """
    top = _top(facts)
    yield top
    stack = [top]
    while stack:
        here = stack.pop()
        if len(os.fsencode(here.path)) >= _PATH_MAX:
            fact = "its path is longer than a path can be: what is in it was not looked at"
            unreadable(UNREADABLE.warning(here.path, fact))
            continue
        try:
            for entry in _names(facts, here):
                yield entry
                if entry.is_directory and entry.info.st_dev == facts.root.dev:
                    stack.append(entry)
        except OSError as error:
            unreadable(UNREADABLE.note(here.path, error.strerror or "it cannot be listed"))
        except Failure as failure:
            if not _is_mount(facts.root, here.path):
                unreadable(UNREADABLE.note(here.path, failure.message))


def _is_mount(root: Root, path: str) -> bool:
    try:
        return root.is_mount(path)
    except Failure:
        return False


def _names(facts: Facts, here: Entry) -> Iterator[Entry]:
    held = facts.root.directory(here.path)
    if held is None:
        return  # removed, or replaced by a link, meanwhile
    reach = frozenset(person for person in here.reach if can(person, here, EXECUTE))
    fd = os.dup(held)  # the rules may make the root release its held descriptors
    try:
        with os.scandir(fd) as names:
            for name in names:
                entry = _entry(facts, here, name.name, fd, reach)
                if entry is not None:
                    yield entry
    finally:
        os.close(fd)


def _top(facts: Facts) -> Entry:
    people: frozenset[Person] = frozenset((OTHERS, *facts.people))
    return Entry(
        "/",
        os.fstat(facts.root.fd),
        None,
        None,
        "/" in facts.free,
        people,
        attributes=attributes(facts.root.fd, "."),
    )


def _entry(facts: Facts, parent: Entry, name: str, fd: int, reach: frozenset[Person]) -> Entry | None:
    path = join(parent.path, name)
    try:
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if path in _STAGING and info.st_uid == 0 and not info.st_mode & 0o077:
        return None  # our staging, which nobody else can read
    installed = None if facts.record is None else facts.record.artifacts.get(path)
    free = path in facts.free or (parent.free and installed is None)
    head = _head(facts.root, path) if stat.S_ISREG(info.st_mode) and info.st_dev == facts.root.dev else b""
    return Entry(path, info, parent, installed, free, reach, head, attributes(fd, name))


def _head(root: Root, path: str) -> bytes | None:
    """Return the start of a regular file; None where it cannot be read."""
    try:
        fd = root.open(path)
        if fd is None:
            return None
        try:
            return os.pread(fd, _HEAD, 0)
        finally:
            os.close(fd)
    except (OSError, Failure):
        return None
