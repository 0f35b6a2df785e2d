"""master.passwd(5) and passwd(5) of a FreeBSD root.

The rules are pwd_mkdb(8)'s: a line that stops it is an error here. Its
databases are built from master.passwd by
:class:`~chrootbuild.accounts.pwd_mkdb.Database`.
"""

from __future__ import annotations

from chrootbuild.accounts.linux import parse_shadow
from chrootbuild.accounts.passwd import (
    MASTER_FIELDS,
    PASSWD_FIELDS,
    Parsed,
    Problem,
    User,
    parse_users,
    shown,
)
from chrootbuild.accounts.sources import Sources
from chrootbuild.errors import Failure, TargetError
from chrootbuild.spec import Accounts, Item

__all__ = ["LINE_LIMIT", "host_users", "master_file", "passwd_file"]

LINE_LIMIT = 2046  # bytes of a line without its newline: LINE_MAX is 2048
_LOCKED = b"*LOCKED*"  # pw(8) prefixes it to the hash; sshd then refuses keys too


def host_users(sources: Sources) -> tuple[Parsed, str]:
    """Return the sysroot's accounts and their file: master.passwd if readable, else passwd."""
    if sources.master is not None:
        return parse_users(sources.master, MASTER_FIELDS), sources.master_path
    return parse_users(sources.passwd, PASSWD_FIELDS), sources.passwd_path


def master_file(
    spec: Accounts,
    users: tuple[User, ...],
    wanted: dict[bytes, Item],
    problems: tuple[Problem, ...],
    sources: Sources,
) -> bytes:
    """Return master.passwd of the kept users, in their order.

    Seven-field lines get an empty class, and 0 for change and expire. The
    password is the sysroot's for users in ``wanted``, else ``*``, or
    ``*LOCKED*`` for a locked account. Raises TargetError for a line that stops
    pwd_mkdb, for two differing lines of one name, and for a wanted password
    whose file cannot be read.
    """
    path = sources.passwd_path if sources.master is None else sources.master_path
    if problems:
        raise TargetError(
            f"cannot make master.passwd ({spec.origin})",
            details=tuple(f"{path}:{problem.number}: {problem.what}" for problem in problems[:5]),
            hint="pwd_mkdb(8) takes no such line: correct or remove it",
        )
    hashes = _shadow(sources) if wanted else {}
    seen: dict[bytes, bytes] = {}
    rows = []
    for user in users:
        where = f"{path}:{user.number}" if user.number else "extra"
        name, _, *ids = user.fields[:4]
        rest = user.fields[4:] if len(user.fields) == MASTER_FIELDS else (b"", b"0", b"0", *user.fields[4:])
        row = b":".join((name, _password(user, wanted.get(name), hashes, sources), *ids, *rest))
        if name == b"root" and user.uid != 0:
            raise TargetError(
                f"cannot take root's line ({where}; {spec.origin}): its uid is {user.uid}, not 0"
            )
        if len(row) > LINE_LIMIT:
            raise TargetError(
                f"cannot take the line of {shown(name)} ({where}; {spec.origin}): "
                f"it has {len(row)} bytes, more than {LINE_LIMIT}"
            )
        if not user.nis:
            before = seen.setdefault(name, row)
            if before is not row:
                if before == row:
                    continue
                raise TargetError(
                    f"cannot take the user {shown(name)} twice ({where}; {spec.origin}): the lines differ",
                    hint="remove one of them",
                )
        rows.append(row)
    return b"".join(row + b"\n" for row in rows)


def passwd_file(master: bytes) -> bytes:
    """Return passwd(5) as ``pwd_mkdb -p`` writes it: no password, no comments, ids as numbers.

    Raises Failure where a line of ``master`` is wrong.
    """
    parsed = parse_users(master, MASTER_FIELDS)
    if parsed.problems:
        problem = parsed.problems[0]
        raise Failure(f"cannot make passwd from master.passwd: line {problem.number}, {problem.what}")
    rows = []
    for user in parsed.users:
        ids = [b"" if number is None else b"%d" % number for number in (user.uid, user.gid)]
        rows.append(b":".join((user.name, b"*", *ids, *user.fields[7:])) + b"\n")
    return b"".join(rows)


def _shadow(sources: Sources) -> dict[bytes, tuple[bytes, ...]]:
    """Return the fields of the sysroot's shadow(5) by name, for a Linux passwd."""
    return {} if sources.shadow is None else parse_shadow(sources.shadow)[0]


def _password(
    user: User, item: Item | None, hashes: dict[bytes, tuple[bytes, ...]], sources: Sources
) -> bytes:
    own = user.fields[1]
    if user.nis:
        # An empty field means "as NIS has it"; anything else is the sysroot's own.
        return own if item is not None or not own else b"*"
    if item is None:
        return _LOCKED if own.startswith(_LOCKED) else b"*"
    if user.number and sources.master is not None:
        return own
    if own not in (b"", b"*", b"x"):
        return own
    if user.name in hashes:
        return hashes[user.name][1]
    if user.number:
        missing = sources.shadow_path if own == b"x" and sources.shadow is None else sources.master_path
        if sources.shadow is None:
            raise TargetError(
                f"cannot take the password of {shown(user.name)}: {missing} cannot be read ({item.origin})",
                hint="build as root, or leave the user out of passwords",
            )
    return b"*"
