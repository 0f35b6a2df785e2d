"""FreeBSD roots built on Linux from an unpacked base, by the commands that build any root. Nothing of them is run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from chrootbuild.accounts.cap_mkdb import cap_mkdb
from chrootbuild.rtld.freebsd_files import parse_hints, render_hints
from tests.support.account_databases import users
from tests.support.freebsd_sysroot import FILES, HASH, TARGETS, make_base
from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.trees import tree
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.package("clang"), pytest.mark.package("lld")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a base of each machine; a test works on a copy."""
    made = {}
    for machine in TARGETS:
        made[machine] = tmp_path_factory.mktemp(machine) / "base"
        make_base(made[machine], machine)
    return made


def workshop(folder: Path, base: Path, text: str) -> Workshop:
    """Return a project with target x, whose sysroot is a copy of ``base``."""
    top = folder / "freebsd"
    shutil.copytree(base, top, symlinks=True)
    project = folder / "project"
    project.mkdir()
    made = Workshop(project, top)
    made.write_targets({"x.toml": f'sysroot = "{top}"\n{text}'})
    return made


@pytest.fixture
def amd64(tmp_path: Path, bases: dict[str, Path]) -> Workshop:
    return workshop(tmp_path, bases["amd64"], "")


def target(place: Workshop, text: str) -> Workshop:
    place.write_targets({"x.toml": f'sysroot = "{place.top}"\n{text}'})
    return place


def short(content: str | bytes) -> str:
    data = content if isinstance(content, bytes) else content.encode()
    return hashlib.sha256(data).hexdigest()[:8]


# -- the worked example ------------------------------------------------------------------------


MADE_MASTER = """\
nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin
ann:*:1001:1001:staff:0:0:Ann Müller:/home/ann:/bin/sh
bob:*LOCKED*:1002:1001::0:1900000000:Bob:/home/bob:/usr/local/bin/bash
"""
MADE_GROUP = "wheel:*:0:ann\nstaff:*:1001:\nnobody:*:65534:\n"
MADE_PASSWD = """\
nobody:*:65534:65534:Unprivileged user:/nonexistent:/usr/sbin/nologin
ann:*:1001:1001:Ann Müller:/home/ann:/bin/sh
bob:*:1002:1001:Bob:/home/bob:/usr/local/bin/bash
"""


@pytest.mark.root
@pytest.mark.parametrize("machine", list(TARGETS))
def test_the_worked_example_is_built_as_expected(
    tmp_path: Path, bases: dict[str, Path], machine: str
) -> None:
    place = workshop(tmp_path, bases[machine], "")
    example = (REPOSITORY / "targets/freebsd-cvs.toml").read_text()
    example = example.replace('"/srv/freebsd"', f'"{place.top}"')
    common = (REPOSITORY / "targets/common/daemon.toml").read_text()
    place.write_targets({"x.toml": example, "common/daemon.toml": common})
    place.build()
    assert place.run("build", "x") == ""
    found = tree(place.root)

    def copied(path: str, mode: int = 0o644) -> str:
        return f"file {mode:04o} 0:0 {short((place.top / path[1:]).read_bytes())}"

    programs = ["/bin/sh", "/bin/ls", "/bin/date", "/usr/local/bin/cvs"]
    libraries = [
        "/libexec/ld-elf.so.1",
        *(
            f"/lib/{name}"
            for name in ("libc.so.7", "libedit.so.8", "libmd.so.6", "libcrypt.so.5", "libz.so.6")
        ),
        "/usr/lib/libgssapi.so.10",
        "/usr/local/lib/libgnuregex.so.2",
    ]
    files = ["/etc/protocols", "/etc/services", "/etc/hosts", "/etc/resolv.conf", "/etc/login.conf"]
    directories = [
        *("/bin", "/etc", "/lib", "/libexec", "/usr", "/usr/lib", "/usr/local", "/usr/local/bin"),
        *("/usr/local/lib", "/usr/share", "/usr/share/misc", "/var", "/var/lib", "/var/run"),
    ]
    databases = {path: found.pop(path) for path in ("/etc/pwd.db", "/etc/spwd.db")}
    nsswitch = found.pop("/etc/nsswitch.conf")
    assert found == {
        **dict.fromkeys(directories, "dir 0755 0:0"),
        **{path: copied(path, 0o755) for path in programs},
        **{path: copied(path, (place.top / path[1:]).stat().st_mode & 0o7777) for path in libraries},
        **{path: copied(path) for path in [*files, "/etc/localtime", "/usr/share/misc/termcap"]},
        "/etc/termcap": "link -> ../usr/share/misc/termcap",
        "/etc/master.passwd": f"file 0600 0:0 {short(MADE_MASTER)}",
        "/etc/passwd": f"file 0644 0:0 {short(MADE_PASSWD)}",
        "/etc/group": f"file 0644 0:0 {short(MADE_GROUP)}",
        "/dev": "dir 0555 0:0",
        "/tmp": "dir 1777 0:0",
        "/var/tmp": "dir 1777 0:0",
        "/var/lib/cvs": "dir 2775 0:65534",
        "/var/run/ld-elf.so.hints": f"file 0444 0:0 {short(render_hints(['/usr/local/lib']))}",
    }
    assert nsswitch.startswith("file 0644 0:0")
    assert {path: text[:13] for path, text in databases.items()} == {
        "/etc/pwd.db": "file 0644 0:0",
        "/etc/spwd.db": "file 0600 0:0",
    }
    for path in databases:
        records = users((place.root / path[1:]).read_bytes())
        assert [record.name for record in records] == [b"nobody", b"ann", b"bob"]
    assert HASH.encode() not in b"".join(
        path.read_bytes() for path in place.root.glob("etc/*") if path.is_file()
    )


def test_one_changed_library_of_the_base_is_one_task(amd64: Workshop) -> None:
    target(amd64, 'binaries = ["/bin/sh", "/bin/ls", "cvs"]\n[accounts]\nmin_uid = 1000')
    amd64.settle()
    new = amd64.top / "lib/libz.so.6.new"
    new.write_bytes((amd64.top / "lib/libz.so.6").read_bytes() + b"\0")
    new.rename(amd64.top / "lib/libz.so.6")
    assert amd64.build() == {"/lib/libz.so.6": "replace  content differs from the host's"}
    assert amd64.staged == ["/lib/libz.so.6"]


def test_why_tells_the_chain_of_rtld(amd64: Workshop) -> None:
    target(amd64, 'binaries = ["cvs"]')
    said = amd64.run("why", "x", "/usr/local/lib/libgnuregex.so.2")
    assert "needs libgnuregex.so.2, found in ld-elf.so.hints /usr/local/lib" in said


@pytest.mark.parametrize("kind", ["check", "enter"])
def test_nothing_is_run_where_it_cannot_run(amd64: Workshop, kind: str) -> None:
    target(amd64, 'binaries = ["/bin/sh"]\n[check]\nrun = [["sh", "-c", "true"]]')
    amd64.build()
    said = amd64.run(kind, "x", code=1)
    assert f"error: cannot {kind} x: its programs are FreeBSD's" in said


# -- accounts ----------------------------------------------------------------------------------


ACCOUNTS = "[accounts]\nmin_uid = 1000\n"
FOUR = ["/etc/master.passwd", "/etc/passwd", "/etc/pwd.db", "/etc/spwd.db"]


def edit(place: Workshop, old: str, new: str) -> None:
    """Replace words of the base's master.passwd, as vipw(8) does: a new file, renamed."""
    path = place.top / "etc/master.passwd"
    text = path.read_text()
    assert old in text
    other = path.with_name("master.new")
    other.write_text(text.replace(old, new))
    other.chmod(0o600)
    other.rename(path)


def test_the_format_follows_the_system_of_the_base(amd64: Workshop) -> None:
    target(amd64, ACCOUNTS)
    amd64.build()
    assert set(FOUR) | {"/etc", "/etc/group"} == set(tree(amd64.root))


def test_a_linux_format_can_be_asked_for(amd64: Workshop) -> None:
    target(amd64, f'{ACCOUNTS}format = "linux"\n')
    amd64.build()
    assert set(tree(amd64.root)) == {"/etc", "/etc/group", "/etc/passwd"}


def test_a_change_that_master_passwd_does_not_show_stops_there(amd64: Workshop) -> None:
    target(amd64, ACCOUNTS)
    amd64.settle()
    edit(amd64, "# $FreeBSD$", "# $FreeBSD: 2 $")
    edit(amd64, f"{HASH}root", f"{HASH}toor")  # root is not kept
    edit(amd64, f":{HASH}ann", f":{HASH}nna")  # and no password is
    assert amd64.run("build", "x") == ""
    assert amd64.staged == []


def test_a_change_that_master_passwd_shows_makes_all_four_anew(amd64: Workshop) -> None:
    target(amd64, ACCOUNTS)
    amd64.settle()
    edit(amd64, "Ann Müller", "Ann Meier")
    amd64.build()
    assert amd64.staged == sorted(FOUR)
    records = users((amd64.root / "etc/pwd.db").read_bytes())
    assert next(record.gecos for record in records if record.name == b"ann") == b"Ann Meier"


def test_the_tasks_hang_together_as_in_the_articles_makefile(amd64: Workshop) -> None:
    target(amd64, ACCOUNTS)
    amd64.build()
    said = {path: amd64.run("info", f"x:{path}") for path in FOUR}
    assert f"{amd64.top}/etc/master.passwd" in said["/etc/master.passwd"]
    for path in FOUR[1:]:
        assert f"{amd64.root}/etc/master.passwd" in said[path]
        assert f"{amd64.top}/etc" not in said[path]


def test_only_the_users_of_passwords_have_a_hash_and_only_in_two_files(amd64: Workshop) -> None:
    target(amd64, f'{ACCOUNTS}passwords = ["ann"]\n')
    amd64.build()
    content = {path: (amd64.root / path[1:]).read_bytes() for path in FOUR}
    assert {path for path in FOUR if HASH.encode() + b"ann" in content[path]} == {FOUR[0], FOUR[3]}
    assert not [path for path in FOUR if HASH.encode() + b"bob" in content[path]]
    assert {path: (amd64.root / path[1:]).stat().st_mode & 0o7777 for path in FOUR} == {
        "/etc/master.passwd": 0o600,
        "/etc/passwd": 0o644,
        "/etc/pwd.db": 0o644,
        "/etc/spwd.db": 0o600,
    }


def test_every_line_is_kept_with_min_uid_0_nis_lines_and_nobody_too(amd64: Workshop) -> None:
    target(amd64, "[accounts]\nmin_uid = 0\n")
    amd64.build()
    lines = (amd64.root / "etc/master.passwd").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("root", "toor", "daemon", "www", "nobody", "ann", "bob", "+@team"),
    ]
    records = users((amd64.root / "etc/pwd.db").read_bytes())
    assert records[-1].name == b"+@team"


@pytest.mark.parametrize("machine", list(TARGETS))
def test_legacy_records_are_in_the_byte_order_of_the_machine(
    tmp_path: Path, bases: dict[str, Path], machine: str
) -> None:
    place = workshop(tmp_path, bases[machine], f"{ACCOUNTS}legacy = true\n")
    place.build()
    assert (place.root / "etc/pwd.db").read_bytes()[8:12] == (1234).to_bytes(4, "big")
    place.write_targets({"x.toml": f'sysroot = "{place.top}"\n{ACCOUNTS}'})
    place.build()
    assert (place.root / "etc/pwd.db").read_bytes()[8:12] == (4321).to_bytes(4, "big")


def test_a_linux_passwd_gives_freebsds_files_and_its_shadow_the_hashes(tmp_path: Path) -> None:
    top = write(
        tmp_path / "linux",
        {
            "/etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n",
            "/etc/group": "ann:x:1000:\n",
            "/etc/shadow": "root:!:1::::::\nann:$6$a$hash:19000:0:99999:7:::\n",
        },
    )
    (top / "etc/shadow").chmod(0o600)
    place = Workshop(tmp_path / "project", top)
    place.folder.mkdir()
    keys = f'os = "linux"\n{ACCOUNTS}format = "freebsd"\n'
    target(place, keys)
    place.build()
    assert (place.root / "etc/master.passwd").read_text() == "ann:*:1000:1000::0:0:Ann:/home/ann:/bin/sh\n"
    target(place, f'{keys}passwords = ["ann"]\n')
    place.build()
    (record,) = users((place.root / "etc/spwd.db").read_bytes())
    assert record.password == b"$6$a$hash"
    (record,) = users((place.root / "etc/pwd.db").read_bytes())
    assert record.password == b"*"


def test_verify_says_which_user_of_a_database_is_damaged(amd64: Workshop) -> None:
    target(amd64, ACCOUNTS)
    amd64.settle()
    path = amd64.root / "etc/pwd.db"
    good = path.read_bytes()
    assert amd64.run("verify", "x") == ""
    path.write_bytes(good.replace(b"/home/ann\0", b"/home/xnn\0"))
    said = amd64.run("verify", "x", code=1)
    assert "/etc/pwd.db" in said
    assert said.count("damaged: ann  [drift]\n") == 1
    path.write_bytes(good[:64] + b"\0\0\0\0" + good[68:])
    assert "it was made with another hash function" in amd64.run("verify", "x", code=1)
    amd64.build()
    assert path.read_bytes() == good
    assert amd64.run("verify", "x") == ""


# -- libraries ---------------------------------------------------------------------------------


def test_hints_are_written_where_var_run_leads(amd64: Workshop) -> None:
    (amd64.top / "var/run").rmdir()
    (amd64.top / "run").mkdir()
    (amd64.top / "var/run").symlink_to("../run")
    target(amd64, 'binaries = ["cvs"]')
    amd64.build()
    assert os.readlink(amd64.root / "var/run") == "../run"
    made = amd64.root / "run/ld-elf.so.hints"
    assert parse_hints(made.read_bytes()) == ("/usr/local/lib",)
    assert made.stat().st_mode & 0o7777 == 0o444


def test_no_hints_where_the_standard_directories_are_enough(amd64: Workshop) -> None:
    target(amd64, 'binaries = ["/bin/sh"]')
    amd64.build()
    assert not (amd64.root / "var").exists()


def test_libmap_comes_where_it_maps_something_needed(amd64: Workshop) -> None:
    write(amd64.top, {"/etc/libmap.conf": "libz.so.6 libmd.so.6\n"})
    target(amd64, 'binaries = ["/bin/sh"]')
    amd64.build()
    assert not (amd64.root / "etc").exists()
    target(amd64, 'binaries = ["/bin/sh", "cvs"]')
    assert {"/etc/libmap.conf", "/lib/libmd.so.6"} <= set(amd64.build())
    assert not (amd64.root / "lib/libz.so.6").exists()


def test_both_places_of_the_interpreter(amd64: Workshop) -> None:
    old = make_base(amd64.folder.parent / "old" / "base", version=501000)
    old.interpreter = "/usr/libexec/ld-elf.so.1"
    old.program("/bin/old", "libc.so.7")
    shutil.copy2(old.root / "bin/old", amd64.top / "bin/old")
    target(amd64, 'binaries = ["/bin/old"]')
    amd64.build()
    assert os.readlink(amd64.root / "usr/libexec/ld-elf.so.1") == "../../libexec/ld-elf.so.1"
    assert (amd64.root / "libexec/ld-elf.so.1").is_file()


def test_i386_programs_bring_their_own_hints_on_amd64(amd64: Workshop) -> None:
    tree32 = make_base(amd64.folder.parent / "i386" / "base", "i386").root
    for source, place in (
        ("libexec/ld-elf.so.1", "libexec/ld-elf32.so.1"),
        ("lib/libc.so.7", "usr/lib32/libc.so.7"),
        ("lib/libz.so.6", "usr/local/lib32/libz.so.6"),
        ("usr/local/lib/libgnuregex.so.2", "usr/local/lib32/libgnuregex.so.2"),
        ("lib/libmd.so.6", "usr/lib32/libmd.so.6"),
        ("lib/libcrypt.so.5", "usr/lib32/libcrypt.so.5"),
        ("usr/lib/libgssapi.so.10", "usr/lib32/libgssapi.so.10"),
        ("usr/local/bin/cvs", "usr/local/bin/cvs32"),
    ):
        (amd64.top / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree32 / source, amd64.top / place)
    write(amd64.top, {"/var/run/ld-elf32.so.hints": ""})
    (amd64.top / "var/run/ld-elf32.so.hints").write_bytes(render_hints(["/usr/lib32", "/usr/local/lib32"]))
    target(amd64, 'binaries = ["cvs32"]')
    amd64.build()
    assert (amd64.root / "libexec/ld-elf32.so.1").is_file()
    made = parse_hints((amd64.root / "var/run/ld-elf32.so.hints").read_bytes())
    assert "/usr/local/lib32" in made
    assert not (amd64.root / "var/run/ld-elf.so.hints").exists()


def test_a_library_of_the_wrong_class_stops_the_build(amd64: Workshop) -> None:
    i386 = make_base(amd64.folder.parent / "i386" / "base", "i386").root
    shutil.copy2(i386 / "lib/libz.so.6", amd64.top / "lib/libz.so.6")
    target(amd64, 'binaries = ["cvs"]')
    said = amd64.run("build", "x", code=3)
    assert "cannot load /lib/libz.so.6: unsupported file layout" in said


# -- devices -----------------------------------------------------------------------------------


DEVICES = 'devices = ["null", "full", "random", "tty"]\n'


def test_devices_come_through_devfs_an_empty_directory_and_rules(amd64: Workshop) -> None:
    target(amd64, f'binaries = ["/bin/sh"]\n{DEVICES}')
    amd64.build()
    assert (amd64.root / "dev").stat().st_mode & 0o7777 == 0o555
    assert list((amd64.root / "dev").iterdir()) == []
    said = amd64.run("host", "x", "devfs")
    assert {f"add path {name} unhide" for name in ("null", "full", "random", "tty")} <= set(
        said.splitlines()
    )


@pytest.mark.root
@pytest.mark.parametrize("version", [430000, 501000])
def test_before_6_nodes_are_made_with_the_numbers_of_makedev(tmp_path: Path, version: int) -> None:
    base = make_base(tmp_path / "old" / "base", "i386", version=version).root
    place = workshop(tmp_path, base, f'binaries = ["/bin/sh"]\n{DEVICES}')
    place.build()
    assert {path: text for path, text in tree(place.root).items() if path.startswith("/dev/")} == {
        "/dev/null": "char 2:2 0666 0:0",
        "/dev/random": "char 2:3 0644 0:0",
        "/dev/tty": "char 1:0 0666 0:0",
    }
    (skipped,) = place.plan()["skipped"]
    assert skipped["path"] == "/dev/full"


def test_a_base_whose_programs_have_no_note_is_taken_for_a_new_one(tmp_path: Path) -> None:
    base = make_base(tmp_path / "old" / "base", "arm64", version=0).root
    place = workshop(tmp_path, base, f'binaries = ["/bin/sh"]\n{DEVICES}')
    place.build()
    assert list((place.root / "dev").iterdir()) == []


def test_numbers_count_for_nothing_where_devfs_has_its_own(amd64: Workshop) -> None:
    target(amd64, 'binaries = ["/bin/sh"]\ndevices = [{ name = "fuse", char = "10:229" }]')
    said = amd64.run("plan", "x")
    assert "the numbers of fuse count for nothing" in said


def test_the_log_socket_is_in_var_run(amd64: Workshop) -> None:
    target(amd64, 'binaries = ["/bin/sh"]\n[syslog]\nsocket = true')
    amd64.build()
    assert (amd64.root / "var/run").is_dir()
    assert "/var/run/log" in amd64.run("host", "x", "syslog")


# -- files -------------------------------------------------------------------------------------


def test_localtime_is_a_regular_file_as_in_the_base(amd64: Workshop) -> None:
    target(amd64, 'timezone = "host"')
    amd64.build()
    assert not (amd64.root / "etc/localtime").is_symlink()
    assert (amd64.root / "etc/localtime").read_text() == FILES["/etc/localtime"]
    target(amd64, 'timezone = "Asia/Tokyo"')
    amd64.build()
    assert os.readlink(amd64.root / "etc/localtime") == "/usr/share/zoneinfo/Asia/Tokyo"


def test_a_capability_database_is_made_from_its_text_never_copied(amd64: Workshop) -> None:
    write(amd64.top, {"/etc/login.conf.db": "an old one", "/usr/share/misc/termcap.db": "an old one"})
    target(amd64, 'files = ["/etc/login.conf.db"]\ninclude = ["terminal"]')
    amd64.settle()
    for path in ("etc/login.conf", "usr/share/misc/termcap"):
        text = (amd64.top / path).read_bytes()
        assert (amd64.root / path).read_bytes() == text
        assert (amd64.root / f"{path}.db").read_bytes() == cap_mkdb(text)
    write(amd64.top, {"/etc/login.conf": "default:\\\n\t:umask=077:\n"})
    amd64.build()
    assert amd64.staged == ["/etc/login.conf", "/etc/login.conf.db"]
    assert (amd64.root / "etc/login.conf.db").read_bytes() == cap_mkdb(b"default:\\\n\t:umask=077:\n")


def test_a_text_of_the_target_itself_is_what_its_database_is_made_from(amd64: Workshop) -> None:
    write(amd64.top, {"/etc/login.conf.db": "an old one"})
    target(amd64, 'files = ["/etc/login.conf.d[b]"]\n[text]\n"/etc/login.conf" = "default::umask=027:\\n"')
    amd64.build()
    assert (amd64.root / "etc/login.conf.db").read_bytes() == cap_mkdb(b"default::umask=027:\n")


def test_a_text_alone_stays_alone_and_so_does_a_database_without_one(amd64: Workshop) -> None:
    write(amd64.top, {"/etc/login.conf.db": "an old one"})
    target(amd64, 'files = ["/etc/login.conf"]')
    amd64.build()
    assert set(tree(amd64.root)) == {"/etc", "/etc/login.conf"}
    (amd64.top / "etc/login.conf").unlink()
    target(amd64, 'files = ["/etc/login.conf.db"]')
    amd64.build()
    assert (amd64.root / "etc/login.conf.db").read_text() == "an old one"


def test_verify_says_which_record_of_a_capability_database_is_damaged(amd64: Workshop) -> None:
    write(amd64.top, {"/etc/login.conf.db": "an old one"})
    target(amd64, 'files = ["/etc/login.conf.db"]')
    amd64.settle()
    path = amd64.root / "etc/login.conf.db"
    damaged, count = re.subn(rb"(staff\|Staff:[^\0]*umask=)022", rb"\g<1>777", path.read_bytes())
    assert count == 1
    path.write_bytes(damaged)
    assert "damaged: staff  [drift]\n" in amd64.run("verify", "x", code=1)


def test_the_shipped_includes_hold_for_a_base(amd64: Workshop) -> None:
    names = sorted(path.stem for path in (REPOSITORY / "chrootbuild/target/common").glob("*.toml"))
    target(amd64, f"include = {names}\n".replace("'", '"') + 'binaries = ["/usr/sbin/sshd"]')
    amd64.build()
    found = set(tree(amd64.root))
    assert {
        *("/etc/pam.d/sshd", "/usr/lib/pam_unix.so", "/usr/lib/pam_unix.so.6", "/lib/libcrypt.so.5"),
        *(
            "/etc/login.conf",
            "/usr/share/misc/termcap",
            "/etc/termcap",
            "/usr/share/locale/C.UTF-8/LC_CTYPE",
        ),
        *("/usr/share/i18n/esdb/UTF/UTF-8.esdb", "/usr/share/i18n/csmapper/mapper.dir"),
        *("/usr/lib/i18n/libUTF8.so.5", "/bin/sh", "/bin/cat", "/etc/hosts", "/etc/services"),
        *("/etc/localtime", "/var/run", "/dev", "/tmp", "/var/tmp", "/etc/nsswitch.conf"),
    } <= found
    assert not [path for path in found if path.startswith("/dev/")]


def test_secrets_of_a_base_are_left_out_of_a_tree(amd64: Workshop) -> None:
    write(amd64.top, {"/etc/spwd.db": "secret"})
    target(amd64, 'files = ["/etc/"]')
    amd64.build()
    assert not {"/etc/master.passwd", "/etc/spwd.db"} & set(tree(amd64.root))
    assert {entry["path"] for entry in amd64.plan()["skipped"]} >= {"/etc/master.passwd", "/etc/spwd.db"}


def test_a_base_that_is_not_there_is_an_error_of_the_target(tmp_path: Path) -> None:
    place = Workshop(tmp_path / "project", tmp_path / "none")
    place.folder.mkdir()
    target(place, 'binaries = ["/bin/sh"]')
    assert f"error: cannot read the sysroot {place.top}: no such directory" in place.run(
        "build", "x", code=3
    )
    assert "Traceback" not in place.run("list")
