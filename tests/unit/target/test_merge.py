"""Includes and what was learned: which files are read, and which word counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.artifact import Origin
from chrootbuild.errors import TargetError
from chrootbuild.target.reader import SHIPPED, read_targets
from tests.support.target_project import error, project, target


def values(items: object) -> list[str]:
    assert isinstance(items, tuple)
    return [item.value for item in items]


def test_lists_grow_from_what_was_learned_over_the_includes_to_the_target(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        'include = ["a", "b"]\nbinaries = ["own"]',
        a='binaries = ["of-a"]',
        b='binaries = ["of-b"]',
        learned='binaries = ["learned"]',
    )
    assert values(found.binaries) == ["learned", "of-a", "of-b", "own"]
    assert found.binaries[1].origin == Origin("targets/common/a.toml", "binaries", 1)


def test_equal_entries_stand_once_with_the_origin_that_counts(tmp_path: Path) -> None:
    found = target(tmp_path, 'include = ["a"]\nbinaries = ["sh"]', a='binaries = ["sh", "ls", "sh"]')
    assert values(found.binaries) == ["sh", "ls"]
    assert found.binaries[0].origin == Origin("targets/x.toml", "binaries", 2)


def test_the_target_beats_the_later_include_and_that_the_earlier(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        'include = ["a", "b"]\n[accounts]\nmin_uid = 3',
        a='timezone = "Asia/Tokyo"\n[accounts]\nmin_uid = 1\nlegacy = true',
        b='timezone = "UTC"\n[accounts]\nmin_uid = 2',
        learned='timezone = "host"\n[accounts]\nusers = ["daemon"]',
    )
    assert found.timezone is not None
    assert found.timezone.value == "UTC"
    assert found.accounts is not None
    assert (found.accounts.min_uid, found.accounts.legacy) == (3, True)
    assert values(found.accounts.users) == ["daemon"]


def test_an_include_beats_what_it_includes_itself(tmp_path: Path) -> None:
    found = target(
        tmp_path, 'include = ["a"]', a='include = ["b"]\nsysroot = "/a"', b='sysroot = "/b"\nos = "freebsd"'
    )
    assert (found.sysroot, found.os) == ("/a", "freebsd")


def test_an_include_of_two_includes_is_read_once_and_below_both(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        'include = ["a", "b"]',
        a='include = ["c"]\nos = "linux"',
        b='include = ["c"]\nbinaries = ["b"]',
        c='os = "freebsd"\nbinaries = ["c"]',
    )
    assert found.os == "linux"
    assert values(found.binaries) == ["c", "b"]
    assert [Path(path).name for path in found.read] == ["c.toml", "a.toml", "b.toml", "x.toml"]


def test_tables_merge_key_by_key(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        """
        include = ["a"]
        [directories]
        "/tmp" = { owner = "u" }
        [text]
        "/etc/motd" = "ours"
        [check.service]
        ready = "udp:127.0.0.1:53"
        env = { B = "2" }
        user = "nobody"
        probe = ["second"]
        [check.limits]
        memory = "1T"
        [host]
        wrapper = { "/w" = ["b"] }
        [audit]
        ignore = { "/b" = "two" }
        """,
        a="""
        [directories]
        "/tmp" = { mode = "1777", owner = "nobody" }
        "/var" = {}
        [text]
        "/etc/motd" = { content = "theirs", mode = "0600" }
        [check.service]
        start = ["named"]
        env = { A = "1", B = "1" }
        user = "root"
        probe = ["first"]
        timeout = 3
        [check.limits]
        processes = 9
        memory = "2K"
        [host]
        wrapper = { "/w" = ["a"], "/v" = ["a"] }
        restart = "true"
        [audit]
        ignore = { "/a" = "one" }
        """,
    )
    assert (found.directories["/tmp"].mode, found.directories["/tmp"].owner) == (0o1777, "u")
    assert set(found.directories) == {"/tmp", "/var"}
    assert (found.text["/etc/motd"].content, found.text["/etc/motd"].mode) == ("ours", 0o600)
    service = found.check.service
    assert service is not None
    assert (service.start, service.ready, service.timeout) == (("named",), "udp:127.0.0.1:53", 3.0)
    assert service.user == "nobody"
    assert (service.env, service.probe) == ({"A": "1", "B": "2"}, ("first", "second"))
    limits = found.check.limits
    assert (limits.processes, limits.memory, limits.files, limits.trace) == (9, 1 << 40, 1 << 30, 256 << 20)
    assert found.host.wrapper == {"/w": ("b",), "/v": ("a",)}
    assert found.host.restart == "true"
    assert found.audit_ignore == {"/a": "one", "/b": "two"}


def test_a_file_entry_of_the_target_replaces_that_of_an_include(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        """
        include = ["a"]
        files = [{ path = "/etc/x", mode = "0600" }]
        devices = [{ name = "tty", mode = "0620" }]
        """,
        a='files = [{ path = "/etc/x", owner = "u" }, "/etc/y"]\ndevices = ["tty", "null"]',
    )
    assert [(item.path, item.owner, item.mode) for item in found.files] == [
        ("/etc/x", "", 0o600),
        ("/etc/y", "", None),
    ]
    assert [(item.name, item.mode) for item in found.devices] == [("tty", 0o620), ("null", None)]


def test_another_thing_at_a_path_of_an_include_takes_its_place(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        """
        include = ["a"]
        files = ["/etc/hosts"]
        seed = ["/var/lib/db/"]
        [links]
        "/etc/motd" = "issue"
        "/etc/localtime" = "zone"
        [text]
        "/usr/bin/tool" = "#!/bin/sh"
        "/dev/log" = ""
        """,
        a="""
        binaries = ["/usr/bin/tool", "sh"]
        files = ["/etc/motd", "/var/lib/db/", "/etc/keep"]
        timezone = "UTC"
        devices = ["log"]
        [text]
        "/etc/hosts" = "x"
        [directories]
        "/etc/motd" = {}
        """,
    )
    assert values(found.binaries) == ["sh"]
    assert [item.path for item in found.files] == ["/etc/keep", "/etc/hosts"]
    assert values(found.seed) == ["/var/lib/db/"]
    assert set(found.links) == {"/etc/motd", "/etc/localtime"}
    assert set(found.text) == {"/usr/bin/tool", "/dev/log"}
    assert (found.directories, found.timezone, found.devices) == ({}, None, ())


def test_a_directory_that_files_brings_may_be_described(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        'include = ["a"]\nfiles = ["/srv/www/"]\n[directories]\n"/srv/www" = { mode = "0750" }',
        a='[directories]\n"/srv/www" = { owner = "www-data" }',
    )
    assert [item.path for item in found.files] == ["/srv/www/"]
    assert (found.directories["/srv/www"].owner, found.directories["/srv/www"].mode) == ("www-data", 0o750)


def test_a_directory_that_an_include_brings_may_be_described(tmp_path: Path) -> None:
    found = target(tmp_path, 'include = ["a"]\ndirectories = { "/srv/www" = {} }', a='files = ["/srv/www/"]')
    assert [item.path for item in found.files] == ["/srv/www/"]
    assert set(found.directories) == {"/srv/www"}


def test_a_glob_is_no_path_that_something_else_could_have(tmp_path: Path) -> None:
    found = target(tmp_path, 'files = ["/etc/[x]"]\nlibraries = ["/etc/[x]"]\ntext = { "/etc/[x]" = "" }')
    assert (len(found.files), len(found.libraries), len(found.text)) == (1, 1, 1)


def test_of_two_lines_for_one_account_the_last_counts(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        'include = ["a"]\n[accounts]\nextra = ["u:x:2:2::/:/bin/sh"]\nextra_groups = ["g:x:2:"]',
        a='[accounts]\nextra = ["u:x:1:1::/:/bin/sh", "v:x:1:1::/:"]\nextra_groups = ["g:x:1:"]',
    )
    assert found.accounts is not None
    assert values(found.accounts.extra) == ["u:x:2:2::/:/bin/sh", "v:x:1:1::/:"]
    assert values(found.accounts.extra_groups) == ["g:x:2:"]


# -- which files ------------------------------------------------------------------------------


def test_an_include_of_the_project_beats_the_shipped_one(tmp_path: Path) -> None:
    found = target(tmp_path, 'include = ["tmp", "shell"]', tmp='binaries = ["x"]')
    assert found.read == (
        f"{tmp_path}/targets/common/tmp.toml",
        f"{SHIPPED}/shell.toml",
        f"{tmp_path}/targets/x.toml",
    )
    assert found.absent == (f"{tmp_path}/targets/x.learned.toml", f"{tmp_path}/targets/common/shell.toml")
    assert found.directories == {}


def test_what_was_learned_is_read_and_named_in_its_own_errors(tmp_path: Path) -> None:
    found = target(tmp_path, "", learned='files = ["/etc/x"]\n')
    assert found.read == (f"{tmp_path}/targets/x.learned.toml", f"{tmp_path}/targets/x.toml")
    assert found.absent == ()
    assert found.files[0].origin == Origin("targets/x.learned.toml", "files", 1)


@pytest.mark.parametrize(
    "text",
    [
        *(
            'include = ["a"]',
            'root = "/x"',
            "manual = true",
            "manual = false",
            'sysroot = "/x"',
            'os = "linux"',
        ),
        *('summary = ""', "[host]", "[check]", 'setuid = ["/usr/bin/su"]', "[audit]", "[build]"),
    ],
)
def test_what_was_learned_decides_nothing_else(tmp_path: Path, text: str) -> None:
    assert "a learned file may not have this key" in error(tmp_path, "", learned=text, a="")


def test_no_password_is_learned(tmp_path: Path) -> None:
    text = error(tmp_path, "", learned='[accounts]\nusers = ["u"]\npasswords = ["u"]')
    assert text.startswith(
        "cannot use targets/x.learned.toml:3: accounts.passwords: no password is learned\n"
    )


@pytest.mark.parametrize("text", ['root = "/x"', "manual = true"])
def test_an_include_is_not_a_target(tmp_path: Path, text: str) -> None:
    assert error(tmp_path, 'include = ["a"]', a=text) == (
        f"cannot use targets/common/a.toml:1: {text.split()[0]}: an include may not have this key\n"
        "  included by targets/x.toml:1: include\n"
        "hint: write it in the target itself"
    )


def test_the_summary_of_an_include_is_its_own(tmp_path: Path) -> None:
    assert target(tmp_path, 'include = ["a"]', a='summary = "a part"').summary == ""


def test_a_loop_is_shown(tmp_path: Path) -> None:
    text = error(
        tmp_path, 'include = ["a"]', a='\ninclude = ["b"]', b='include = ["c"]', c='include = ["a"]'
    )
    assert text == (
        "cannot use targets/common/c.toml:1: include[0]: the includes go round: x > a > b > c > a\n"
        "hint: leave one of them out"
    )


def test_an_include_of_itself_is_a_loop(tmp_path: Path) -> None:
    assert "the includes go round: x > a > a" in error(tmp_path, 'include = ["a"]', a='include = ["a"]')


def test_a_target_may_have_the_name_of_its_include(tmp_path: Path) -> None:
    assert values(target(tmp_path, 'include = ["x"]', x='binaries = ["sh"]').binaries) == ["sh"]


def test_an_unknown_include_gets_a_guess_or_the_list(tmp_path: Path) -> None:
    assert error(tmp_path, 'include = ["name-servce"]').endswith(
        "there is no include named name-servce\nhint: did you mean name-service?"
    )
    text = error(tmp_path, 'include = ["qqq"]', mine="")
    assert "hint: there are devices, " in text
    assert "mine, name-service" in text


def test_a_broken_include_stops_those_that_include_it_and_no_others(tmp_path: Path) -> None:
    files = {
        "a.toml": 'include = ["bad"]',
        "b.toml": 'include = ["bad"]',
        "c.toml": "",
        "common/bad.toml": "x = 1",
    }
    found = read_targets(project(tmp_path, files))
    assert list(found.targets) == ["c"]
    for name in ("a", "b"):
        failure = found.failures[name]
        assert isinstance(failure, TargetError)
        assert failure.message == "cannot use targets/common/bad.toml:1: x: there is no such key"
        assert failure.details == (f"included by targets/{name}.toml:1: include",)
