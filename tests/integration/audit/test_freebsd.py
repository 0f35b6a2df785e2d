"""audit over FreeBSD roots: its databases, its devices, its programs; nothing of them can be run here."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import chrootbuild.audit
import chrootbuild.commands.audit
import chrootbuild.commands.build  # noqa: F401 -- imported here, so that no forked command has to
from tests.support.freebsd_sysroot import make_base
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.package("clang"), pytest.mark.package("lld")]
HASH = "$6$salt$0123456789abcdefghijklmnopqrstuvwxyz"
TARGET = """\
binaries = ["/bin/ls", "cvs"]
devices = ["null", "random"]
[accounts]
users = ["nobody"]
passwords = {passwords}
[directories]
"/var/lib/cvs" = {{ mode = "2775", owner = "root", group = "nobody" }}
[check.service]
start = ["/usr/local/bin/cvs"]
user = "nobody"
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a base whose nobody has a password; no test changes it."""
    base = make_base(tmp_path_factory.mktemp("freebsd") / "base").root
    master = base / "etc/master.passwd"
    text = master.read_text().splitlines()
    master.write_text("".join(f"{_with_hash(line)}\n" for line in text))
    return base


def _with_hash(line: str) -> str:
    name, _, rest = line.split(":", 2) if line.count(":") > 2 else ("", "", "")
    return f"{name}:{HASH}:{rest}" if name == "nobody" else line


def workshop(folder: Path, base: Path, passwords: str = "[]") -> Workshop:
    (folder / "p").mkdir()
    place = Workshop(folder / "p", base)
    place.write_targets({"x.toml": f'sysroot = "{base}"\n{TARGET.format(passwords=passwords)}'})
    place.run("build", "x")
    return place


def audited(place: Workshop) -> list[tuple[str, str, str]]:
    status, said = place._fork(("audit", "--json", "x"))
    assert "Traceback" not in said
    findings = json.loads(said)["findings"]
    assert status == (1 if any(item["severity"] == "error" for item in findings) else 0)
    return sorted((item["severity"], item["rule"], item["path"]) for item in findings)


def test_a_root_of_another_system_is_clean(tmp_path: Path, base: Path) -> None:
    assert audited(workshop(tmp_path, base)) == []


def test_hashes_that_the_target_names_are_notes(tmp_path: Path, base: Path) -> None:
    assert audited(workshop(tmp_path, base, '["nobody"]')) == [
        ("note", "password-hash", "/etc/master.passwd"),
        ("note", "password-hash", "/etc/spwd.db"),
    ]


def test_a_database_that_everyone_can_read(tmp_path: Path, base: Path) -> None:
    place = workshop(tmp_path, base, '["nobody"]')
    (place.root / "etc/spwd.db").chmod(0o644)
    assert audited(place) == [
        ("error", "drift", "/etc/spwd.db"),
        ("error", "password-hash", "/etc/spwd.db"),
        ("note", "password-hash", "/etc/master.passwd"),
    ]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_database_with_hashes_that_nobody_asked_for(tmp_path: Path, base: Path, damaged: bool) -> None:
    """As pwd_mkdb on the host's own file makes it, and one whose first page is gone."""
    (tmp_path / "other").mkdir()
    other = workshop(tmp_path / "other", base, '["nobody"]')
    place = workshop(tmp_path, base)
    where = place.root / "var/lib/cvs/spwd.db"
    shutil.copy(other.root / "etc/spwd.db", where)
    if damaged:
        with where.open("r+b") as file:
            file.seek(4096)
            file.write(bytes(16))
    where.chmod(0o600)
    assert audited(place) == [("warning", "password-hash", "/var/lib/cvs/spwd.db")]


def test_a_library_that_is_gone_is_missed_by_its_programs(tmp_path: Path, base: Path) -> None:
    place = workshop(tmp_path, base)
    (place.root / "lib/libz.so.6").unlink()
    assert audited(place) == [
        ("error", "drift", "/lib/libz.so.6"),
        ("error", "missing-library", "/usr/local/bin/cvs"),
    ]


def test_nodes_have_the_numbers_of_makedev(tmp_path: Path) -> None:
    base = make_base(tmp_path / "old" / "base", "i386", version=430000).root
    place = workshop(tmp_path, base)
    assert audited(place) == []
    os.mknod(place.root / "var/lib/cvs/x", 0o020600, os.makedev(2, 1))
    os.mknod(place.root / "var/lib/cvs/null", 0o020666, os.makedev(1, 3))  # Linux's null is none there
    assert audited(place) == [
        ("error", "device", "/var/lib/cvs/null"),
        ("error", "device", "/var/lib/cvs/x"),
    ]


@pytest.mark.parametrize(
    ("path", "content", "wanted"),
    [
        ("usr/local/etc/sudoers", "x ALL=(ALL) ALL\n", ("error", "root-obeys")),
        ("var/cron/tabs/root", "* * * * * x\n", ("error", "root-obeys")),
        ("etc/rc.conf", "x_enable=YES\n", ("error", "root-obeys")),
        ("etc/periodic/daily/1", "x\n", ("error", "root-obeys")),
        ("etc/libmap.conf", "libc.so.7 x\n", ("error", "root-obeys")),
        ("usr/local/etc/libmap.d/x", "libc.so.7 x\n", ("error", "root-obeys")),
        ("usr/local/etc/doas.conf", "permit nopass x\n", ("error", "root-obeys")),
        ("etc/passwd", "root:*:0:0::/:\nx:*:0:0::/:\n", ("error", "second-root")),
        ("etc/master.passwd", "root:*:0:0::0:0:::\ntoor:x:0:0::0:0:::\n", ("note", "second-root")),
        ("etc/master.passwd", "root:*:0:0::0:0:::\ntoor::0:0::0:0:::\n", ("error", "second-root")),
    ],
)
def test_what_root_obeys_there(
    tmp_path: Path, base: Path, path: str, content: str, wanted: tuple[str, str]
) -> None:
    place = workshop(tmp_path, base)
    (place.root / path).parent.mkdir(parents=True, exist_ok=True)
    (place.root / path).write_text(content)
    assert (*wanted, f"/{path}") in audited(place)


def test_a_second_root_in_the_databases(tmp_path: Path, base: Path) -> None:
    place = workshop(tmp_path, base)
    text = (place.folder / "targets/x.toml").read_text()
    extra = 'extra = ["ghost:*:0:0::/:/bin/sh"]\n'
    (place.folder / "targets/x.toml").write_text(text.replace("passwords =", f"{extra}passwords ="))
    place.run("build", "x")
    found = audited(place)
    assert {path for _, rule, path in found if rule == "second-root"} >= {"/etc/pwd.db", "/etc/spwd.db"}


def test_without_a_record_a_root_of_freebsd_is_compared(tmp_path: Path, base: Path) -> None:
    place = workshop(tmp_path, base)
    (place.folder / ".chrootbuild/x.record").unlink()
    assert audited(place) == [("warning", "no-record", "")]
    with (place.root / "bin/ls").open("ab") as file:
        file.write(b"x")
    assert ("error", "unlike-source", "/bin/ls") in audited(place)
