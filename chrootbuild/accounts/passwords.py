"""Password hashes: those asked for by name; every other account has none that matches."""

from __future__ import annotations

from collections.abc import Iterable

from chrootbuild.accounts.passwd import Problem, User, lines, shown
from chrootbuild.accounts.select import Sources, encoded, first_by_name
from chrootbuild.errors import TargetError
from chrootbuild.target.model import Accounts, Item
from chrootbuild.text import did_you_mean


def password_names(spec: Accounts, known: Iterable[bytes], users: tuple[User, ...]) -> dict[bytes, Item]:
    """Return the kept users whose hash is copied, with the item that asks for it.

    ``"*"`` means every kept account. Raises TargetError for an unknown name;
    an account that is not kept is ignored.
    """
    kept = [user.name for user in users if not user.nis]
    wanted: dict[bytes, Item] = {}
    for item in spec.passwords:
        name = encoded(item.value)
        if item.value == "*":
            wanted.update((each, item) for each in kept if each not in wanted)
        elif name in kept:
            wanted[name] = item
        elif name not in known:
            raise TargetError(
                f"cannot find the user {item.value}: no such account ({item.origin})",
                hint=did_you_mean(item.value, map(shown, kept), 3),
            )
    return wanted


_SHADOW_FIELDS = 9  # name:hash:changed:min:max:warn:inactive:expire:flag


_EXPIRE = 7


# Days since 1970; any day but 0, which would mean "to be changed at the next login".
_CHANGED = b"19000"


def parse_shadow(data: bytes) -> tuple[dict[bytes, tuple[bytes, ...]], tuple[Problem, ...]]:
    """Return the nine fields of each shadow(5) line by name (the first wins), and the bad lines."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    problems = []
    for number, line in lines(data):
        fields = tuple(line.split(b":", _SHADOW_FIELDS))  # one more, to detect too many
        name = fields[0]
        if name[:1] in (b"+", b"-"):
            continue
        if len(fields) != _SHADOW_FIELDS or not name or b"\0" in line:
            known = name if len(fields) > 2 else b""
            count = line.count(b":") + 1
            problems.append(Problem(number, known, f"it has {count} fields, not {_SHADOW_FIELDS}"))
        else:
            found.setdefault(name, fields)
    return found, tuple(problems)


def shadow_file(
    users: tuple[User, ...], wanted: dict[bytes, Item], shadow: bytes | None, path: str
) -> tuple[bytes | None, tuple[str, ...]]:
    """Return shadow(5) and warnings; None where no kept user is ``wanted``.

    Each kept user has a line, since pam_unix refuses an account without one.
    Wanted users have the sysroot's line, or the hash of their passwd line (old
    systems, ``extra``). All others have the hash ``*``, which nothing matches, or
    ``!`` for an account locked in the sysroot, and its expiry day: a key for sshd
    must not open an account that it does not open in the sysroot.

    Raises TargetError where a hash is wanted and ``shadow`` is None.
    """
    if not wanted:
        return None, ()
    found: dict[bytes, tuple[bytes, ...]] = {}
    warnings: tuple[str, ...] = ()
    if shadow is not None:
        found, problems = parse_shadow(shadow)
        warnings = tuple(problem.text(path) for problem in problems if problem.name in wanted)
    rows = []
    for user in first_by_name(sorted(users, key=lambda user: user.name != b"root")).values():
        own = user.fields[1]
        line = found.get(user.name)
        if user.name not in wanted:
            rows.append(_locked(user.name, line))
            continue
        if shadow is None and user.number and own in (b"x", b""):
            raise TargetError(
                f"cannot take the password of {shown(user.name)}: {path} cannot be read "
                f"({wanted[user.name].origin})",
                hint="build as root, or leave the user out of passwords",
            )
        if own not in (b"x", b""):
            rows.append(_line(user.name, own))
        elif line is not None:
            rows.append(line)
            if not line[1]:
                warnings += (f"{path}: the password of {shown(user.name)} is empty",)
        else:
            rows.append(_locked(user.name, None))
    return b"".join(b":".join(row) + b"\n" for row in rows), warnings


def _line(name: bytes, password: bytes, expire: bytes = b"") -> tuple[bytes, ...]:
    return (name, password, _CHANGED, b"0", b"99999", b"7", b"", expire, b"")


def _locked(name: bytes, line: tuple[bytes, ...] | None) -> tuple[bytes, ...]:
    if line is None:
        return _line(name, b"*")
    return _line(name, b"!" if line[1].startswith(b"!") else b"*", line[_EXPIRE])


_LOCKED = b"*LOCKED*"  # pw(8) prefixes it to the hash; sshd then refuses keys too


def shadow_hashes(sources: Sources) -> dict[bytes, tuple[bytes, ...]]:
    """Return the fields of the sysroot's shadow(5) by name, for a Linux passwd."""
    return {} if sources.shadow is None else parse_shadow(sources.shadow)[0]


def master_password(
    user: User, item: Item | None, hashes: dict[bytes, tuple[bytes, ...]], sources: Sources
) -> bytes:
    """Return the password field of a line of master.passwd(5): the sysroot's where ``item`` asks for it, else ``*``.

    ``*LOCKED*`` stays: pw(8) writes it, and sshd then refuses keys too. ``hashes`` are shadow(5)'s, which a
    Linux passwd points to. Raises TargetError where the hash asked for cannot be read.
    """
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
