"""Parser of passwd(5), group(5), master.passwd(5) and shadow(5) lines: bytes to frozen entries.

The input is untrusted: a line that libc cannot use becomes a :class:`Problem`,
whose text shows no more of it than the account's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chrootbuild.text import printable

PASSWD_FIELDS = 7  # name:password:uid:gid:gecos:home:shell
MASTER_FIELDS = 10  # name:password:uid:gid:class:change:expire:gecos:home:shell
GROUP_FIELDS = 4  # name:password:gid:members
ID_LIMIT = 0xFFFFFFFE  # 4294967295 is (uid_t)-1, "no change" to chown(2)
_BAD = -1
_SHOWN = 40  # characters of a name in a message


@dataclass(frozen=True, slots=True)
class User:
    """A line of passwd or master.passwd.

    ``uid`` and ``gid`` are None for an empty field, allowed only in a NIS line
    (its name starts with + or -).
    """

    name: bytes
    uid: int | None
    gid: int | None
    fields: tuple[bytes, ...]  # seven or ten, as they stand
    number: int = 0  # of the line, from 1

    @property
    def nis(self) -> bool:
        """Return whether this is a + or - line of nsswitch's "compat", not an account."""
        return self.name[:1] in (b"+", b"-")


@dataclass(frozen=True, slots=True)
class Group:
    """A line of group(5); ``gid`` is None for a NIS line without one."""

    name: bytes
    gid: int | None
    members: tuple[bytes, ...]
    number: int = 0

    @property
    def nis(self) -> bool:
        """Return whether this is a + or - line of nsswitch's "compat", not a group."""
        return self.name[:1] in (b"+", b"-")


@dataclass(frozen=True, slots=True)
class Problem:
    """An unusable line: its number from 1, the name it starts with, the fault."""

    number: int
    name: bytes  # empty where the line has no plausible name
    what: str

    def text(self, path: str) -> str:
        """Return the problem as one line of text."""
        whose = f" of {shown(self.name)}" if self.name else ""
        return f"{path}:{self.number}: line{whose} skipped: {self.what}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """Entries and bad lines of a passwd or master.passwd, in file order."""

    users: tuple[User, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedGroups:
    """Entries and bad lines of a group file, in file order."""

    groups: tuple[Group, ...] = ()
    problems: tuple[Problem, ...] = ()


def shown(name: bytes) -> str:
    """Return a name for a message: printable, and truncated."""
    text = printable(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) without blank lines, comments, and the CR of a CRLF.

    A comment's first non-blank character is ``#``.
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.endswith(b"\r"):
            line = line[:-1]
        start = line.lstrip(b" \t")
        if start and start[:1] != b"#":
            yield number, line


def parse_user_line(line: bytes, fields: int, number: int = 0) -> User | Problem:
    """Return the entry of one line of ``fields`` fields."""
    if fields == PASSWD_FIELDS:
        line = line.lstrip(b" \t")  # as glibc does; pwd_mkdb does not
    parts = line.split(b":", fields)  # one more, to detect too many
    name = parts[0]
    if len(parts) != fields:
        # Without a colon the first word may be anything, even a stray hash.
        known = name if len(parts) > 2 else b""
        return Problem(number, known, f"it has {_count(line.count(b':') + 1, 'field')}, not {fields}")
    what = _unusable(name, line)
    nis = name[:1] in (b"+", b"-")
    uid, gid = _id(parts[2], nis), _id(parts[3], nis)
    if not what and _BAD in (uid, gid):
        what = f"its {'uid' if uid == _BAD else 'gid'} is no number from 0 to {ID_LIMIT}"
    if what:
        return Problem(number, name, what)
    return User(name, uid, gid, tuple(parts), number)


def parse_users(data: bytes, fields: int = PASSWD_FIELDS) -> Parsed:
    """Return the entries of a passwd (7 fields) or master.passwd (10 fields)."""
    users, problems = [], []
    for number, line in lines(data):
        entry = parse_user_line(line, fields, number)
        if isinstance(entry, User):
            users.append(entry)
        else:
            problems.append(entry)
    return Parsed(tuple(users), tuple(problems))


def parse_group_line(line: bytes, number: int = 0) -> Group | Problem:
    """Return the entry of one line of group(5)."""
    line = line.lstrip(b" \t")
    parts = line.split(b":", GROUP_FIELDS)
    name = parts[0]
    nis = name[:1] in (b"+", b"-")
    if nis and len(parts) < GROUP_FIELDS:
        parts += [b""] * (GROUP_FIELDS - len(parts))
    if len(parts) != GROUP_FIELDS:
        known = name if len(parts) > 2 else b""
        return Problem(number, known, f"it has {_count(line.count(b':') + 1, 'field')}, not {GROUP_FIELDS}")
    what = _unusable(name, line)
    gid = _id(parts[2], nis)
    if not what and gid == _BAD:
        what = f"its gid is no number from 0 to {ID_LIMIT}"
    if what:
        return Problem(number, name, what)
    members = tuple(member for part in parts[3].split(b",") if (member := part.strip(b" \t")))
    return Group(name, gid, members, number)


def parse_groups(data: bytes) -> ParsedGroups:
    """Return the entries of a group file."""
    groups, problems = [], []
    for number, line in lines(data):
        entry = parse_group_line(line, number)
        if isinstance(entry, Group):
            groups.append(entry)
        else:
            problems.append(entry)
    return ParsedGroups(tuple(groups), tuple(problems))


def _unusable(name: bytes, line: bytes) -> str:
    if not name:
        return "it has no name"
    if b"\0" in line:
        return "it has a NUL byte"
    return ""


def _id(field: bytes, nis: bool) -> int | None:
    """Return a uid or gid; None for a NIS line's empty field; _BAD for an invalid one."""
    if not field and nis:
        return None
    if not field.isdigit() or len(field) > 20:
        return _BAD
    value = int(field)
    return value if value <= ID_LIMIT else _BAD


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
