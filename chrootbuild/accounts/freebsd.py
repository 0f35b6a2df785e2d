"""master.passwd(5) and passwd(5) of a FreeBSD root.

The rules are pwd_mkdb(8)'s: a line that stops it is an error here. Its
databases are built from master.passwd by
:class:`~chrootbuild.accounts.pwd_mkdb.Database`.
"""

from __future__ import annotations

from chrootbuild.accounts.passwd import (
    MASTER_FIELDS,
    PASSWD_FIELDS,
    Parsed,
    Problem,
    User,
    parse_users,
    shown,
)
from chrootbuild.accounts.passwords import master_password, shadow_hashes
from chrootbuild.accounts.select import Sources
from chrootbuild.errors import Failure, TargetError
from chrootbuild.target.model import Accounts, Item

LINE_LIMIT = 2046  # bytes of a line without its newline: LINE_MAX is 2048


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
    hashes = shadow_hashes(sources) if wanted else {}
    seen: dict[bytes, bytes] = {}
    rows = []
    for user in users:
        where = f"{path}:{user.number}" if user.number else "extra"
        name, _, *ids = user.fields[:4]
        rest = user.fields[4:] if len(user.fields) == MASTER_FIELDS else (b"", b"0", b"0", *user.fields[4:])
        row = b":".join((name, master_password(user, wanted.get(name), hashes, sources), *ids, *rest))
        _refuse_wrong(user, row, f"{where}; {spec.origin}")
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


def _refuse_wrong(user: User, row: bytes, where: str) -> None:
    """Raise TargetError for a line that pwd_mkdb(8) would not take, or that makes root another user."""
    name = user.fields[0]
    if name == b"root" and user.uid != 0:
        raise TargetError(f"cannot take root's line ({where}): its uid is {user.uid}, not 0")
    if len(row) > LINE_LIMIT:
        raise TargetError(
            f"cannot take the line of {shown(name)} ({where}): "
            f"it has {len(row)} bytes, more than {LINE_LIMIT}"
        )


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
