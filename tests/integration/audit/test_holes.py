"""A lab of holes in a root: each has a builder of one line, and the finding that an auditor would make of it.

Beside it stand roots of ordinary services and files like those of a hole, in which nothing is found.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.audit.test_audit import (
    HASH,
    KEY,
    OTHER,
    PEM,
    WEB,
    audited,
    bind,
    chrootbuild_command,
    environment,
    findings_of,
    node,
    put,
    top,  # noqa: F401 -- a fixture
    whole,
    workshop,
)
from tests.support.places import REPOSITORY
from tests.support.workshop import Workshop

pytestmark = pytest.mark.root
Hole = tuple[Callable[[Path], object], str, str, str]  # its builder; severity, rule, path


def default(path: Path, *entries: tuple[int, int, int]) -> None:
    """Give a directory a default ACL: owner rwx, ``entries``, group r-x, mask rwx, others r-x."""
    path.mkdir(parents=True, exist_ok=True)
    rest = ((4, 5, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 5, 0xFFFFFFFF))
    listed = sorted({entry[0]: entry for entry in ((1, 7, 0xFFFFFFFF), *rest, *entries)}.values())
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in listed)
    os.setxattr(path, "system.posix_acl_default", value)


def made(argv: str) -> bytes:
    return subprocess.run(argv.split(), capture_output=True, check=True).stdout


def der(tag: int, value: bytes) -> bytes:
    size = len(value).to_bytes(2, "big")
    return bytes([tag]) + (size[1:] if len(value) < 128 else b"\x82" + size) + value


def swap(path: Path, major: int, minor: int) -> None:
    path.unlink()
    node(path, 0o020000, major, minor)


def link(path: Path, to: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(to)
    return path


def own(path: Path, uid: int, above: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.chown(path.parent, above, 0)
    path.touch()
    os.chown(path, uid, 0)


INTEGERS = b"\x02\x01\0" + der(2, b"\x7f" * 128) + b"\x02\x03\1\0\1" + der(2, b"\x7f" * 128)
RSA = der(0x30, INTEGERS)
EC = der(0x30, b"\x02\x01\1" + der(4, b"k" * 32))
PKCS8 = der(0x30, b"\x02\x01\0" + der(0x30, der(6, b"\x2b\x65\x70")) + der(4, der(4, b"k" * 32)))
PBES2 = der(6, bytes.fromhex("2a864886f70d01050d"))
PKCS8_LOCKED = der(0x30, der(0x30, PBES2 + der(0x30, b"x" * 60)) + der(4, b"k" * 160))
PKCS12 = der(0x30, b"\x02\x01\3" + der(0x30, der(6, bytes.fromhex("2a864886f70d010701")) + b"x" * 500))
PGP = b"\x95\x00\x60\x04\x5f\x5f\x5f\x5f\x01" + b"k" * 90
WG = "A" * 42 + "E="
APR = "web:$apr1$abcdefgh$0123456789012345678901\n"
CRON = "* * * * * root /var/app/x\n"


def text(path: str, content: str | bytes, rule: str, severity: str = "error", mode: int = 0o644) -> Hole:
    """Return the hole of one file that somebody put there."""
    return lambda root: put(root, path[1:], content, mode), severity, rule, path


def obeyed(path: str, content: str = "x\n", severity: str = "error") -> Hole:
    return text(path, content, "root-obeys", severity)


def secret(name: str, content: str | bytes) -> Hole:
    return text(f"/opt/app/{name}", content, "private-key")


def login(name: str, content: str | bytes) -> Hole:
    return text(f"/opt/app/{name}", content, "credential")


# New rules, forms and severities: with a record of the root.
HOLES: dict[str, Hole] = {
    # what is made next
    "default-acl-on-etc": (lambda r: default(r / "etc", (2, 7, WEB)), "error", "default-acl", "/etc"),
    "default-acl-on-bin": (
        lambda r: default(r / "usr/bin", (2, 7, WEB)),
        "error",
        "default-acl",
        "/usr/bin",
    ),
    "default-acl-of-group": (lambda r: default(r / "etc", (8, 6, 4003)), "error", "default-acl", "/etc"),
    "default-acl-for-all": (
        lambda r: default(r / "opt/app", (0x20, 7, 0xFFFFFFFF)),
        "error",
        "default-acl",
        "/opt/app",
    ),
    "default-acl-to-read": (lambda r: default(r / "etc", (2, 4, WEB)), "warning", "default-acl", "/etc"),
    "trusted": (
        lambda r: os.setxattr(r / "etc/app.conf", "trusted.x", b"1"),
        "warning",
        "hidden-attribute",
        "/etc/app.conf",
    ),
    "overlay-redirect": (
        lambda r: os.setxattr(r / "etc", "trusted.overlay.redirect", b"/var/app"),
        "error",
        "hidden-attribute",
        "/etc",
    ),
    "overlay-of-a-user": (
        lambda r: os.setxattr(r / "opt/app", "user.overlay.opaque", b"y"),
        "error",
        "hidden-attribute",
        "/opt/app",
    ),
    # what root obeys
    "preload": text("/etc/ld.so.preload", "/var/app/x.so\n", "preload"),
    "preload-by-a-link": (
        lambda r: link(r / "etc/ld.so.preload", "/x"),
        "error",
        "preload",
        "/etc/ld.so.preload",
    ),
    "sudoers": obeyed("/etc/sudoers", "web ALL=(ALL) NOPASSWD: ALL\n"),
    "sudoers-d": obeyed("/etc/sudoers.d/x", "#includedir /var/app\n"),
    "doas": obeyed("/usr/local/etc/doas.conf", "permit nopass web\n"),
    "polkit": obeyed("/etc/polkit-1/rules.d/1.rules"),
    "crontab": obeyed("/etc/crontab", CRON),
    "cron-d": obeyed("/etc/cron.d/x", CRON),
    "cron-daily": obeyed("/etc/cron.daily/x", "#!/bin/sh\n"),
    "roots-crontab": obeyed("/var/spool/cron/crontabs/root", CRON),
    "roots-crontab-elsewhere": obeyed("/var/spool/cron/root", CRON),
    "freebsds-crontab": obeyed("/var/cron/tabs/root", CRON),
    "a-users-crontab": obeyed("/var/spool/cron/crontabs/web", CRON, "warning"),
    "at": obeyed("/var/spool/cron/atjobs/a1"),
    "rc-local": obeyed("/etc/rc.local", "#!/bin/sh\n"),
    "init-d": obeyed("/etc/init.d/x"),
    "freebsds-rc": obeyed("/usr/local/etc/rc.d/x"),
    "inetd": obeyed("/etc/inetd.conf"),
    "unit": obeyed("/etc/systemd/system/x.service"),
    "drop-in": obeyed("/etc/systemd/system/x.service.d/o.conf"),
    "generator": obeyed("/usr/lib/systemd/system-generators/x"),
    "udev": obeyed("/etc/udev/rules.d/1.rules"),
    "tmpfiles": obeyed("/etc/tmpfiles.d/x.conf"),
    "binfmt": obeyed("/etc/binfmt.d/x.conf"),
    "modprobe": obeyed("/etc/modprobe.d/x.conf"),
    "dbus-service": obeyed("/usr/share/dbus-1/system-services/x.service"),
    "profile-d": obeyed("/etc/profile.d/x.sh"),
    "bashrc-of-root": obeyed("/root/.bashrc"),
    "environment": obeyed("/etc/environment", "LD_PRELOAD=/var/app/x.so\n"),
    "sitecustomize": obeyed("/opt/py/sitecustomize.py"),
    "pth": obeyed("/opt/py/site-packages/x.pth", "import os\n"),
    "pam": obeyed("/etc/pam.d/login", "auth sufficient pam_permit.so\n"),
    "pam-nullok": obeyed("/etc/pam.d/common-auth", "auth required pam_unix.so nullok\n"),
    "ld-so-conf-d": obeyed("/etc/ld.so.conf.d/0.conf", "/var/app\n"),
    "musls-path": obeyed("/etc/ld-musl-x86_64.path", "/var/app\n"),
    "libmap": obeyed("/etc/libmap.conf", "libc.so.7 /var/app/x\n"),
    "hosts-equiv": obeyed("/etc/hosts.equiv", "+ +\n"),
    "rhosts": obeyed("/root/.rhosts", "+ +\n"),
    "sshd-config": obeyed("/etc/ssh/sshd_config.d/x.conf"),
    "apt-hook": obeyed("/etc/apt/apt.conf.d/1"),
    "logrotate": obeyed("/etc/logrotate.d/x"),
    "a-link-is-obeyed-too": (
        lambda r: link(r / "etc/cron.d/x", "/opt"),
        "error",
        "root-obeys",
        "/etc/cron.d/x",
    ),
    "a-name-of-bytes": (
        lambda r: put(r, os.fsdecode(b"etc/cron.d/\xff\n"), CRON),
        "error",
        "root-obeys",
        os.fsdecode(b"/etc/cron.d/\xff\n"),
    ),
    "passwd-of-somebody": (
        lambda r: own(r / "etc/passwd", OTHER),
        "error",
        "obeyed-writable",
        "/etc/passwd",
    ),
    "etc-of-somebody": (lambda r: os.chown(r / "etc", OTHER, 0), "error", "obeyed-writable", "/etc"),
    "pam-of-somebody": (lambda r: own(r / "etc/pam.d/x", OTHER), "error", "obeyed-writable", "/etc/pam.d/x"),
    "a-list-of-the-linkers-of-somebody": (
        lambda r: own(r / "etc/ld.so.conf.d/x", 0, OTHER),
        "error",
        "obeyed-writable",
        "/etc/ld.so.conf.d",
    ),
    "second-root": text("/etc/passwd", "root:x:0:0::/:\nx:x:0:0::/:\n", "second-root"),
    "second-root-in-other-words": text("/etc/passwd", "root:x:0:0::/:\nx:x: +00:0::/:\n", "second-root"),
    "key-for-root": text("/root/.ssh/authorized_keys", "ssh-ed25519 A x\n", "ssh-access"),
    # links
    "program-by-a-link": (
        lambda r: link(r / "usr/bin/x", "/var/app/x"),
        "error",
        "link-to-daemon",
        "/usr/bin/x",
    ),
    "passwd-by-a-link": (
        lambda r: link(r / "etc/passwd", "../tmp/p"),
        "error",
        "link-to-daemon",
        "/etc/passwd",
    ),
    "folder-by-a-link": (
        lambda r: link(r / "etc/cron.d", "/var/app"),
        "error",
        "link-to-daemon",
        "/etc/cron.d",
    ),
    "data-by-a-link": (
        lambda r: link(r / "opt/app/x", "/var/app"),
        "warning",
        "link-to-daemon",
        "/opt/app/x",
    ),
    "by-two-links": (
        lambda r: link(link(r / "opt/app/y", "/var/../var/app/x").parents[2] / "usr/bin/x", "/opt/app/y"),
        "error",
        "link-to-daemon",
        "/usr/bin/x",
    ),
    # nodes and sockets
    "null-is-random": (lambda r: swap(r / "dev/null", 1, 8), "error", "device", "/dev/null"),
    "null-is-fuse": (lambda r: swap(r / "dev/null", 10, 229), "error", "device", "/dev/null"),
    # keys
    "indented-key": secret("a", "".join(f"  {line}\n" for line in KEY.splitlines())),
    "key-with-a-mark": secret("a", "\ufeff" + KEY),
    "key-in-json": secret("a.json", '{"k": "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIE"}'),
    "key-in-utf-16": secret("a", KEY.encode("utf-16")),
    "key-behind-bytes": secret("a", b"\0\1\n" + KEY.encode()),
    "rsa-in-der": secret("a.der", RSA),
    "ec-in-der": secret("a", EC),
    "pkcs8-in-der": secret("a", PKCS8),
    "pkcs8-in-der-locked": secret("a", PKCS8_LOCKED),
    "pkcs12": secret("a", PKCS12),
    "openpgp": secret("a", PGP),
    "gnupg": secret("a", "Created: 2020\nKey: (private-key (rsa (n #00#)))\n"),
    "gnupg-old": secret("a", "(21:protected-private-key(3:rsa"),
    "age": secret("a", "# created\nAGE-SECRET-KEY-1" + "Q" * 58 + "\n"),
    "wireguard": secret("wg0.conf", f"[Interface]\nPrivateKey = {WG}\n"),
    "wireguard-alone": secret("privatekey", WG + "\n"),
    "jwk": secret("a", '{"kty": "EC", "d": "' + "x" * 43 + '"}'),
    "openvpn": secret("a", "-----BEGIN OpenVPN Static key V1-----\n"),
    "ssh-1": secret("a", "SSH PRIVATE KEY FILE FORMAT 1.1\n\0"),
    "ssh2": secret("a", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n"),
    "java": secret("a", b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1\0\0\0\1" + bytes(60)),
    "tor": secret("a", b"== ed25519v1-secret: type0 ==\0\0\0" + bytes(64)),
    "keytab": secret("a", b"\5\2\0\0\0\x40\0\2\0\4TEST" + bytes(60)),
    # credentials
    "htpasswd": login(".htpasswd", APR),
    "htpasswd-by-content": login("users", APR),
    "htpasswd-of-des": login("htpasswd", "web:ab0123456789A\n"),
    "htpasswd-sha": login("x", "web:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n"),
    "htdigest": login("a.htdigest", f"web:realm:{'0' * 32}\n"),
    "cvs": login("CVSROOT/passwd", "web:ab0123456789A:web\n"),
    "netrc": login(".netrc", "machine x login y password z\n"),
    "pgpass": login(".pgpass", "*:*:*:web:secret\n"),
    "my-cnf": login(".my.cnf", "[client]\npassword=secret\n"),
    "aws": login(".aws/credentials", "aws_secret_access_key = " + "x" * 40),
    "kubeconfig": login("config", "client-key-data: LS0tLS1CRUdJTiBSU0E=\n"),
    "kubeconfig-token": login("k", "current-context: x\nusers:\n- user:\n    token: abcdefghijkl\n"),
    "git": login(".git-credentials", "https://u:p@example.org\n"),
    "docker-login": login(".docker/config.json", '{"auths": {"x": {"auth": "dTpw"}}}'),
    "npm": login(".npmrc", "//r/:_authToken=abc\n"),
    "pypi": login(".pypirc", "password = x\n"),
    "vault": login(".vault-token", "s.abcdefghijkl\n"),
    "ppp": login("chap-secrets", "web * secret *\n"),
    "postfix": login("sasl_passwd", "[mx] user:secret\n"),
    "wifi": login("wpa_supplicant.conf", "psk=secret\n"),
    "ticket": login("krb5cc_0", b"\5\4\0"),
    "history": login(".bash_history", "mysql -psecret\n"),
    "github": login("x", "token gh" + "p_" + "a" * 36 + "\n"),
}


def has(place: Workshop, wanted: tuple[str, str, str]) -> bool:
    return wanted in audited(place)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, top: Path) -> Path:  # noqa: F811
    """Return the folder of a built project, of which each test takes a copy."""
    folder = tmp_path_factory.mktemp("built")
    workshop(folder, top, keys='devices = ["null"]')
    return folder


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, built: Path, top: Path) -> Workshop:  # noqa: F811
    folder = tmp_path_factory.mktemp("lab")
    folder.chmod(0o755)
    subprocess.run(["cp", "-a", str(built / "p"), str(folder)], check=True)
    shop = Workshop(folder / "p", top)
    record = folder / "p/.chrootbuild/x.record"
    record.write_text(record.read_text().replace(f"{built}/", f"{folder}/"))
    return shop


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_found(place: Workshop, name: str) -> None:
    build, *wanted = HOLES[name]
    build(place.root)
    found = audited(place)
    assert tuple(wanted) in found, found
    assert not any(rule == "no-record" for _, rule, _ in found)


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


UNRECORDED: dict[str, Hole] = {
    "no-record": (lambda _: None, "warning", "no-record", ""),
    "altered-program": (lambda r: alter(r / "usr/bin/ls"), "error", "unlike-source", "/usr/bin/ls"),
    "altered-of-the-same-size": (
        lambda r: put(r, "etc/app.conf", "answer = 41\n"),
        "error",
        "unlike-source",
        "/etc/app.conf",
    ),
    "another-program": (
        lambda r: put(r, "usr/bin/x", "#!/bin/ls\n", 0o755),
        "error",
        "foreign-program",
        "/usr/bin/x",
    ),
    "link-elsewhere": (lambda r: link(r / "bin", "/opt"), "error", "unlike-source", "/bin"),
    "passwd-of-another": (
        lambda r: put(r, "etc/passwd", "root:x:0:0::/:\nz:x:0:0::/:\n"),
        "error",
        "unlike-source",
        "/etc/passwd",
    ),
    "null-is-random": (lambda r: swap(r / "dev/null", 1, 8), "error", "device", "/dev/null"),
    **{
        f"{name}-too": HOLES[name]
        for name in ("second-root", "program-by-a-link", "preload", "sudoers", "roots-crontab", "profile-d")
    },
}


@pytest.mark.parametrize("name", UNRECORDED)
def test_a_hole_is_found_without_a_record(place: Workshop, name: str) -> None:
    (place.folder / ".chrootbuild/x.record").unlink()
    assert audited(place) == [("warning", "no-record", "")]
    build, *wanted = UNRECORDED[name]
    build(place.root)
    found = audited(place)
    assert tuple(wanted) in found, found


# -- sockets and mounts ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["renamed", "linked"])
def test_a_socket_that_commands_the_host_under_another_name(place: Workshop, how: str) -> None:
    outside = place.folder / "docker.sock"
    there = place.root / "var/app/innocent"
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(outside))
        end.listen()
        (outside.rename if how == "renamed" else there.hardlink_to)(there if how == "renamed" else outside)
        assert ("error", "socket", "/var/app/innocent") in audited(place)


def test_a_socket_of_a_process_outside_that_was_bound_by_a_relative_name(place: Workshop) -> None:
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as end:
        try:
            os.chdir(place.root / "var/app")
            end.bind("s")
        finally:
            os.chdir(here)
        end.listen()
        assert audited(place) == [("warning", "socket", "/var/app/s")]


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("mount --bind / var/app", "error"),
        ("mount --bind /etc var/app", "error"),
        ("mount --bind /usr var/app", "error"),
        ("mount --bind /usr/share opt/app", "error"),
        ("mount --bind /usr/share opt/app && mount -o remount,ro,bind opt/app", "warning"),
        ("mount --bind opt/app var/app", "warning"),
    ],
)
def test_a_directory_of_the_hosts_is_mounted(place: Workshop, command: str, wanted: str) -> None:
    script = f'cd "$1" && {{ {command}; }} && shift && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(place.root), *chrootbuild_command(place)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment())
    assert [f["severity"] for f in findings_of(done) if f["rule"] == "mount"] == [wanted]


# -- what is no hole --------------------------------------------------------------------------------

HARMLESS: dict[str, Callable[[Path], object]] = {
    "its-own-users-in-a-default-acl": lambda r: default(r / "var/app", (2, 7, WEB)),
    "a-certificate": lambda r: put(r, "var/app/a.der", der(0x30, der(0x30, b"\xa0\3\2\1\2" + b"x" * 300))),
    "a-public-key": lambda r: put(r, "var/app/a", der(0x30, INTEGERS[3:])),
    "a-public-ring": lambda r: put(r, "var/app/a.gpg", b"\x99" + PGP[1:]),
    "javas-certificates": lambda r: (
        put(r, "var/app/cacerts", PKCS12),
        put(r, "var/app/a", b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1\0\0\0\2" + bytes(60)),
    ),
    "code-that-passes-a-key": lambda r: put(
        r, "var/app/a.py", "f(aws_secret_access_key=aws_secret_access_key)\n"
    ),
    "an-age-recipient": lambda r: put(r, "var/app/a", "age1" + "q" * 58),
    "a-peer": lambda r: put(r, "var/app/a", f"PublicKey = {WG}\n"),
    "text-about-keys": lambda r: put(r, "var/app/a", "  -----BEGIN PRIVATE KEY-----\n  and so on\n"),
    "text-about-hashes": lambda r: put(r, "var/app/a", "The form is web:HASH, see crypt(5): $6$\n"),
    "a-netrc-without-a-password": lambda r: put(r, "var/app/.netrc", "machine x login y\n"),
    "a-link-within-its-own": lambda r: link(r / "var/app/a", "/var/app/b"),
    "a-socket-of-its-own": lambda r: bind(r / "var/app/a"),
    "letters-that-say-nothing": lambda r: put(r, "var/app/a", PEM.format("X ", "")[:20]),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_like_a_hole_is_none(place: Workshop, name: str) -> None:
    HARMLESS[name](place.root)
    assert audited(place) == []


NEW = {
    *"default-acl hidden-attribute link-to-daemon root-obeys preload root-granted obeyed-writable".split(),
    *"second-root credential no-record unlike-source".split(),
}


@pytest.mark.parametrize(
    ("name", "program"),
    [("nginx", "nginx"), ("bind9", "named"), ("sshd", "sshd"), ("postgres", "postgres"), ("shell", "sh")],
)
@pytest.mark.parametrize("record", [True, False])
def test_the_root_of_an_ordinary_service_has_none(
    tmp_path: Path, name: str, program: str, record: bool
) -> None:
    shop = Workshop(tmp_path / "p", Path("/"))
    (tmp_path / "p").mkdir()
    for file in (REPOSITORY / "targets").glob("common/*.toml"):
        shop.write_targets({f"common/{file.name}": file.read_text()})
    shop.write_targets({"x.toml": (REPOSITORY / f"targets/{name}.toml").read_text()})
    status, said = shop._fork(("build", "x"))
    if status == 3:
        pytest.skip(f"{program} is not installed: {said.splitlines()[0]}")
    assert status == 0, said
    if not record:
        (shop.folder / ".chrootbuild/x.record").unlink()
    found = [(f["rule"], f["path"]) for f in whole(shop) if f["rule"] in NEW]
    assert found == ([] if record else [("no-record", "")])


def test_hostile_content_costs_no_time_and_no_traceback(place: Workshop) -> None:
    """Long lines, blanks, unfinished elements, loops of links: each file is bounded."""
    put(place.root, "var/app/a", b"-----BEGIN PRIVATE KEY-----\n" + b" \n" * 200_000)
    put(place.root, "var/app/.netrc", b" " * 500_000 + b"password")
    put(place.root, "var/app/.pypirc", b"\n" * 500_000)
    put(place.root, "var/app/.git-credentials", b"://a:" * 100_000)
    put(place.root, "var/app/.pgpass", b":" * 500_000)
    put(place.root, "var/app/.htpasswd", b"a:" * 200_000)
    put(place.root, "var/app/d", b"\x30\x84\xff\xff\xff\xff\x02\x84")
    link(place.root / "etc/cron.d", "cron.d")
    link(place.root / "etc/sudoers", "../etc/a")
    link(place.root / "etc/a", "../etc/sudoers/" + "x/" * 2000)
    found = whole(place)
    assert ("error", "root-obeys", "/etc/sudoers") in {(f["severity"], f["rule"], f["path"]) for f in found}


def test_a_grant_that_the_target_brings_is_said(tmp_path: Path, top: Path) -> None:  # noqa: F811
    line = r"[text]" + '\n"/etc/sudoers" = "web ALL=(ALL) NOPASSWD: ALL\\n"'
    assert audited(workshop(tmp_path, top, tables=line)) == [("error", "root-granted", "/etc/sudoers")]
    assert HASH
