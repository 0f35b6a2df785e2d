"""audit over real roots: in each case exactly one thing is wrong, and all findings are compared; the twin has none."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import chrootbuild.audit
import chrootbuild.commands.audit
import chrootbuild.commands.build  # noqa: F401 -- imported here, so that no forked command has to
from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.workshop import Workshop, bring_host_programs

pytestmark = pytest.mark.root

WEB, OTHER = 4001, 4002
Found = list[tuple[str, str, str]]  # severity, rule, path
TARGET = """\
binaries = ["/bin/ls", "/bin/sleep"]
files = ["/etc/app.conf", "/opt/app/"]
{keys}
[accounts]
users = ["web"]
{accounts}
[directories]
"/var/app" = {{ mode = "0750", owner = "web", group = "web" }}
"/tmp" = {{ mode = "1777" }}
{directories}
[check.service]
start = ["/bin/sleep", "60"]
user = "web"
{tables}
"""
PASSWD = """\
root:x:0:0::/root:/bin/sh
web:x:4001:4001::/:/bin/false
"""
HASH = "$6$salt$0123456789abcdefghijklmnopqrstuvwxyz"
PEM = (
    "-----BEGIN {}PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAA\n-----END {}PRIVATE KEY-----\n"
)
KEY = PEM.format("", "")


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sysroot with a few programs; no test changes it."""
    top = tmp_path_factory.mktemp("sys") / "top"
    top.mkdir()
    bring_host_programs(top, "/bin/ls", "/bin/sleep", "/bin/sh")
    files = {
        "/etc/passwd": PASSWD,
        "/etc/group": "root:x:0:\nweb:x:4001:\nadm:x:4003:web\n",
        "/etc/shadow": f"root:{HASH}:1::::::\nweb:{HASH}:1::::::\n",
        "/etc/app.conf": "answer = 42\n",
        "/etc/app.pem": KEY,
        "/opt/app/data": "data\n",
        "/usr/bin/hello": "#!/bin/sh\necho hello\n",
        "/usr/bin/strace": "#!/bin/sh\n",
    }
    write(top, files)
    (top / "etc/shadow").chmod(0o640)
    (top / "etc/app.pem").chmod(0o640)
    os.chown(top / "etc/app.pem", 0, WEB)
    return top


def workshop(folder: Path, top: Path, **more: str) -> Workshop:
    """Return the project of one test, built; ``more`` are parts of its target file."""
    folder.chmod(0o755)
    (folder / "p").mkdir()
    place = Workshop(folder / "p", top)
    parts = {"keys": "", "accounts": "", "directories": "", "tables": ""} | more
    place.write_targets({"x.toml": f'sysroot = "{top}"\n{TARGET.format(**parts)}'})
    place.run("build", "x")
    return place


def audited(place: Workshop) -> Found:
    """Return the findings of audit --json, sorted; the exit code goes by the errors."""
    findings = whole(place)
    return sorted((finding["severity"], finding["rule"], finding["path"]) for finding in findings)


def whole(place: Workshop) -> list[dict[str, str]]:
    status, said = place._fork(("audit", "--json", "x"))
    assert "Traceback" not in said
    data: dict[str, list[dict[str, str]]] = json.loads(said)
    assert status == (1 if any(item["severity"] == "error" for item in data["findings"]) else 0)
    return data["findings"]


def put(
    root: Path, path: str, content: str | bytes = "", mode: int = 0o644, uid: int = 0, gid: int = 0
) -> Path:
    """Put a file into a root, the directories above it root's."""
    where = root / path
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.chown(where, uid, gid)
    where.chmod(mode)
    return where


def change(path: Path, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Give a path another owner and mode."""
    os.chown(path, uid, gid)
    path.chmod(mode)


def closed(path: Path) -> None:
    """Let everyone write a file in a directory that nobody can enter."""
    path.chmod(0o666)
    path.parent.chmod(0o700)


def stage(root: Path) -> None:
    """Leave the staging of a build that was killed: it has a second name of a file."""
    (root.parent / ".x.chrootbuild").mkdir()
    os.link(root / "etc/app.conf", root.parent / ".x.chrootbuild/1")


def passage(root: Path) -> None:
    """Leave what a build that was killed had exchanged: its files have names in the root as well."""
    (root / ".chrootbuild/old").mkdir(parents=True)
    (root / ".chrootbuild").chmod(0o700)
    os.link(root / "etc/app.conf", root / ".chrootbuild/old/app.conf")


def everyones_key(path: Path) -> None:
    path.parent.chmod(0o755)
    path.write_text(KEY)


def link_out(path: Path) -> None:
    os.link(path, path.parents[len(path.parts) - path.parts.index("build")] / "outside")


def node(path: Path, kind: int, major: int, minor: int) -> None:
    path.parent.mkdir(exist_ok=True)
    os.mknod(path, kind | 0o600, os.makedev(major, minor))


def bind(path: Path, name: str = "") -> None:
    """Make a socket whose bound name is its path, or ``name``; it is gone with its process, its file stays."""
    with socket.socket(socket.AF_UNIX) as end:
        os.chdir(path.parent)
        end.bind(name or path.name)


def acl(path: Path, tag: int, number: int) -> None:
    """Let a user (2) or group (8) write a file by its ACL: owner, one more, group, mask, others."""
    entries = (
        (1, 6, 0xFFFFFFFF),
        (tag, 6, number),
        (4, 4, 0xFFFFFFFF),
        (0x10, 6, 0xFFFFFFFF),
        (0x20, 4, 0xFFFFFFFF),
    )
    if tag == 8:
        entries = (entries[0], entries[2], entries[1], *entries[3:])
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, "system.posix_acl_access", value)


def core(path: Path) -> None:
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 4, 62) + bytes(100)
    put(path.parent, path.name, head, 0o600)


CHMOD = ("error", "drift", "/etc/app.conf")
# What is done to a root that was just built, and all that audit then has to say.
CASES: dict[str, tuple[Callable[[Path], object], Found]] = {
    "nothing": (lambda _: None, []),
    "setuid": (
        lambda r: put(r, "var/app/x", "#!/bin/true", 0o4755),
        [
            ("error", "setuid-file", "/var/app/x"),
            ("warning", "foreign-program", "/var/app/x"),
        ],
    ),
    "setgid": (lambda r: put(r, "var/app/x", "", 0o2755, 0, WEB), [("error", "setuid-file", "/var/app/x")]),
    "setgid-without-execution-is-mandatory-locking": (lambda r: put(r, "var/app/x", "", 0o2744), []),
    "capability": (
        lambda r: os.setxattr(
            put(r, "var/app/x"),
            "security.capability",
            bytes.fromhex("0100000200200000000000000000000000000000"),
        ),
        [
            ("error", "setuid-file", "/var/app/x"),
        ],
    ),
    "setgid-directory": (
        lambda r: change(r / "opt/app", 0o2755, 0, WEB),
        [
            ("error", "drift", "/opt/app"),
            ("note", "setgid-directory", "/opt/app"),
        ],
    ),
    # programs and libraries
    "program-of-another-owner": (
        lambda r: os.chown(r / "usr/bin/ls", OTHER, 0),
        [
            ("error", "drift", "/usr/bin/ls"),
            ("error", "program-writable", "/usr/bin/ls"),
            ("warning", "no-account", "/usr/bin/ls"),
        ],
    ),
    "program-for-everyone": (
        lambda r: (r / "usr/bin/ls").chmod(0o757),
        [
            ("error", "drift", "/usr/bin/ls"),
            ("error", "program-writable", "/usr/bin/ls"),
        ],
    ),
    "program-by-acl": (
        lambda r: acl(r / "usr/bin/ls", 2, WEB),
        [
            ("error", "drift", "/usr/bin/ls"),
            ("error", "program-writable", "/usr/bin/ls"),
        ],
    ),
    "library-directory-for-a-group": (
        lambda r: change(r / "usr/bin", 0o775, 0, 4003),
        [
            ("error", "drift", "/usr/bin"),
            ("error", "program-writable", "/usr/bin"),
        ],
    ),
    # what everyone can write
    "world-writable-file": (
        lambda r: (r / "etc/app.conf").chmod(0o666),
        [CHMOD, ("error", "world-writable", "/etc/app.conf")],
    ),
    "world-writable-directory": (
        lambda r: (r / "opt/app").chmod(0o777),
        [
            ("error", "drift", "/opt/app"),
            ("error", "world-writable", "/opt/app"),
        ],
    ),
    "world-writable-sticky-and-not-declared": (
        lambda r: (r / "opt/app").chmod(0o1777),
        [
            ("error", "drift", "/opt/app"),
            ("error", "world-writable", "/opt/app"),
        ],
    ),
    "world-writable-and-out-of-reach": (
        lambda r: closed(r / "opt/app/data"),
        [
            ("error", "drift", "/opt/app"),
            ("error", "drift", "/opt/app/data"),
            ("warning", "world-writable", "/opt/app/data"),
        ],
    ),
    "declared-directory-without-its-sticky-bit": (
        lambda r: (r / "tmp").chmod(0o777),
        [
            ("error", "drift", "/tmp"),
            ("error", "world-writable", "/tmp"),
        ],
    ),
    "world-writable-by-the-daemon-in-its-directory": (
        lambda r: put(r, "var/app/x", "", 0o666, WEB, WEB),
        [
            ("warning", "world-writable", "/var/app/x"),
        ],
    ),
    # what the daemon can write
    "daemon-owns-a-file": (
        lambda r: os.chown(r / "etc/app.conf", WEB, 0),
        [CHMOD, ("error", "daemon-writable", "/etc/app.conf")],
    ),
    "daemon-owns-a-read-only-file": (
        lambda r: change(r / "etc/app.conf", 0o444, WEB, 0),
        [
            CHMOD,
            ("error", "daemon-writable", "/etc/app.conf"),
        ],
    ),
    "daemon-owns-a-directory": (
        lambda r: os.chown(r / "opt/app", WEB, 0),
        [
            ("error", "daemon-writable", "/opt/app"),
            ("error", "drift", "/opt/app"),
        ],
    ),
    "daemon-owns-the-root": (
        lambda r: os.chown(r, WEB, 0),
        [("error", "daemon-writable", "/"), ("error", "drift", "/"), ("error", "program-writable", "/")],
    ),
    "daemons-group-can-write": (
        lambda r: change(r / "etc/app.conf", 0o664, 0, WEB),
        [
            CHMOD,
            ("error", "daemon-writable", "/etc/app.conf"),
        ],
    ),
    "daemons-group-can-read": (
        lambda r: change(r / "etc/app.conf", 0o640, 0, WEB),
        [CHMOD],
    ),
    "daemon-can-write-by-acl": (
        lambda r: acl(r / "etc/app.conf", 2, WEB),
        [CHMOD, ("error", "daemon-writable", "/etc/app.conf")],
    ),
    "daemons-second-group-by-acl": (
        lambda r: acl(r / "etc/app.conf", 8, 4003),
        [CHMOD, ("error", "daemon-writable", "/etc/app.conf")],
    ),
    "another-group-by-acl": (lambda r: acl(r / "etc/app.conf", 8, OTHER), [CHMOD]),
    "another-user-by-acl": (lambda r: acl(r / "etc/app.conf", 2, OTHER), [CHMOD]),
    "daemons-own-file-in-its-directory": (lambda r: put(r, "var/app/x", "", 0o664, WEB, WEB), []),
    # nodes
    "block-device": (
        lambda r: node(r / "var/app/sda", 0o060000, 8, 0),
        [("error", "device", "/var/app/sda")],
    ),
    "memory": (
        lambda r: node(r / "var/app/innocent", 0o020000, 1, 1),
        [("error", "device", "/var/app/innocent")],
    ),
    "raw-disk": (lambda r: node(r / "var/app/raw", 0o020000, 162, 1), [("error", "device", "/var/app/raw")]),
    "unusual-device": (
        lambda r: node(r / "var/app/fuse", 0o020000, 10, 229),
        [("error", "device", "/var/app/fuse")],
    ),
    "usual-device-of-somebody": (
        lambda r: node(r / "var/app/null", 0o020000, 1, 3),
        [("warning", "device", "/var/app/null")],
    ),
    "socket-of-the-daemon": (lambda r: bind(r / "var/app/s"), []),
    "socket-elsewhere": (
        lambda r: bind(r / "opt/app/s"),
        [
            ("note", "socket", "/opt/app/s"),
            ("warning", "extra", "/opt/app/s"),
        ],
    ),
    "docker": (
        lambda r: bind(r / "opt/app/docker.sock"),
        [
            ("error", "socket", "/opt/app/docker.sock"),
            ("warning", "extra", "/opt/app/docker.sock"),
        ],
    ),
    "fifo": (
        lambda r: os.mkfifo(r / "opt/app/f"),
        [("note", "fifo", "/opt/app/f"), ("warning", "extra", "/opt/app/f")],
    ),
    "fifo-of-the-daemon": (lambda r: os.mkfifo(r / "var/app/f"), []),
    # secrets
    "hash-in-passwd": (
        lambda r: put(r, "var/app/passwd", f"web:{HASH}:1:1:::\n"),
        [("error", "password-hash", "/var/app/passwd")],
    ),
    "locked-hash-is-one": (
        lambda r: put(r, "var/app/shadow-", f"web:!{HASH}:1:1:::\n", 0o640, 0, WEB),
        [
            ("error", "password-hash", "/var/app/shadow-"),
        ],
    ),
    "des-hash": (
        lambda r: put(r, "var/app/master.passwd", "web:ab0123456789A:1:1::0:0:::\n", 0o600),
        [
            ("warning", "password-hash", "/var/app/master.passwd"),
        ],
    ),
    "no-hashes": (
        lambda r: put(r, "var/app/passwd", "a:x:1:1:::\nb:*:1:1:::\nc:!:1:1:::\nd:*LOCKED*:1:1:::\n"),
        [],
    ),
    "no-password": (
        lambda r: put(r, "var/app/passwd", "web::1:1:::\n"),
        [("error", "empty-password", "/var/app/passwd")],
    ),
    "no-password-in-group-is-usual": (lambda r: put(r, "var/app/group", "web::1:\n"), []),
    "key-for-everyone": (
        lambda r: everyones_key(r / "var/app/x.pem"),
        [
            ("error", "drift", "/var/app"),
            ("error", "private-key", "/var/app/x.pem"),
        ],
    ),
    "key-behind-a-closed-directory": (
        lambda r: put(r, "var/app/x.pem", KEY),
        [("warning", "private-key", "/var/app/x.pem")],
    ),
    "key-of-the-daemon": (
        lambda r: put(r, "var/app/x", KEY, 0o600, WEB),
        [("warning", "private-key", "/var/app/x")],
    ),
    "key-of-root": (
        lambda r: put(r, "var/app/x", PEM.format("OPENSSH ", "OPENSSH "), 0o600),
        [("note", "private-key", "/var/app/x")],
    ),
    "key-behind-its-certificate": (
        lambda r: put(r, "var/app/x", "-----BEGIN CERTIFICATE-----\n" + "A" * 9000 + "\n" + KEY, 0o600),
        [
            ("note", "private-key", "/var/app/x"),
        ],
    ),
    "key-by-name": (
        lambda r: put(r, "var/app/rndc.key", 'key "rndc" { secret "x"; };\n', 0o640, 0, WEB),
        [
            ("warning", "private-key", "/var/app/rndc.key"),
        ],
    ),
    "public-keys-are-none": (
        lambda r: (
            put(r, "var/app/Kexample.+008+12345.key", "example. IN DNSKEY 257 3 8 AwEAAc\n"),
            put(r, "var/app/x.key", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n"),
            put(r, "var/app/doc", "A key starts with\n-----BEGIN PRIVATE KEY-----\nand so on\n"),
        ),
        [],
    ),
    "core-dump": (lambda r: core(r / "var/app/anything"), [("warning", "core-dump", "/var/app/anything")]),
    "a-file-named-core": (lambda r: put(r, "var/app/core", "of the matter"), []),
    "ssh": (
        lambda r: put(r, "var/app/.ssh/authorized_keys", "ssh-ed25519 AAAA x\n"),
        [
            ("warning", "ssh-access", "/var/app/.ssh"),
            ("warning", "ssh-access", "/var/app/.ssh/authorized_keys"),
        ],
    ),
    # what was left behind
    "left-behind-interpreter": (
        lambda r: put(r, "opt/app/perl5.36.0", "\x7fELF", 0o755),
        [
            ("note", "left-behind", "/opt/app/perl5.36.0"),
            ("warning", "extra", "/opt/app/perl5.36.0"),
            ("warning", "foreign-program", "/opt/app/perl5.36.0"),
        ],
    ),
    "the-name-alone-is-nothing": (lambda r: put(r, "var/app/su", "auth required pam_unix.so\n"), []),
    "a-program-in-the-daemons-directory": (
        lambda r: put(r, "var/app/x", "#!/bin/ls\n", 0o755, WEB),
        [
            ("warning", "foreign-program", "/var/app/x"),
        ],
    ),
    "a-library-that-was-not-installed": (
        lambda r: put(r, "usr/bin/libevil.so", "x"),
        [("error", "foreign-program", "/usr/bin/libevil.so")],
    ),
    # the whole
    "hard-link-out": (lambda r: link_out(r / "etc/app.conf"), [("warning", "hard-link", "/etc/app.conf")]),
    "hard-link-out-that-the-daemon-can-write": (
        lambda r: link_out(put(r, "var/app/x", "", 0o644, WEB)),
        [("error", "hard-link", "/var/app/x")],
    ),
    "hard-link-inside": (lambda r: os.link(put(r, "var/app/x"), r / "var/app/y"), []),
    "hard-link-into-the-staging": (
        stage,
        [],
    ),
    "hard-link-into-what-a-killed-build-left": (
        passage,
        [],
    ),
    "uid-without-account": (
        lambda r: put(r, "var/app/x", uid=OTHER),
        [("warning", "no-account", "/var/app/x")],
    ),
    "gid-without-group": (
        lambda r: put(r, "var/app/x", gid=OTHER),
        [("warning", "no-account", "/var/app/x")],
    ),
    "gid-of-the-sysroots": (lambda r: put(r, "var/app/x", gid=4003), []),
    "content-changed": (lambda r: put(r, "etc/app.conf", "answer = 41\n"), [CHMOD]),
    "file-is-gone": (lambda r: (r / "etc/app.conf").unlink(), [CHMOD]),
    "extra": (lambda r: put(r, "opt/app/more"), [("warning", "extra", "/opt/app/more")]),
    "library-is-gone": (
        lambda r: next((r / "usr/lib").rglob("libselinux.so.1")).rename(r / "var/app/x"),
        [
            ("error", "drift", "LIB"),
            ("error", "missing-library", "/usr/bin/ls"),
        ],
    ),
    "root-in-a-writable-parent": (lambda r: r.parent.chmod(0o777), [("error", "untrusted-place", "")]),
    "root-in-a-sticky-parent": (lambda r: r.parent.chmod(0o1777), []),
    "state-that-others-can-write": (
        lambda r: (r.parents[1] / ".chrootbuild").chmod(0o777),
        [("error", "untrusted-place", ""), ("warning", "no-record", "")],  # the record is not believed
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found_and_nothing_else(tmp_path: Path, top: Path, name: str) -> None:
    place = workshop(tmp_path, top)
    spoil, wanted = CASES[name]
    here = os.getcwd()
    try:
        spoil(place.root)
    finally:
        os.chdir(here)
    libselinux = [path for _, _, path in audited(place) if "libselinux" in path]
    wanted = [(severity, rule, libselinux[0] if path == "LIB" else path) for severity, rule, path in wanted]
    assert audited(place) == sorted(wanted)


TOOLS = "bash gcc-12 dpkg gdb ktrace vipw useradd sudo mount ldconfig busybox x86_64-linux-gnu-ld.bfd"


@pytest.mark.parametrize("name", TOOLS.split())
def test_a_tool_that_was_left_behind(tmp_path: Path, top: Path, name: str) -> None:
    place = workshop(tmp_path, top)
    path = f"/opt/app/{name}"
    put(place.root, path[1:], "#!/bin/true", 0o755)
    rules = ("extra", "foreign-program", "left-behind", "missing-library")
    assert audited(place) == [("warning", rule, path) for rule in rules]


# -- what the target says -------------------------------------------------------------------------

DECLARED: dict[str, tuple[dict[str, str], Found]] = {
    "setuid": (
        {"keys": 'setuid = ["/bin/ls"]'},
        [("note", "setuid-file", "/usr/bin/ls")],
    ),
    "password": (
        {"accounts": 'passwords = ["web"]'},
        [("note", "password-hash", "/etc/shadow")],
    ),
    "program-directory-of-the-daemon": (
        {"directories": '"/usr/lib/app" = { owner = "web" }'},
        [("error", "program-writable", "/usr/lib/app")],
    ),
    "program-in-a-directory-of-the-daemon": (
        {
            "directories": '"/opt/app" = { owner = "web" }',
            "tables": '[text]\n"/opt/app/run" = { content = "#!/bin/ls\\n", mode = "0755" }',
        },
        [("error", "program-writable", "/opt/app")],
    ),
    "a-file-of-the-daemons-in-its-directory": (
        {"tables": '[text]\n"/var/app/settings" = { content = "x", owner = "web" }'},
        [],
    ),
    "a-file-of-the-daemons-in-a-directory-of-roots": (
        {
            "directories": '"/etc/app" = {}',
            "tables": '[text]\n"/etc/app/x" = { content = "x", owner = "web" }',
        },
        [("error", "daemon-writable", "/etc/app/x")],
    ),
    "directory-for-everyone": (
        {"directories": '"/var/all" = { mode = "0777" }'},
        [("error", "world-writable", "/var/all")],
    ),
    "ssh": (
        {"directories": '"/var/app/.ssh" = { }'},
        [("note", "ssh-access", "/var/app/.ssh")],
    ),
    "block-device": (
        {"keys": 'devices = ["null", { name = "sda", block = "8:0" }]'},
        [("error", "device", "/dev/sda")],
    ),
    "devices": (
        {"keys": 'devices = ["std", "ptmx", "fuse"]'},
        [("note", "device", "/dev/fuse")],
    ),
}


@pytest.mark.parametrize("name", DECLARED)
def test_what_the_target_says_counts(tmp_path: Path, top: Path, name: str) -> None:
    more, wanted = DECLARED[name]
    folder = tmp_path / "top"
    if name == "setuid":
        shutil.copytree(top, folder, symlinks=True)
        (folder / "usr/bin/ls").chmod(0o4755)
        top = folder
    assert audited(workshop(tmp_path, top, **more)) == wanted


def test_programs_that_are_named_or_run_by_a_script_are_notes_and_tools_are_not(
    tmp_path: Path, top: Path
) -> None:
    place = workshop(tmp_path, top)
    text = (place.folder / "targets/x.toml").read_text()
    shell = "/usr/bin/" + os.path.basename(os.path.realpath("/bin/sh"))
    for names, wanted in (
        ('"/bin/sh"', [("note", "left-behind", shell)]),
        ('"hello"', [("note", "left-behind", shell)]),
        ('"strace"', [("note", "left-behind", shell), ("warning", "left-behind", "/usr/bin/strace")]),
    ):
        (place.folder / "targets/x.toml").write_text(
            text.replace('"/bin/sleep"]', f'"/bin/sleep", {names}]')
        )
        place.run("build", "x")
        assert audited(place) == wanted
    assert "the target names it" in "".join(finding["message"] for finding in whole(place))


def test_a_key_that_files_name_is_a_note(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    target = place.folder / "targets/x.toml"
    target.write_text(target.read_text().replace('"/etc/app.conf"', '"/etc/app.conf", "/etc/app.pem"'))
    place.run("build", "x")
    assert audited(place) == [("note", "private-key", "/etc/app.pem")]


def test_a_service_that_root_starts_has_ways_out_and_the_unit_closes_them(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    target = place.folder / "targets/x.toml"
    target.write_text(target.read_text().replace('user = "web"', 'user = "root"'))
    (finding,) = whole(place)
    assert (finding["severity"], finding["rule"]) == ("note", "ways-out")
    unit = place.run("host", "x", "unit")
    named = [word.strip(",;:") for word in finding["message"].split() if "=" in word]
    assert len(named) > 5
    assert [word for word in named if word.partition("=")[0] not in unit] == []


def test_a_root_without_a_record_is_judged_by_its_target(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    (place.folder / ".chrootbuild/x.record").unlink()
    assert audited(place) == [("warning", "no-record", "")]
    (place.root / "etc/app.conf").chmod(0o666)
    assert audited(place) == [("error", "world-writable", "/etc/app.conf"), ("warning", "no-record", "")]


def test_a_seed_is_the_daemons(tmp_path: Path, top: Path) -> None:
    folder = tmp_path / "top"
    shutil.copytree(top, folder, symlinks=True)
    write(folder, {"/var/lib/db/base": "x"})
    os.chown(folder / "var/lib/db", WEB, WEB)
    os.chown(folder / "var/lib/db/base", WEB, WEB)
    assert audited(workshop(tmp_path, folder, keys='seed = ["/var/lib/db/"]')) == []


# -- ignore, and what is printed --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "silenced"),
    [
        ("/usr/bin/ls", True),
        ("/bin/ls", True),  # as it may be written: a link leads there
        ("/usr/bin/", True),
        ("/usr/", True),
        ("/usr", False),
        ("/usr/bin/l", False),
        ("/usr/bin/ls/", True),
    ],
)
def test_ignore_silences_a_path_or_a_tree_and_says_why(
    tmp_path: Path, top: Path, key: str, silenced: bool
) -> None:
    place = workshop(tmp_path, top, tables=f'[audit]\nignore = {{ "{key}" = "we know" }}')
    (place.root / "usr/bin/ls").chmod(0o4755)
    findings = whole(place)
    if silenced:
        assert {finding["severity"] for finding in findings} == {"note"}
        assert {finding["rule"] for finding in findings} == {"drift", "setuid-file"}
        assert all(finding["message"].startswith("ignored (we know): ") for finding in findings)
    else:
        assert [finding["rule"] for finding in findings if finding["severity"] == "error"] == [
            "drift",
            "setuid-file",
        ]
        assert [finding["path"] for finding in findings if finding["rule"] == "ignore"] == [key]


def test_what_a_daemon_made_by_the_thousand_is_counted(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    for number in range(1000):
        put(place.root, f"var/app/{number}", "", 0o666, WEB)
    put(place.root, "var/app/last", "", 0o4755)
    findings = whole(place)
    assert len(findings) == 102
    assert [finding["path"] for finding in findings if finding["severity"] == "error"] == ["/var/app/last"]
    assert "900 more like these" in [finding["message"] for finding in findings]


def test_text_and_exit_codes(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    assert place.run("audit", "x") == "x  nothing found\n"
    put(place.root, "var/app/a\x1b[2J\nb", "", 0o4755)
    put(place.root, "var/app/c", "", 0o4755)
    said = place.run("audit", "x", code=1)
    assert said.count("[setuid-file]") == 2
    assert said.count("remedy: ") == 1
    assert "\x1b" not in said
    assert "/var/app/a\\x1b[2J\\nb" in said
    shutil.rmtree(place.root)
    assert "chrootbuild build x" in place.run("audit", "x", code=1)
    assert "did you mean x?" in place.run("audit", "xx", code=2)


def test_no_link_is_followed_and_no_name_leads_out(tmp_path: Path, top: Path) -> None:
    """What links lead to is not judged, a loop and a FIFO do not stop it, and nothing changes."""
    place = workshop(tmp_path, top)
    victim = put(tmp_path, "victim/passwd", f"root:{HASH}:0:0:::\n", 0o4777)
    where = place.root / "var/app"
    (where / "out").symlink_to(victim.parent)
    (where / "shadow").symlink_to(victim)
    (where / "loop").symlink_to("loop")
    os.mkfifo(where / "passwd")
    deep = where
    for _ in range(300):
        deep = deep / ("d" * 20)
        os.mkdir(where / "d")
        os.rename(where / "d", where / "e")
        if (where / "top").exists():
            os.rename(where / "top", where / "e/top")
        os.rename(where / "e", where / "top")
    assert audited(place) == []


# -- processes ----------------------------------------------------------------------------------------


def start(root: Path, *, uid: int = 0, chdir: bool = True, fd: int | None = None) -> subprocess.Popen[bytes]:
    """Start sleep in a root by chroot(2), as a careless script does or as it should be."""

    def enter() -> None:
        os.chroot(root)
        if chdir:
            os.chdir("/")
        if uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)

    fds = () if fd is None else (fd,)
    return subprocess.Popen(["/bin/sleep", "60"], preexec_fn=enter, pass_fds=fds)  # noqa: PLW1509 -- no threads


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_process_of_the_daemons_user_is_nothing(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    process = start(place.root, uid=WEB)
    try:
        assert audited(place) == []
    finally:
        ended(process)


def test_a_process_that_is_root(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    process = start(place.root)
    try:
        found = audited(place)
        assert found == [
            ("error", "process-capabilities", "/usr/bin/sleep"),
            ("note", "ways-out", ""),
            ("warning", "process-root", "/usr/bin/sleep"),
        ]
        text = " ".join(finding["message"] for finding in whole(place))
        assert f"sleep (pid {process.pid})" in text
        assert "CAP_SYS_ADMIN" in text
    finally:
        ended(process)


def test_a_process_that_did_not_change_its_directory(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    process = start(place.root, uid=WEB, chdir=False)
    try:
        assert audited(place) == [("error", "process-outside", "/usr/bin/sleep")]
    finally:
        ended(process)


def test_a_process_with_a_directory_outside_open(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    process = start(place.root, uid=WEB, fd=fd)
    try:
        assert audited(place) == [("error", "process-outside", "/usr/bin/sleep")]
    finally:
        ended(process)
        os.close(fd)


def test_a_process_on_a_program_that_was_replaced(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    process = start(place.root, uid=WEB)
    try:
        path = place.root / "usr/bin/sleep"
        shutil.copy2(path, path.with_name("new"))
        path.with_name("new").rename(path)
        assert audited(place) == [("warning", "process-outdated", "/usr/bin/sleep")]
    finally:
        ended(process)


def test_whom_a_process_runs_as_is_a_user_of_the_daemons(tmp_path: Path, top: Path) -> None:
    place = workshop(tmp_path, top)
    put(place.root, "opt/app/x", uid=OTHER)
    before = audited(place)
    process = start(place.root, uid=OTHER)
    try:
        assert set(audited(place)) - set(before) == {("error", "daemon-writable", "/opt/app/x")}
    finally:
        ended(process)


# -- mounts, and a socket of the host's ------------------------------------------------------------------


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("mount -t proc proc proc", [("error", "mount", "/proc")]),
        ("mount -t proc -o ro proc proc", []),
        ("mount -t sysfs sysfs var/app", [("error", "mount", "/var/app")]),
        ("mount -t tmpfs tmpfs var/app", [("warning", "mount", "/var/app")]),
        ("mount --bind /etc var/app", [("error", "mount", "/var/app")]),
        ("mount -t devtmpfs devtmpfs var/app || mount -t tmpfs tmpfs var/app", None),
    ],
)
def test_mounts(tmp_path: Path, top: Path, command: str, wanted: Found | None) -> None:
    place = workshop(tmp_path, top, keys='mounts = ["/proc"]')
    script = f'cd "$1" && {{ {command}; }} && shift && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(place.root), *chrootbuild_command(place)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment())
    found = [(f["severity"], f["rule"], f["path"]) for f in findings_of(done)]
    if wanted is None:
        assert [path for _, _, path in found] == ["/var/app"]
    else:
        assert found == wanted


@pytest.mark.namespaces
@pytest.mark.parametrize(("options", "wanted"), [("rw", [("error", "mount", "/proc")]), ("ro", [])])
def test_a_mount_that_only_a_process_of_the_root_sees(
    tmp_path: Path, top: Path, options: str, wanted: Found
) -> None:
    """As in a unit's mount namespace: a tmpfs there is somebody's intention, a writable /proc is one way out."""
    place = workshop(tmp_path, top)
    (place.root / "var/app/proc").mkdir()
    script = 'mount -t tmpfs -o mode=755 t "$1/tmp" && mkdir "$1/tmp/p" && mount -t proc -o "$2" p "$1/var/app/proc"'
    script += ' && echo ready && exec chroot --userspec=4001:4001 "$1" /bin/sleep 60'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(place.root), options]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            while os.readlink(f"/proc/{process.pid}/root") == "/":
                pass  # between echo and chroot(2)
            found = [
                (severity, rule, path.removeprefix("/var/app")) for severity, rule, path in audited(place)
            ]
            assert found == wanted
        finally:
            process.kill()


def findings_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """Return what a run printed, which nothing on standard error may spoil."""
    assert done.stderr == ""
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return findings


def chrootbuild_command(place: Workshop) -> list[str]:
    return [sys.executable, "-m", "chrootbuild", "-C", str(place.folder), "audit", "--json", "x"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_a_process_outside_that_listens_in_the_root(
    tmp_path_factory: pytest.TempPathFactory, top: Path
) -> None:
    place = workshop(tmp_path_factory.mktemp("s"), top)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(place.root / "var/app/s"))
        end.listen()
        assert audited(place) == [("warning", "socket", "/var/app/s")]
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(place.root / "var/app/docker.sock"))
        assert ("error", "socket", "/var/app/docker.sock") in audited(place)


# -- without root --------------------------------------------------------------------------------------


def let_in(*folders: Path) -> None:
    """Let others enter folders of pytest's; /tmp is not one of them."""
    for folder in folders:
        if not folder.stat().st_mode & stat.S_ISVTX:
            folder.chmod(0o755)


@pytest.mark.nobody
def test_without_root_what_cannot_be_read_is_a_note(
    tmp_path_factory: pytest.TempPathFactory, top: Path
) -> None:
    """Nobody looks at root's root: a file and a directory are closed to him, and so is the record."""
    folder = tmp_path_factory.mktemp("open")
    let_in(folder, *folder.parents[:2], top.parent)
    place = workshop(folder, top)
    put(place.root, "var/app/x", uid=WEB)
    put(place.root, "opt/app/secret", mode=0o600)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *chrootbuild_command(place)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment())
    assert done.returncode == 0
    found = {(f["severity"], f["rule"], f["path"]) for f in findings_of(done)}
    assert found == {
        ("warning", "no-record", ""),
        ("note", "unreadable", "/opt/app/secret"),
        ("note", "unreadable", "/var/app"),
    }


@pytest.mark.nobody
def test_without_root_drift_that_cannot_be_looked_at_is_a_note(
    tmp_path_factory: pytest.TempPathFactory, top: Path
) -> None:
    """The record can be read, and one file that was installed cannot."""
    folder = tmp_path_factory.mktemp("half")
    let_in(folder, *folder.parents[:2], top.parent)
    place = workshop(folder, top)
    target = place.folder / "targets/x.toml"
    target.write_text(
        target.read_text().replace('"/etc/app.conf"', '{ path = "/etc/app.conf", mode = "0600" }')
    )
    place.run("build", "x")
    (place.folder / ".chrootbuild/x.record").chmod(0o644)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *chrootbuild_command(place)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment())
    found = {(f["severity"], f["rule"], f["path"]) for f in findings_of(done)}
    assert found == {("note", "unreadable", "/etc/app.conf"), ("note", "unreadable", "/var/app")}


@pytest.mark.nobody
def test_without_root_a_root_of_ones_own_is_clean(
    tmp_path_factory: pytest.TempPathFactory, top: Path
) -> None:
    folder = tmp_path_factory.mktemp("own")
    let_in(folder, *folder.parents[:2], top.parent)
    place = workshop(folder, top)
    shutil.rmtree(place.root)
    shutil.rmtree(place.folder / ".chrootbuild")
    for path in (place.folder, *place.folder.rglob("*")):
        os.chown(path, 65534, 65534)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = chrootbuild_command(place)
    subprocess.run(
        [*as_nobody, *command[:-3], "build", "x"], check=True, capture_output=True, env=environment()
    )
    done = subprocess.run([*as_nobody, *command], capture_output=True, text=True, env=environment())
    assert findings_of(done) == []
