"""Paths never proposed for a root: secrets, the host's own state, files that the build renders.

The lists name kinds of files as hier(7) and the manual pages of their owners
describe them; no rule knows a service.
"""

from __future__ import annotations

import re

# ruff: noqa: S108 -- paths in a root, none is written to

# Below these nothing is input; a directory in some of them may still be needed.
_ZONES = {
    "/proc": "the kernel's: mounts = ['/proc'] if the service cannot do without",
    "/sys": "the kernel's",
    "/root": "root's home",
    "/home": "a user's home",
    "/tmp": "temporary",
    "/var/tmp": "temporary",
    "/dev/shm": "shared memory of the running system",
    "/var/cache": "a cache",
    "/var/log": "a log",
    "/run": "made by running daemons",
    "/var/run": "made by running daemons",
    "/var/lock": "made by running daemons",
    "/var/crash": "the host's",
    "/lost+found": "the host's",
}
_NO_DIRECTORIES = ("/proc", "/sys", "/root", "/home", "/lost+found")
_ACCOUNTS = "only the lines needed, by [accounts]"
_HASHES = "password hashes"
_RENDERED = "the build writes the root's own"
_NAMES = {
    **dict.fromkeys(("/etc/passwd", "/etc/group", "/etc/pwd.db"), _ACCOUNTS),
    **dict.fromkeys(("/etc/shadow", "/etc/gshadow", "/etc/master.passwd", "/etc/spwd.db"), _HASHES),
    "/etc/security/opasswd": _HASHES,
    **dict.fromkeys(("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"), _RENDERED),
    "/etc/ld.so.preload": "it would be loaded into every program of the root",
    "/etc/nsswitch.conf": "files and dns are used without it, and nothing else is in the root",
    "/etc/host.conf": "the defaults serve",
    "/etc/mtab": "the host's mounts",
    **dict.fromkeys(("/etc/machine-id", "/etc/hostid", "/var/lib/dbus/machine-id"), "the host's identity"),
}
_BACKUP = re.compile(r"(/etc/(?:passwd|group|shadow|gshadow|master\.passwd|subuid|subgid))[-~]")
_HINTS = re.compile(r"/var/run/ld-elf(?:32)?\.so\.hints|/run/ld-elf(?:32)?\.so\.hints")

_SECRET = re.compile(
    r"shadow-?|gshadow-?|master\.passwd|spwd\.db|opasswd|ssh_host_\w+_key|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?"
    r"|.*\.keytab|\.?pgpass|\.netrc|.*\.p12|.*\.pfx|.*\.key"
)
_LIBRARY = re.compile(r".+\.so(?:\.[0-9A-Za-z_]+)*")
_NSS = re.compile(r"(?:lib)?nss_[a-z0-9_]+\.so(?:\.\d+)*")

# Whole words of a file's name that mark access rules.
_POLICY_WORDS = re.compile(
    r"(?:^|[._-])(?:deny|denied|allow|allowed|access|policy|policies|blacklist|blocklist|blocked|banned"
    r"|whitelist|allowlist|restrict|restrictions|acl|acls|forbidden|ftpusers|sudoers|securetty|nologin|shells"
    r"|moduli|limits|revoked|crl|htaccess)(?:$|[._-])"
)
_POLICY_PLACES = (
    "/etc/pam.d",
    "/etc/security",
    "/etc/sudoers.d",
    "/etc/apparmor.d",
    "/etc/selinux",
    "/etc/polkit-1",
    "/usr/share/polkit-1",
    "/etc/crypto-policies",
    "/usr/local/etc/pam.d",
)

_PROC_DATA = re.compile(
    r"/proc(?:/(?:stat|meminfo|loadavg|uptime|diskstats|vmstat|partitions|swaps|interrupts|softirqs|slabinfo"
    r"|buddyinfo|zoneinfo|locks|mdstat|schedstat|pressure/.+|net/.+|self/net/.+|thread-self/net/.+"
    r"|self/mountstats|fs/.+|\d+(?:/.*)?))?"
)


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def zone(path: str) -> str:
    """Return the directory without input in which ``path`` lies, or ""."""
    if path == "/dev/shm":
        return ""
    return next((place for place in _ZONES if _below(path, place)), "")


def never(path: str, *, directory: bool = False) -> str:
    """Return the reason to keep a path out of a root unless the target names it, or ""."""
    why = _NAMES.get(path, "")
    if why:
        return why
    backup = _BACKUP.fullmatch(path)
    if backup:
        return _NAMES.get(backup.group(1), "a backup of the host's accounts")
    if _HINTS.fullmatch(path):
        return _RENDERED
    place = zone(path)
    if place and (not directory or place in _NO_DIRECTORIES):
        return _ZONES[place]
    return ""


def is_secret_name(path: str) -> bool:
    """Return whether a file name marks a private key or hashes; below /usr a *.key is public."""
    name = path.rpartition("/")[2]
    if _below(path, "/usr") and name.endswith(".key") and not _below(path, "/usr/local"):
        return False
    return _SECRET.fullmatch(name) is not None


def is_policy(path: str) -> bool:
    """Return whether a file may restrict access: without it a check passes, but less is forbidden.

    Deny and allow lists, access tables, policies, PAM's and sudo's configuration.
    """
    name = path.rpartition("/")[2].lower()
    return _POLICY_WORDS.search(name) is not None or any(_below(path, place) for place in _POLICY_PLACES)


def is_library_name(path: str) -> bool:
    """Return whether a file name is a shared object's: libc.so.6, mod_x.so."""
    return _LIBRARY.fullmatch(path.rpartition("/")[2]) is not None


def is_nss(path: str) -> bool:
    """Return whether a library is a name service switch module, nsswitch.conf(5)."""
    return _NSS.fullmatch(path.rpartition("/")[2]) is not None


def proc_data(path: str) -> bool:
    """Return whether a path of /proc has kernel statistics.

    All others (proc(5): self, sys, cpuinfo, filesystems, mounts ...) are read for
    tuning, by the C library or at start-up, and can be absent.
    """
    return _PROC_DATA.fullmatch(path) is not None
