"""Recorded runs of real services, against the packages they belong to: all they need is found.

Each sample is an strace of a service on an overlay of a Debian 12 host while a
client used it. What has to be proposed was found out by leaving it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile

import pytest

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.elf.memo import Memo
from chrootbuild.propose.model import Known, Proposals, closures
from chrootbuild.propose.propose import propose
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Access, Deed, Event
from tests.support.trace_sysroot import sample

NEVER = (
    "/etc/shadow",
    "/etc/gshadow",
    "/root",
    "/etc/ssl/private",
    "/home",
    "/proc/",
    "/sys",
    "/etc/passwd",
)


@dataclass(frozen=True)
class Case:
    """A service: its program, what its target has besides, and what is needed."""

    packages: tuple[str, ...]
    program: str
    needs: dict[str, set[str]]
    text: str = ""  # of its configuration, which only the target has
    extra: str = ""  # passwd lines that only the root has
    user: int = 0
    most: int = 60  # entries


CTUSER = "ctuser:x:4242:4242::/home/ctuser:/bin/sh\n"
CASES = {
    "nginx": Case(
        ("nginx",),
        "/usr/sbin/nginx",
        {
            "files": {"/etc/nginx/mime.types"},
            "directories": {"/var/lib/nginx"},
            "accounts.users": {"www-data"},
        },
    ),
    "cvs": Case(
        ("cvs", "ucspi-tcp"),
        "/usr/bin/tcpserver",
        {
            "binaries": {"/usr/bin/cvs"},
            "directories": {"/var/tmp"},
            "devices": {"null"},
            "accounts.users": {"nobody"},
        },
    ),
    "apache-php": Case(
        ("apache2", "libapache2-mod-php8.2", "tzdata"),
        "/usr/sbin/apache2",
        {
            "libraries": {
                *(
                    f"/usr/lib/apache2/modules/mod_{name}.so"
                    for name in ("mpm_prefork", "authz_core", "mime", "dir")
                ),
                "/usr/lib/apache2/modules/libphp8.2.so",
                "/usr/lib/php/20220829/ctype.so",
                "/usr/lib/php/20220829/iconv.so",
                "/usr/lib/x86_64-linux-gnu/gconv/EUC-JP.so",
            },
            "files": {
                "/etc/mime.types",
                "/usr/share/zoneinfo/Asia/Tokyo",
                "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
            },
            "directories": {"/tmp"},
            "accounts.users": {"www-data"},
        },
        "extension=ctype.so\nextension=iconv.so\nUser www-data\nGroup www-data\n",
    ),
    "bind9": Case(("bind9",), "/usr/sbin/named", {"accounts.users": {"bind"}}),
    "sshd": Case(
        ("openssh-server", "openssh-sftp-server"),
        "/usr/sbin/sshd",
        {
            "binaries": {"/bin/sh", "/usr/bin/cat", "/usr/lib/openssh/sftp-server"},
            "directories": {"/run/sshd", "/home/ctuser"},
            "devices": {"null"},
            "accounts.users": {"root", "sshd"},
        },
        extra=CTUSER,
    ),
    "postfix": Case(
        ("postfix",),
        "/usr/lib/postfix/sbin/master",
        {
            "binaries": {
                f"/usr/lib/postfix/sbin/{name}"
                for name in ("smtpd", "cleanup", "qmgr", "trivial-rewrite", "local", "postlogd")
            },
            "directories": {
                *(
                    f"/var/spool/postfix/{name}"
                    for name in ("active", "deferred", "incoming", "private", "pid", "public")
                ),
                "/var/lib/postfix",
                "/var/log",
                "/home/ctuser",
            },
            "accounts.users": {"root", "nobody", "postfix"},
            "accounts.groups": {"postdrop"},
        },
        "mail_owner = postfix\nsetgid_group = postdrop\n",
        CTUSER,
    ),
    "redis": Case(("redis-server",), "/usr/bin/redis-server", {"timezone": {"host"}}, user=115, most=8),
    "postgres": Case(
        ("postgresql-15", "tzdata"),
        "/usr/lib/postgresql/15/bin/postgres",
        {
            "libraries": {f"/usr/lib/postgresql/15/lib/{name}.so" for name in ("dict_snowball", "plpgsql")},
            "files": {
                "/usr/share/postgresql/15/timezonesets/Default",
                "/usr/share/postgresql/15/tsearch_data/english.stop",
                "/usr/share/zoneinfo/Asia/Tokyo",
                "/usr/share/zoneinfo/Etc/UTC",
            },
            "directories": {"/dev/shm"},
        },
        user=101,
        most=20,
    ),
    "snmpd": Case(("snmpd",), "/usr/sbin/snmpd", {"mounts": {"/proc"}, "accounts.users": {"Debian-snmp"}}),
    "date-ls": Case(
        ("coreutils", "dash", "tzdata"),
        "/bin/sh",
        {"binaries": {"/usr/bin/date", "/usr/bin/ls"}, "files": {"/usr/share/zoneinfo/America/New_York"}},
        most=10,
    ),
    "su-pam": Case(
        ("util-linux", "libpam-modules"),
        "/bin/su",
        {
            "binaries": {"/bin/sh", "/usr/bin/id"},
            "libraries": {
                f"/lib/x86_64-linux-gnu/security/pam_{name}.so"
                for name in ("rootok", "unix", "permit", "env", "limits")
            },
            "files": {
                *(
                    f"/etc/pam.d/{name}"
                    for name in ("su-l", "su", "common-auth", "common-account", "common-session")
                ),
                "/etc/security/limits.conf",
            },
            "directories": {"/home/ctuser"},
            "accounts.users": {"root"},
        },
        extra=CTUSER,
    ),
}


def learned(name: str, case: Case) -> Proposals:
    """Propose for a recorded run on this host."""
    host = Sysroot("/")
    closure = closures(Resolver(host, Memo(), "linux"))
    plan = {path: Artifact(path, Kind.FILE, 0o755) for path in closure(case.program)}
    plan["/etc/passwd"] = Artifact("/etc/passwd", Kind.TEXT, content=case.extra.encode())
    plan["/srv/ct/conf"] = Artifact("/srv/ct/conf", Kind.TEXT, content=case.text.encode())

    def before(event: Event) -> bool:
        """Tell whether the service itself has not begun."""
        return not (isinstance(event, Access) and event.path == case.program and event.deed is Deed.EXEC)

    events = dropwhile(before, sample(f"{name}.strace"))
    return propose(events, host, Known(plan, closure=closure, uid=case.user))


def check(name: str) -> None:
    """Compare what is proposed with what is needed."""
    case = CASES[name]
    found = learned(name, case)
    values = {key: {entry.value for entry in found.entries if entry.key == key} for key in case.needs}
    assert {key: needed - values[key] for key, needed in case.needs.items() if needed - values[key]} == {}
    assert len(found.entries) <= case.most
    taken = [entry.value for entry in found.entries if entry.value.startswith(NEVER)]
    assert [value for value in taken if value != "/home/ctuser"] == []
    assert all(entry.reason for entry in found.entries)


def _case_test(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.package(*CASES[name].packages))


@pytest.mark.parametrize("name", [_case_test(name) for name in CASES])
def test_all_that_is_needed_and_little_else(name: str) -> None:
    check(name)


@pytest.mark.package("python3-minimal", "libpython3-stdlib", "media-types")
def test_python_s_modules_come_as_source_and_compiled() -> None:
    """The import system looks for the .py and reads the .pyc: both are needed, of what is loaded alone."""
    case = Case(("python3-minimal",), "/usr/bin/python3", {}, user=65534)
    files = {entry.value for entry in learned("python-http", case).entries if entry.key == "files"}
    compiled = {path for path in files if path.endswith(".pyc")}
    sources = {path.replace("/__pycache__/", "/").replace(".cpython-311.pyc", ".py") for path in compiled}
    assert len(compiled) > 60
    assert sources <= files
    assert {"/usr/lib/python3.11/os.py", "/etc/mime.types"} <= files
    assert len(files) < 180


@pytest.mark.package("apache2", "libapache2-mod-php8.2")
def test_what_a_server_finds_lying_there_is_left_for_later() -> None:
    """PHP loads every module of conf.d, and looks at every time zone."""
    optional = {entry.value for entry in learned("apache-php", CASES["apache-php"]).optional}
    assert "/usr/lib/php/20220829/calendar.so" in optional
    assert "/etc/php/8.2/apache2/conf.d/20-calendar.ini" in optional
    assert "/usr/share/zoneinfo/Zulu" in optional
