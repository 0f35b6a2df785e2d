"""What never goes into a root by itself."""

from __future__ import annotations

import pytest

from chrootbuild.propose.rules import is_library_name, is_nss, is_policy, is_secret_name, never, proc_data


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/group-",
        "/etc/shadow",
        "/etc/gshadow-",
        "/etc/master.passwd",
        "/etc/spwd.db",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        "/etc/ld.so.conf",
        "/var/run/ld-elf.so.hints",
        "/etc/nsswitch.conf",
        "/etc/host.conf",
        "/etc/machine-id",
        "/root/.my.cnf",
        "/home/alice/x",
        "/sys/kernel/x",
        "/proc/meminfo",
        "/tmp/x",
        "/var/tmp/x",
        "/dev/shm/x",
        "/run/foo.pid",
        "/var/run/foo.sock",
        "/var/log/foo.log",
        "/var/cache/foo/x",
    ],
)
def test_never(path: str) -> None:
    assert never(path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hosts",
        "/etc/passwords",
        "/etc/services",
        "/srv/www/root/a",
        "/var/lib/foo",
        "/opt/home/a",
        "/etc/resolv.conf",
    ],
)
def test_may_be_input(path: str) -> None:
    assert never(path) == ""


def test_directories_are_needed_where_files_are_not_input() -> None:
    """An empty /run/foo or /var/log is a place to write; /home and /sys are not."""
    for path in ("/run/foo", "/var/log", "/var/cache/foo", "/tmp", "/var/tmp", "/dev/shm"):
        assert never(path, directory=True) == ""
    for path in ("/root", "/home", "/home/alice", "/sys", "/proc/1", "/proc"):
        assert never(path, directory=True)


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("/etc/ssl/private/server.key", True),
        ("/etc/ssh/ssh_host_ed25519_key", True),
        ("/etc/ssh/ssh_host_ed25519_key.pub", False),
        ("/srv/.ssh/id_rsa", True),
        ("/etc/krb5.keytab", True),
        ("/etc/shadow", True),
        ("/usr/share/dns/root.key", False),
        ("/usr/local/etc/a.key", True),
        ("/etc/keyboard", False),
    ],
)
def test_secret_names(path: str, secret: bool) -> None:
    assert is_secret_name(path) is secret


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/etc/hosts.deny", True),
        ("/etc/hosts.allow", True),
        ("/etc/ImageMagick-6/policy.xml", True),
        ("/etc/security/access.conf", True),
        ("/etc/pam.d/su", True),
        ("/etc/ftpusers", True),
        ("/etc/cron.deny", True),
        ("/srv/www/.htaccess", True),
        ("/etc/postfix/sender_access", True),
        ("/etc/squid/blocklist.txt", True),
        ("/etc/sudoers.d/x", True),
        ("/etc/ssl/openssl.cnf", False),
        ("/usr/share/zoneinfo/UTC", False),
        ("/usr/lib/python3/accessible.py", False),
    ],
)
def test_policy_is_never_pruned(path: str, policy: bool) -> None:
    assert is_policy(path) is policy


def test_names_of_libraries() -> None:
    assert [
        is_library_name(f"/lib/{name}") for name in ("libc.so.6", "mod_x.so", "a.so.conf.d", "x.la", ".so")
    ] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [is_nss(f"/lib/{name}") for name in ("libnss_systemd.so.2", "nss_ldap.so.1", "libnss3.so")] == [
        True,
        True,
        False,
    ]


def test_proc_as_data_or_as_tuning() -> None:
    """proc(5): what tells about the machine, and what every libc looks at."""
    data = ("meminfo", "stat", "net/dev", "diskstats", "1/status", "4711", "loadavg", "self/net/tcp")
    tuning = (
        "self/maps",
        "self/exe",
        "sys/kernel/ngroups_max",
        "cpuinfo",
        "filesystems",
        "mounts",
        "self/stat",
    )
    assert [name for name in data if not proc_data(f"/proc/{name}")] == []
    assert [name for name in tuning if proc_data(f"/proc/{name}")] == []
    assert proc_data("/proc")
