"""Secrets that nobody in the root should read: password hashes, private keys, core dumps, login keys."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator

from chrootbuild.accounts.db185 import reader
from chrootbuild.audit.facts import OTHERS, READ, Entry, Facts, Rule, can, is_wanted
from chrootbuild.audit.rules.key_forms import holds_text_key, is_key
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding

HASH = Rule(
    "password-hash",
    "error where others can read it, or the daemon can and `accounts.passwords` does not name the user; "
    "warning where root alone can and it is not named; note for those that are named",
    "A hash that was read is guessed at leisure; only a login daemon needs one.",
    "leave the user out of accounts.passwords and build; remove a copy of the file; chmod 600",
)
EMPTY = Rule(
    "empty-password",
    "error",
    "An account without a password lets everyone in who reaches a login.",
    "put * in its place",
)
KEY = Rule(
    "private-key",
    "error where others can read it; warning where the daemon's user can; note where root alone can, "
    "or the daemon can and `files` names it",
    "Who has read a private key is who it stands for, from anywhere.",
    "chmod 600 and chown root; leave it out where the service does not need it",
)
CORE = Rule(
    "core-dump",
    "warning",
    "A core dump is a process's memory, keys and passwords included.",
    "remove it, and set LimitCORE=0 for the service",
)
SSH = Rule(
    "ssh-access",
    "error for root's own; warning; note where it is declared or installed",
    "Keys in .ssh let somebody log in, or go on from here to another machine.",
    "remove it, or declare the directory in [directories]",
)

_LIMIT = 64 << 20  # bytes read of an account file
_TEXT = 256 << 10  # bytes of a text searched for a key
_DATABASES = {"spwd.db", "pwd.db"}
_ACCOUNTS = {"passwd", "shadow", "gshadow", "master.passwd", "group"}
_COPY = re.compile(r"(?:-|~|\.(?:bak|old|orig|save|tmp|[0-9]))\Z")
# crypt(5): a method in dollar signs, extended DES, DES; a leading ! locks, but the hash stays readable.
_HASHED = re.compile(rb"!*(?:\$[0-9a-zA-Z-]+\$[^:]+|_[./0-9A-Za-z]{19}|[./0-9A-Za-z]{13})\Z")
_PUBLIC = re.compile(
    rb"^(?:-----BEGIN (?:[A-Z0-9]+ )*(?:PUBLIC KEY|CERTIFICATE)|; This is a .*key)|\bDNSKEY\b", re.MULTILINE
)
_BY_NAME = re.compile(r"(?:.*\.(?:key|p12|pfx|jks|keytab)|K.+\+[0-9]{3}\+[0-9]{5}\.private|krb5\.keytab)\Z")
_ET_CORE = 4
_ROOTS = ("/root/.ssh/", "/.ssh/", "/etc/ssh/authorized_keys")


def readers(entry: Entry, facts: Facts) -> tuple[bool, str]:
    """Return whether others can read a file, and the names of the daemon's users who can, or empty."""
    if OTHERS in entry.reach and can(OTHERS, entry, READ):
        return True, ""
    able = [str(person) for person in facts.people if person in entry.reach and can(person, entry, READ)]
    return False, " and ".join(able)


def content(entry: Entry, facts: Facts, limit: int) -> bytes:
    """Return the first bytes of a regular file, as of the walk; no link on the way is followed."""
    fd = facts.root.open(entry.path)
    if fd is None:
        return b""
    with os.fdopen(fd, "rb") as file:
        return file.read(min(limit, os.fstat(fd).st_size + 1))  # read() takes the memory it might need


# -- passwords -------------------------------------------------------------------------------


def passwords(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge account files, and copies of them, wherever they are."""
    if not entry.is_file or entry.head is None:
        return
    name = _COPY.sub("", entry.name)
    if name in _DATABASES:
        fields = _database(content(entry, facts, _LIMIT))
    elif name in _ACCOUNTS:
        fields = _lines(content(entry, facts, _LIMIT))
    else:
        return
    hashed, empty = [], []
    for user, password in fields:
        if _HASHED.match(password):
            hashed.append(user)
        elif not password and name != "group" and name != "gshadow" and user[:1] not in b"+-":
            empty.append(user)
    yield from _hashes(entry, facts, _names(hashed))
    if empty:
        yield EMPTY.error(entry.path, f"no password is needed for {_listed(_names(empty))}")


def _lines(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in text.split(b"\n"):
        parts = line.split(b":", 4)
        if len(parts) > 3 and not line.startswith(b"#"):
            yield parts[0], parts[1]


def _database(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (user, password) of every readable record; versions 3 and 4 start alike: pwd_mkdb(8)."""
    try:
        records = set(reader.salvage(data).values())
    except Failure:
        return
    for record in sorted(records):
        parts = record.split(b"\0", 2)
        if len(parts) == 3 and parts[0]:
            yield parts[0], parts[1]


def _names(users: Iterable[bytes]) -> list[str]:
    return list(dict.fromkeys(user.decode("utf-8", "backslashreplace") for user in users))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _hashes(entry: Entry, facts: Facts, users: list[str]) -> Iterator[Finding]:
    if not users:
        return
    spec = facts.target.accounts
    wanted = {item.value for item in spec.passwords} if spec is not None else set()
    unwanted = [] if "*" in wanted else [user for user in users if user not in wanted]
    everyone, daemon = readers(entry, facts)
    if everyone:
        yield HASH.error(entry.path, f"password hashes that everyone can read: {_listed(users)}")
    elif unwanted and daemon:
        yield HASH.error(entry.path, f"password hashes that {daemon} can read: {_listed(unwanted)}")
    elif unwanted:
        yield HASH.warning(entry.path, f"password hashes that no login asks for: {_listed(unwanted)}")
    else:
        yield HASH.note(entry.path, f"password hashes, as the target says: {_listed(users)}")


# -- keys ------------------------------------------------------------------------------------


def private_key(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge keys by their form (a text's also behind a certificate), and those known by their name."""
    if not entry.is_file or entry.head is None or not _is_key(entry, facts):
        return
    everyone, daemon = readers(entry, facts)
    if everyone:
        yield KEY.error(entry.path, "a private key that everyone can read")
    elif daemon and entry.path in facts.exact:
        yield KEY.note(entry.path, f"a private key that {daemon} can read, as the target says")
    elif daemon:
        yield KEY.warning(entry.path, f"a private key that {daemon} can read")
    else:
        yield KEY.note(entry.path, "a private key that root alone can read")


def _is_key(entry: Entry, facts: Facts) -> bool:
    head, size = entry.head or b"", entry.info.st_size
    if not head or head.startswith(b"\x7fELF"):
        return False
    if is_key(head, size, entry.name):
        return True
    if b"\0" not in head:
        if size > len(head) and holds_text_key(content(entry, facts, _TEXT)):
            return True
        if _PUBLIC.search(head):
            return False
    return _BY_NAME.match(entry.name) is not None


# -- other secrets ------------------------------------------------------------------------------


def core_dump(entry: Entry, _facts: Facts) -> Iterator[Finding]:
    """Judge core dumps by their ELF type, whatever their name: elf(5), ET_CORE."""
    head = entry.head or b""
    if entry.is_file and len(head) >= 18 and head.startswith(b"\x7fELF"):
        (kind,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 16)
        if kind == _ET_CORE:
            yield CORE.warning(entry.path, "a core dump")


def ssh_access(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge .ssh directories, and files of authorized keys."""
    if not (entry.name == ".ssh" and entry.is_directory) and not (
        entry.name in ("authorized_keys", "authorized_keys2") and entry.is_file
    ):
        return
    what = "a directory for ssh keys" if entry.is_directory else "keys that let somebody log in"
    above = entry.parent
    if is_wanted(entry, facts) or (
        above is not None and above.installed is not None and above.name == ".ssh"
    ):
        yield SSH.note(entry.path, f"{what}, as the target says")
    elif entry.is_file and entry.path.startswith(_ROOTS) and not entry.free:
        yield SSH.error(entry.path, f"{what} as root")
    else:
        yield SSH.warning(entry.path, what)
