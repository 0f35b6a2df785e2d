"""Accounts that a run needs: by ids used, by names in arguments and configuration, by names in programs.

A trace shows no account names, only that passwd or group was read. Names are
searched in a program's sources of them: its arguments, the configuration it
read, and its strings; and only for programs that look accounts up at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from chrootbuild.accounts.passwd import Group, User, parse_groups, parse_users
from chrootbuild.artifact import Artifact
from chrootbuild.propose.builder import name_of, reason
from chrootbuild.propose.model import Known, Proposal
from chrootbuild.propose.rules import is_library_name
from chrootbuild.propose.uses import By, Uses
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Deed

# Read by libc and login programs: names in them do not show a need.
_DATABASES = frozenset(
    {"/etc/services", "/etc/protocols", "/etc/networks", "/etc/hosts", "/etc/login.defs", "/etc/mime.types"}
)
_LOOKUPS = frozenset({"/etc/passwd", "/etc/group", "/etc/pwd.db", "/etc/master.passwd", "/etc/spwd.db"})
_TEXT_LIMIT = 256 << 10  # bytes; a configuration is smaller
_PROGRAM_LIMIT = 64 << 20
# Before a name on the same line, these mark the value as an account.
_CONTEXT = re.compile(
    rb"(?i)(?:user|owner|group|uid|gid|account|privs|runas|run_as|chown)[\w.-]{0,64}[\s=:\"']", re.ASCII
)
_WORD = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_COMMENT = (b"#", b";", b"//")
_OPTION = re.compile(r"(?i)-u|-g|--?[a-z-]{0,64}(?:user|group|uid|gid|owner)[a-z-]{0,64}")
_NOBODY = 65534
_SYSTEM = 100  # uids below are Debian's and FreeBSD's fixed ones, whose names are common words


class _Evidence(NamedTuple):
    """One sign that an account is needed, in the order in which the signs of an account count."""

    name: str
    group: bool
    weaker: bool  # than the ids that a process switched to
    why: str
    by: By


@dataclass(slots=True)
class _Book:
    users: dict[str, User]
    groups: dict[str, Group]
    uids: dict[int, str]
    gids: dict[int, str]


def accounts(found: Uses, sysroot: Sysroot, known: Known) -> Iterator[Proposal]:
    """Yield the users and groups to keep that the sysroot has and the root lacks."""
    book = _book(sysroot)
    kept = {name.decode("utf-8", "surrogateescape") for name in (user.name for user in known.users())}
    users: dict[str, Proposal] = {}
    groups: dict[str, Proposal] = {}
    for name, group, _, why, by in sorted(_evidence(found, sysroot, known, book)):
        table, key = (groups, "accounts.groups") if group else (users, "accounts.users")
        table.setdefault(name, Proposal(key, name, why, by.program, by.call))
    for name in kept:
        users.pop(name, None)
    # A kept user's primary group is kept with it.
    gids = set(known.groups())
    gids.update(user.gid for name in users if (user := book.users.get(name)) and user.gid is not None)
    yield from users.values()
    yield from (proposal for name, proposal in groups.items() if book.groups[name].gid not in gids)


def _evidence(found: Uses, sysroot: Sysroot, known: Known, book: _Book) -> Iterator[_Evidence]:
    """Yield the signs of all accounts, unordered, names repeated."""
    for identity in found.identities:
        by = By(identity.program, identity.call)
        gives = "chown" in identity.call
        why = reason(by, "gives files to it" if gives else "switches to it")
        for uid in identity.users:
            if uid in book.uids:
                yield _Evidence(book.uids[uid], False, gives, why, by)
        for gid in identity.groups:
            if gid in book.gids:
                yield _Evidence(book.gids[gid], True, gives, why, by)
    yield from _by_name(found, sysroot, known, book)


def _by_name(found: Uses, sysroot: Sysroot, known: Known, book: _Book) -> Iterator[_Evidence]:
    readers = _readers(found)
    if not readers:
        return
    if known.uid == 0 and "root" in book.users:
        program = min(readers)
        by = readers[program]
        yield _Evidence("root", False, True, reason(by, "starts as root and reads passwd"), by)
    for words, by in found.words.items():
        for name, group in _in_argv(words, book):
            yield _Evidence(name, group, True, f"an argument of {name_of(by.program)}", by)
    for path, by, content in _configuration(found, sysroot, known):
        for name, group in _in_text(content, book):
            yield _Evidence(name, group, True, f"named in {path}", by)
    for program, by in readers.items():
        for name in _in_programs(program, found, sysroot, book):
            yield _Evidence(name, False, True, f"a name within {name_of(program)}", by)
        yield from _owners(program, by, found, sysroot, known, book)


def _book(sysroot: Sysroot) -> _Book:
    def name(raw: bytes) -> str:
        return raw.decode("utf-8", "surrogateescape")

    book = _Book({}, {}, {}, {})
    for user in parse_users(sysroot.content("/etc/passwd")).users:
        if user.uid is not None and not user.nis:
            book.users.setdefault(name(user.name), user)
            book.uids.setdefault(user.uid, name(user.name))
    for group in parse_groups(sysroot.content("/etc/group")).groups:
        if group.gid is not None and not group.nis:
            book.groups.setdefault(name(group.name), group)
            book.gids.setdefault(group.gid, name(group.name))
    return book


def _readers(found: Uses) -> dict[str, By]:
    """Return the programs that looked accounts up."""
    readers: dict[str, By] = {}
    for program, paths in found.looks.items():
        if paths & _LOOKUPS:
            path = min(paths & _LOOKUPS)
            use = found.uses.get(path)
            call = next((by.call for by in use.deeds.values()), "open") if use else "open"
            readers[program] = By(program, call)
    return readers


def _in_argv(words: tuple[str, ...], book: _Book) -> Iterator[tuple[str, bool]]:
    before = ""
    for word in words[1:]:
        option = bool(_OPTION.fullmatch(before)) or bool(_OPTION.match(word) and "=" in word)
        for part in re.split(r"[=:,]", word):
            user, group = book.users.get(part), book.groups.get(part)
            if user is not None and user.uid and (option or user.uid >= _SYSTEM):
                yield part, False
            if group is not None and group.gid and option:
                yield part, True
        before = word


def _configuration(found: Uses, sysroot: Sysroot, known: Known) -> Iterator[tuple[str, By, bytes]]:
    """Yield the files read, except package data (/usr) and account files."""
    for path, use in sorted(found.uses.items()):
        by = use.deeds.get(Deed.READ)
        where = use.canonical
        if by is None or where in _LOOKUPS or where in _DATABASES:
            continue
        if where.startswith(("/usr/", "/lib", "/proc/", "/sys/", "/dev/")) and not where.startswith(
            "/usr/local/etc/"
        ):
            continue
        yield path, by, _text(where, sysroot)
    # Text of the target: the trace shows it opened, the sysroot lacks it.
    for path, artifact in known.artifacts.items():
        if artifact.content and path not in _LOOKUPS and not sysroot.exists(path):
            yield path, By("", "open"), artifact.content[:_TEXT_LIMIT]


def _text(path: str, sysroot: Sysroot) -> bytes:
    content = sysroot.content(path, _TEXT_LIMIT)
    return b"" if b"\0" in content else content


def _in_text(content: bytes, book: _Book) -> Iterator[tuple[str, bool]]:
    names = {name.encode("utf-8", "surrogateescape") for name in (*book.users, *book.groups)}
    for line in content.split(b"\n"):
        line = line.strip()
        if line.startswith(_COMMENT):
            continue
        context = _CONTEXT.search(line)
        if context is None:
            continue
        for word in _WORD.findall(line, context.end()):
            if word in names:
                name = word.decode("utf-8", "surrogateescape")
                user = book.users.get(name)
                if user is not None and user.uid:
                    yield name, False
                elif name in book.groups and book.groups[name].gid:
                    yield name, True


def _in_programs(program: str, found: Uses, sysroot: Sysroot, book: _Book) -> Iterator[str]:
    """Yield the accounts that are a whole string in a program or its own libraries.

    Only names that are not words: nobody, and names with - or _; also the
    account of the program's own name.
    """
    own = book.users.get(name_of(program))
    if own is not None and own.uid is not None and own.uid >= _SYSTEM:
        yield name_of(program)
    names = [
        name
        for name, user in book.users.items()
        if user.uid and (user.uid == _NOBODY or "-" in name or "_" in name)
    ]
    if not names:
        return
    # Linkers merge a string into the end of another.
    pattern = re.compile(
        rb"(?<![A-Za-z0-9_.-])(?:%s)(?=\0)"
        % b"|".join(re.escape(n.encode("utf-8", "surrogateescape")) for n in names)
    )
    for path in sorted({program, *_own_libraries(program, found)}):
        content = sysroot.content(path, _PROGRAM_LIMIT) if path.startswith("/") else b""
        for name in sorted(set(pattern.findall(content))):
            yield name.decode("utf-8", "surrogateescape")


def _own_libraries(program: str, found: Uses) -> Iterator[str]:
    """Yield the libraries that a program loaded from outside the shared library directories."""
    for path in found.looks.get(program, ()):
        if is_library_name(path) and not _SHARED.fullmatch(path.rpartition("/")[0]):
            yield path


_SHARED = re.compile(
    r"(?:/usr)?(?:/local)?/lib(?:32|64|x32)?(?:/[a-z0-9_]+-linux-[a-z0-9]+)?(?:/glibc-hwcaps/.*)?"
)


def _owners(
    program: str, by: By, found: Uses, sysroot: Sysroot, known: Known, book: _Book
) -> Iterator[_Evidence]:
    """Yield the owners of the paths that a directory-listing program used: it shows their names."""
    listed = found.listed.get(program, ())
    why = reason(by, "lists what it owns")
    for path in sorted(found.looks[program]):
        if (path.rpartition("/")[0] or "/") not in listed:
            continue
        uid, gid = _ids(path, sysroot, known.artifacts)
        if uid in book.uids and uid:
            yield _Evidence(book.uids[uid], False, True, why, by)
        if gid in book.gids and gid:
            yield _Evidence(book.gids[gid], True, True, why, by)


def _ids(path: str, sysroot: Sysroot, artifacts: Mapping[str, Artifact]) -> tuple[int, int]:
    artifact = artifacts.get(path)
    if artifact is not None:
        return artifact.uid, artifact.gid
    info = sysroot.stat(path)
    return (info.st_uid, info.st_gid) if info else (0, 0)
