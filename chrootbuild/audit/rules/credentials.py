"""Credentials of programs: password files of services, and what clients log in with elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule
from chrootbuild.audit.rules.secrets import content, readers
from chrootbuild.findings import Finding

CREDENTIAL = Rule(
    "credential",
    "error where others can read it; warning where the daemon's user can; note where root alone can, "
    "or the daemon can and `files` names it",
    "Passwords, tokens and hashes of a service open what they were made for, here or on another machine.",
    "chmod 600 and chown root; leave it out where the service does not need it",
)

_LIMIT = 256 << 10  # bytes searched of a file known by its name
_ACCOUNTS = re.compile(r"(?:passwd|shadow|gshadow|master\.passwd|group)(?:[-~]|\.\w+)?\Z")
# htpasswd, CVSROOT/passwd, dovecot, exim: a name and a hash that says its method.
_HASH = (
    rb"(?:\$(?:apr1|1|2[abxy]|5|6|7|y|gy|sha1|md5|argon2\w{1,2}|pbkdf2[\w-]{0,9})\$[^\s:]{8}"
    rb"|\{[A-Z0-9.-]{3,20}\}[^\s:]{8})"
)
_NAMED_HASH = re.compile(rb"^[^\s:#]{1,64}:" + _HASH, re.MULTILINE)
_PLAIN_HASH = re.compile(
    rb"^[^\s:#]{1,64}:(?:[./0-9A-Za-z]{13}|[^\s:]{1,64}:[0-9a-f]{32})(?::|\s*$)", re.MULTILINE
)
_SERVICES = re.compile(
    r"\.?ht(?:passwd|digest)[\w.-]*|[\w-]+\.ht(?:passwd|digest)|passwd\.client|smbpasswd\Z"
)
# Anywhere in the start of a text: what has to be in it, what it then is, and the pattern.
_ANYWHERE = (
    (
        b"aws_secret_access_key",
        "an AWS key",
        re.compile(rb"aws_secret_access_key\s{0,9}=\s{0,9}[\w/+]{40}\b"),
    ),
    (b"client-key-data:", "a kubeconfig", re.compile(rb"client-key-data:[ \t\"']{0,9}[A-Za-z0-9+/]{16}")),
    (
        b"current-context",
        "a kubeconfig",
        re.compile(rb"^[ \t-]{0,32}(?:token|password):[ \t\"']{0,9}\S{8}", re.MULTILINE),
    ),
    (b"gh", "a GitHub token", re.compile(rb"\bgh[opsur]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{40}")),
)
_PASSWORD = (
    rb"^[ \t]*(?:password|passwd|pass|secret_key|client_secret|oauth_token|sasl_password)"
    rb"[ \t]{0,99}[=: \t][ \t]{0,99}\S"
)
# By the end of the path: what it then is, and what has to be in it. Repeats are bounded, or end at a line's
# end: the file may be somebody's who wants the search to take long.
_NAMED = tuple(
    (re.compile(rf"(?:.*/)?(?:{path})\Z"), what, re.compile(pattern, re.MULTILINE | re.IGNORECASE))
    for path, what, pattern in (
        (r"[._]?netrc|\.authinfo", "a .netrc", rb"\bpassword\s+\S"),
        (r"\.?pgpass(?:\.conf)?", "PostgreSQL's passwords", rb"^[^#:\n]+:[^:\n]*:[^:\n]*:[^:\n]*:\S"),
        (
            r"\.my\.cnf|my-login\.cnf|debian\.cnf",
            "a password of MySQL",
            rb"^[ \t]*password[ \t]{0,99}=[ \t]{0,99}\S",
        ),
        (r"\.mylogin\.cnf", "passwords of MySQL", rb"[^\0]"),
        (r"\.git-credentials", "passwords of git", rb"://[^:/\s]{1,255}:[^@\s]{1,255}@"),
        (
            r"\.docker/config\.json|\.dockercfg|containers/auth\.json",
            "a registry's password",
            rb'"auth"\s{0,99}:\s{0,99}"[^"]{4}',
        ),
        (r"\.npmrc", "a token of npm", rb"(?:_authToken|_password|_auth)\s*="),
        (r"\.pypirc|\.fetchmailrc|\.msmtprc|\.s3cfg|rclone\.conf|hub|hosts\.yml", "a password", _PASSWORD),
        (r"\.?smb(?:credentials|cred)|\.cifs", "a password of a share", _PASSWORD),
        (r"\.vault-token|credentials\.tfrc\.json|\.ldap\.secret|ldap\.secret", "a token", rb"\S{8}"),
        (r"(?:chap|pap)-secrets", "passwords of PPP", rb"^[^#\s]\S*\s+\S+\s+\S"),
        (r"sasl_passwd", "passwords of Postfix", rb"^[^#\s]\S*\s+\S+:\S"),
        (
            r"wpa_supplicant[\w.-]*\.conf",
            "a password of a network",
            rb"^[ \t]*(?:psk|password)[ \t]{0,99}=[ \t]{0,99}\S",
        ),
        (r"\.cvspass", "passwords of CVS", rb":pserver:\S{1,255} A\S"),
        (r"CVSROOT/passwd", "passwords of CVS", rb"^[^:#\s]+:[./0-9A-Za-z]{13}(?::|\s*$)"),
        (r"krb5cc_[\w.]+", "a ticket of Kerberos", rb"\A\x05[\x01-\x04]"),
        (
            r"\.(?:bash|zsh|sh|mysql|psql|python|sqlite|rediscli)_?hist(?:ory|file)",
            "a history of commands",
            rb"\S",
        ),
    )
)


def credential(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge files by their name and by their first bytes; at most one finding a file."""
    if not entry.is_file or not entry.head or entry.head.startswith(b"\x7fELF"):
        return
    what = known_by_content(entry.head, entry.path) or _known_by_name(entry, facts)
    if not what:
        return
    everyone, daemon = readers(entry, facts)
    if everyone:
        yield CREDENTIAL.error(entry.path, f"{what} that everyone can read")
    elif daemon and entry.path in facts.exact:
        yield CREDENTIAL.note(entry.path, f"{what} that {daemon} can read, as the target says")
    elif daemon:
        yield CREDENTIAL.warning(entry.path, f"{what} that {daemon} can read")
    else:
        yield CREDENTIAL.note(entry.path, f"{what} that root alone can read")


def known_by_content(head: bytes, path: str) -> str:
    """Return what credentials the start of a file shows, or empty; account files have a rule of their own."""
    name = path.rpartition("/")[2]
    if b"\0" in head:
        return ""
    if _SERVICES.match(name) and (_NAMED_HASH.search(head) or _PLAIN_HASH.search(head)):
        return "password hashes of a service"
    if (b":$" in head or b":{" in head) and not _ACCOUNTS.match(name) and _NAMED_HASH.search(head):
        return "password hashes of a service"
    return next((what for mark, what, form in _ANYWHERE if mark in head and form.search(head)), "")


def _known_by_name(entry: Entry, facts: Facts) -> str:
    for path, what, form in _NAMED:
        if path.match(entry.path):
            whole = entry.info.st_size <= len(entry.head or b"")
            data = (entry.head or b"") if whole else content(entry, facts, _LIMIT)
            if form.search(data):
                return what
    return ""
