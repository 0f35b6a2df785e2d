"""What a target file itself puts into a root: directories, texts, devices, mounts, accounts, seeds, the time zone."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.artifact import Kind
from chrootbuild.errors import TargetError
from chrootbuild.plan.make import plan
from chrootbuild.sysroot.reader import Sysroot
from tests.support.sysroot import ME, planned, shown, words, write
from tests.support.target_project import target

DIRECTORY, FILE = f"directory 0755 {ME}", f"file 0644 {ME}"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return write(tmp_path / "sysroot", {"/etc/": ""})


def failure(top: Path, text: str) -> str:
    with pytest.raises(TargetError) as caught:
        planned(top, text)
    assert caught.value.code == 3
    return str(caught.value)


# -- directories, links, texts -----------------------------------------------------------------


def test_a_directory_is_as_in_the_sysroot_and_each_word_changes_one_thing(top: Path) -> None:
    write(top, {"/var/spool/x/": "", "/var/y/": "", "/etc/passwd": "cvs:x:7:8::/:/bin/sh\n"})
    (top / "var/spool/x").chmod(0o2770)
    (top / "var/y").chmod(0o700)
    text = """
    [directories]
    "/var/spool/x" = {}
    "/var/y" = { mode = "1777" }
    "/var/z" = { owner = "cvs" }
    """
    assert shown(planned(top, text)) == {
        "/var/spool/x": f"directory 2770 {ME}",
        "/var/y": f"directory 1777 {ME}",
        "/var/z": "directory 0755 7:0",
    }


def test_directories_that_nobody_describes_are_roots(top: Path) -> None:
    write(top, {"/var/": ""})
    (top / "var").chmod(0o700)
    made = planned(top, '[directories]\n"/var/a/b" = {}')
    assert shown(made, implied=True)["/var"] == "directory 0755 root"
    assert shown(made, implied=True)["/var/a"] == "directory 0755 root"
    assert words(made, "/var") == ["lies in it"]


def test_a_directory_that_is_a_file_in_the_sysroot_is_new(top: Path) -> None:
    write(top, {"/var/x": "a file"})
    assert shown(planned(top, '[directories]\n"/var/x" = {}')) == {"/var/x": "directory 0755 root"}


def test_text_is_made_from_the_file_that_says_it(top: Path) -> None:
    made = planned(top, 'include = ["net"]', net='[text]\n"/etc/hosts" = "127.0.0.1 localhost\\n"')
    (source,) = made.artifacts["/etc/hosts"].sources
    assert source.endswith("targets/common/net.toml")
    assert shown(made) == {"/etc/hosts": "text 0644 root: 127.0.0.1 localhost\n"}


@pytest.mark.parametrize("table", ["directories", "text"])
def test_an_unknown_owner_names_its_place(top: Path, table: str) -> None:
    write(top, {"/etc/passwd": "", "/etc/group": ""})
    content = 'content = "", ' if table == "text" else ""
    text = failure(top, f'[{table}]\n"/x" = {{ {content}owner = "cvs" }}')
    assert text.startswith(f"cannot find the user cvs in /etc/passwd (targets/x.toml:4: {table})")


def test_two_things_for_one_path_name_both_lines(top: Path) -> None:
    text = failure(top, 'files = ["/etc/x"]\n[text]\n"/etc/x" = "y"')
    assert "two different things for /etc/x" in text


# -- devices, mounts, syslog -------------------------------------------------------------------


def test_devices_have_the_numbers_and_modes_of_the_system(top: Path) -> None:
    write(top, {"/etc/group": "tty:x:5:\n"})
    assert shown(planned(top, 'devices = ["null", "tty", "fd"]')) == {
        "/dev/null": "node 0666 root char 1:3",
        "/dev/tty": "node 0666 0:5 char 5:0",
        "/dev/fd": "link -> /proc/self/fd",
    }


def test_a_device_of_ones_own_says_more_than_the_set_it_is_in(top: Path) -> None:
    made = planned(top, 'devices = ["std", { name = "null", char = "1:3", mode = "0600" }]')
    assert shown(made)["/dev/null"] == "node 0600 root char 1:3"
    assert shown(made)["/dev/zero"] == "node 0666 root char 1:5"


def test_an_unknown_owner_of_a_device_is_an_error_and_a_standard_one_is_not(top: Path) -> None:
    assert shown(planned(top, 'devices = ["tty"]'))["/dev/tty"] == "node 0666 root char 5:0"
    text = failure(top, 'devices = [{ name = "tty", char = "5:0", group = "tty" }]')
    assert text.startswith("cannot find the group tty in /etc/group (targets/x.toml:3: devices)")


def test_mounts_and_the_log_socket_have_open_directories(top: Path) -> None:
    write(top, {"/proc/": ""})
    (top / "proc").chmod(0o555)
    made = planned(top, 'mounts = ["/proc", "/sys"]\n[syslog]\nsocket = true')
    assert shown(made) == {
        "/proc": "directory 0555 root",
        "/sys": "directory 0555 root",
        "/dev": "directory 0755 root",
    }
    assert all(made.artifacts[path].daemon_owned for path in ("/proc", "/sys", "/dev"))


def test_the_log_sockets_directory_of_freebsd(top: Path) -> None:
    read = target(top.parent, f'sysroot = "{top}"\nos = "freebsd"\n[syslog]\nsocket = true')
    made = plan(read, Sysroot(str(top)))
    assert shown(made) == {"/var/run": "directory 0755 root"}
    assert made.artifacts["/var/run"].daemon_owned


# -- time zone ---------------------------------------------------------------------------------

ZONES = "/usr/share/zoneinfo"


def test_the_hosts_time_zone_is_its_link_and_the_zone(top: Path) -> None:
    write(top, {"/etc/localtime": "-> ../usr/share/zoneinfo/Japan", f"{ZONES}/Japan": "-> Asia/Tokyo"})
    write(top, {f"{ZONES}/Asia/Tokyo": "jst"})
    assert shown(planned(top, 'timezone = "host"')) == {
        "/etc/localtime": "link -> ../usr/share/zoneinfo/Japan",
        f"{ZONES}/Japan": "link -> Asia/Tokyo",
        f"{ZONES}/Asia/Tokyo": FILE,
    }


def test_the_hosts_time_zone_may_be_a_file(top: Path) -> None:
    write(top, {"/etc/localtime": "jst"})
    assert shown(planned(top, 'timezone = "host"')) == {"/etc/localtime": FILE}


def test_a_named_zone_takes_the_place_of_a_file(top: Path) -> None:
    write(top, {"/etc/localtime": "jst", f"{ZONES}/Asia/Tokyo": "jst"})
    made = planned(top, 'timezone = "Asia/Tokyo"')
    assert shown(made) == {"/etc/localtime": f"link -> {ZONES}/Asia/Tokyo", f"{ZONES}/Asia/Tokyo": FILE}
    assert words(made, "/etc/localtime") == ["timezone: Asia/Tokyo"]


def test_a_host_without_a_time_zone_is_utc_with_a_warning(top: Path) -> None:
    made = planned(top, 'timezone = "host"')
    assert shown(made) == {}
    assert made.warnings == ("the sysroot has no /etc/localtime: its time zone is UTC",)


@pytest.mark.parametrize("zone", ["Asia/Tokio", "Asia"])
def test_a_zone_that_is_not_there_is_an_error(top: Path, zone: str) -> None:
    write(top, {f"{ZONES}/Asia/Tokyo": "jst"})
    assert failure(top, f'timezone = "{zone}"').startswith(
        f"cannot find the time zone {zone}: there is no {ZONES}/{zone} (targets/x.toml:3: timezone)"
    )


# -- accounts ----------------------------------------------------------------------------------

PASSWD = "root:x:0:0::/root:/bin/sh\ncvs:x:99:99::/:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n"
GROUP = "root:x:0:\ncvs:x:99:ann,root\nann:x:1000:\n"


def test_accounts_are_rendered_and_made_from_what_they_say(top: Path) -> None:
    write(top, {"/etc/passwd": PASSWD, "/etc/group": GROUP, "/etc/shadow": "ann:$6$hash:1::::::\n"})
    made = planned(top, '[accounts]\nmin_uid = 1000\nusers = ["cvs"]')
    assert shown(made) == {
        "/etc/passwd": f"text 0644 root: {''.join(PASSWD.splitlines(keepends=True)[1:])}",
        "/etc/group": "text 0644 root: cvs:x:99:ann\nann:x:1000:\n",
    }
    passwd = made.artifacts["/etc/passwd"].sources
    assert passwd[0] == f"{top}/etc/passwd"
    assert passwd[1].endswith("/targets/x.toml")
    assert f"{top}/etc/group" in made.artifacts["/etc/group"].sources


def test_a_group_file_alone_is_no_source_of_passwd(top: Path) -> None:
    write(top, {"/etc/group": GROUP})
    made = planned(top, '[accounts]\nextra = ["a:x:1:1::/:/bin/sh"]')
    assert f"{top}/etc/group" not in made.artifacts["/etc/passwd"].sources


def test_passwords_are_in_shadow_for_those_named(top: Path) -> None:
    write(
        top,
        {"/etc/passwd": PASSWD, "/etc/group": GROUP + "shadow:x:42:\n", "/etc/shadow": "ann:$6$h:1::::::\n"},
    )
    made = planned(top, '[accounts]\nusers = ["ann", "cvs"]\npasswords = ["ann"]')
    shadow = shown(made)["/etc/shadow"]
    assert shadow.startswith("text 0640 0:42: ")
    assert "ann:$6$h:" in shadow
    assert "cvs:*:" in shadow
    assert f"{top}/etc/shadow" in made.artifacts["/etc/shadow"].sources


def test_accounts_beat_the_sysroots_file(top: Path) -> None:
    write(top, {"/etc/passwd": PASSWD, "/etc/group": GROUP})
    made = planned(top, 'files = ["/etc/"]\n[accounts]\nusers = ["cvs"]')
    assert made.artifacts["/etc/passwd"].kind is Kind.TEXT
    assert made.artifacts["/etc/group"].kind is Kind.TEXT


def test_freebsds_accounts_are_four_files_one_made_from_the_other(top: Path) -> None:
    master = "root:$1$h:0:0::0:0:root:/root:/bin/sh\nann:$1$h:1001:1001::0:0:Ann:/home/ann:/bin/sh\n"
    write(top, {"/etc/master.passwd": master, "/etc/group": "wheel:*:0:root\nann:*:1001:\n"})
    text = f'sysroot = "{top}"\nos = "freebsd"\n[accounts]\nmin_uid = 1000'
    made = plan(target(top.parent, text), Sysroot(str(top)))
    assert shown(made) == {
        "/etc/group": "text 0644 root: ann:*:1001:\n",
        "/etc/master.passwd": "text 0600 root: ann:*:1001:1001::0:0:Ann:/home/ann:/bin/sh\n",
        "/etc/passwd": "text 0644 root: ann:*:1001:1001:Ann:/home/ann:/bin/sh\n",
        "/etc/pwd.db": "database 0644 root",
        "/etc/spwd.db": "database 0600 root",
    }
    for path in ("/etc/passwd", "/etc/pwd.db", "/etc/spwd.db"):
        assert made.artifacts[path].after == ("/etc/master.passwd",)
    assert made.artifacts["/etc/master.passwd"].sources[0] == f"{top}/etc/master.passwd"


# -- state -------------------------------------------------------------------------------------


def test_a_seed_is_everything_as_it_is_and_no_artifact(top: Path) -> None:
    write(top, {"/var/lib/db/base/1": "x", "/var/lib/db/server.key": "secret", "/var/lib/db/l": "-> base"})
    (top / "var/lib/db/server.key").chmod(0o600)
    made = planned(top, 'seed = ["/var/lib/db/"]')
    assert shown(made) == {}
    assert shown(made, implied=True) == {"/var": "directory 0755 root", "/var/lib": "directory 0755 root"}
    (seed,) = made.seeds.values()
    assert [(item.path, str(item.kind), item.mode) for item in seed] == [
        ("/var/lib/db", "directory", 0o755),
        ("/var/lib/db/base", "directory", 0o755),
        ("/var/lib/db/base/1", "file", 0o644),
        ("/var/lib/db/l", "link", 0),
        ("/var/lib/db/server.key", "file", 0o600),
    ]
    assert words(made, "/var/lib/db") == ["seed: /var/lib/db/"]


def test_exclude_takes_a_whole_directory_out_of_a_seed(top: Path) -> None:
    write(top, {"/var/lib/db/log/1": "x", "/var/lib/db/pid": "x"})
    made = planned(top, 'seed = ["/var/lib/db/"]\nexclude = ["/var/lib/db/log"]')
    assert [item.path for item in made.seeds["/var/lib/db"]] == ["/var/lib/db", "/var/lib/db/pid"]


def test_a_seed_that_is_not_there_is_an_error(top: Path) -> None:
    assert failure(top, 'seed = ["/var/lib/db/"]').startswith(
        "cannot read /var/lib/db: No such file or directory (targets/x.toml:3: seed)"
    )


# -- temporary tools ---------------------------------------------------------------------------


def test_temporary_tools_are_not_in_the_plan(top: Path) -> None:
    write(top, {"/sbin/ldconfig": "x"})
    assert shown(planned(top, '[build]\ntemporary = ["/sbin/ldconfig"]')) == {}
