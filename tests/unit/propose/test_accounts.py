"""Which accounts a run needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.propose.model import Known
from chrootbuild.propose.propose import propose
from chrootbuild.sysroot.reader import Sysroot
from tests.support.trace_sysroot import ELF, events, sysroot

LOOKS = '1 open("/etc/passwd", O_RDONLY) = 3\n1 open("/etc/group", O_RDONLY) = 3\n'
START = '1 execve("/usr/sbin/food", ["food"], 0x7f /* 2 vars */) = 0\n'


def people(
    base: Path, trace: str, known: Known | None = None, files: Mapping[str, str | bytes] | None = None
) -> list[str]:
    """Return the accounts proposed, groups with a colon before."""
    host = sysroot(base, {"/usr/sbin/food": ELF, **(files or {})})
    found = propose(events(trace), host, known)
    return [
        entry.value if entry.key == "accounts.users" else f":{entry.value}"
        for entry in found.entries
        if entry.key.startswith("accounts")
    ]


def test_ids_that_were_used(tmp_path: Path) -> None:
    """setuid(2), setgroups(2), chown(2); a user's primary group comes with it."""
    trace = (
        START
        + '1 setgid(110) = 0\n1 setgroups(2, [110, 112]) = 0\n1 setuid(105) = 0\n1 chown("/x", 106, -1) = 0\n'
    )
    assert people(tmp_path, trace) == ["bar", "foo", ":foodrop"]
    assert people(tmp_path, START + "1 setuid(4711) = 0\n1 setuid(0) = 0\n") == []


def test_the_reason_is_the_strongest(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {})
    text = START + '1 chown("/x", 105, -1) = 0\n1 setuid(105) = 0\n'
    (entry,) = [entry for entry in propose(events(text), host).entries if entry.key == "accounts.users"]
    assert (entry.value, entry.reason, entry.call) == ("foo", "food switches to it", "setuid")


def test_root_for_what_starts_as_root_and_looks_up(tmp_path: Path) -> None:
    assert people(tmp_path, START + LOOKS) == ["root"]
    assert people(tmp_path, START + LOOKS, Known(uid=105)) == []
    assert people(tmp_path, START) == []


def test_names_in_the_configuration(tmp_path: Path) -> None:
    """Behind a word for a user or group; not in comments, not anywhere else, not for programs without look-ups."""
    conf = "# user bar\nuser = foo;\nsetgid_group = foodrop\nlisten daemon\nbar baz\n"
    trace = START + '1 open("/etc/food.conf", O_RDONLY) = 3\n'
    assert people(tmp_path, trace + LOOKS, files={"/etc/food.conf": conf}) == [
        "foo",
        "root",
        ":foodrop",
    ]
    assert people(tmp_path, trace, files={"/etc/food.conf": conf}) == []


def test_a_package_s_data_is_no_configuration(tmp_path: Path) -> None:
    trace = (
        START
        + LOOKS
        + '1 open("/usr/share/food/words", O_RDONLY) = 3\n1 open("/etc/services", O_RDONLY) = 3\n'
    )
    files = {"/usr/share/food/words": "user foo\n", "/etc/services": "nobody: user bar\n"}
    assert people(tmp_path, trace, files=files) == ["root"]


def test_names_in_what_only_the_target_has(tmp_path: Path) -> None:
    text = Artifact("/srv/food.conf", Kind.TEXT, content=b"User foo\n")
    assert people(tmp_path, START + LOOKS, Known({"/srv/food.conf": text})) == ["foo", "root"]


def test_names_among_the_arguments(tmp_path: Path) -> None:
    """Whole words; those that are everyday words only behind an option for users."""
    for argv, names in {
        '"-u", "foo"': ["foo", "root"],
        '"--user=foo:foodrop"': ["foo", "root", ":foodrop"],
        '"-", "alice"': ["alice", "root"],
        '"daemon"': ["root"],
        '"-u", "daemon"': ["daemon", "root"],
        '"food-foo"': ["root"],
    }.items():
        trace = f'1 execve("/usr/sbin/food", ["food", {argv}], 0x7f /* 2 vars */) = 0\n' + LOOKS
        assert people(tmp_path, trace) == names, argv


def test_names_within_programs(tmp_path: Path) -> None:
    """A compiled-in default is a whole string: nobody, the program's own name, names that are no words."""
    program = ELF + b"\0run as nobody\0www-data\0daemon\0foo\0bar\0"
    trace = START + LOOKS
    assert people(tmp_path, trace, files={"/usr/sbin/food": program}) == ["nobody", "root", "www-data"]
    library = (
        START
        + LOOKS
        + '1 open("/usr/lib/food/libfood.so", O_RDONLY) = 3\n1 open("/usr/lib/libx.so", O_RDONLY) = 3\n'
    )
    files = {"/usr/lib/food/libfood.so": ELF + b"\0nobody\0", "/usr/lib/libx.so": ELF + b"\0www-data\0"}
    assert people(tmp_path / "library", library, files=files) == ["nobody", "root"]


@pytest.mark.root
def test_owners_of_what_is_listed(tmp_path: Path) -> None:
    """ls -l shows names: of the files in the directories it lists, no others."""
    host = sysroot(tmp_path, {"/srv/x/f": "x", "/etc/g": "x"})
    os.chown(tmp_path / "srv/x/f", 33, 112)
    os.chown(tmp_path / "etc/g", 106, 111)
    trace = (
        START
        + LOOKS
        + "1 getdents64(3</srv/x>, 0x5 /* 3 entries */, 32768) = 72\n"
        + '1 statx(AT_FDCWD, "/srv/x/f", AT_SYMLINK_NOFOLLOW, STATX_MODE, {stx_mask=STATX_BASIC_STATS}) = 0\n'
        + '1 newfstatat(AT_FDCWD, "/etc/g", {st_mode=S_IFREG|0644}, 0) = 0\n'
    )
    found = propose(events(trace), host)
    assert [(entry.key, entry.value) for entry in found.entries if entry.key.startswith("accounts")] == [
        ("accounts.users", "root"),
        ("accounts.users", "www-data"),
        ("accounts.groups", "foodrop"),
    ]
    os.chown(tmp_path / "srv/x/f", 0, 0)
    found = propose(events(trace), Sysroot(str(tmp_path)), Known(uid=105))
    assert [entry for entry in found.entries if entry.key.startswith("accounts")] == []


def test_accounts_the_root_has_already(tmp_path: Path) -> None:
    passwd = Artifact("/etc/passwd", Kind.TEXT, content=b"foo:x:105:110::/:/bin/sh\n")
    group = Artifact("/etc/group", Kind.TEXT, content=b"foodrop:x:112:\n")
    known = Known({"/etc/passwd": passwd, "/etc/group": group})
    trace = START + "1 setgroups(1, [112]) = 0\n1 setgid(110) = 0\n1 setuid(105) = 0\n"
    assert people(tmp_path, trace, known) == [":foo"]


def test_a_line_of_one_word_that_says_user_all_over(tmp_path: Path) -> None:
    """Where each of them was followed to the line's end, a configuration of 250 kB took more than a minute."""
    trace = START + LOOKS + '1 open("/etc/food.conf", O_RDONLY) = 3\n'
    text = "user" * 60_000 + "\nuser foo\n"
    assert "foo" in people(tmp_path, trace, files={"/etc/food.conf": text})


def test_an_option_that_says_user_all_over(tmp_path: Path) -> None:
    """A word of a trace's command lines may be 60 kB long; which of its parts is the name is not asked of all."""
    words = "user" * 15_000
    starts = "".join(
        START.replace('"food"]', f'"food", "--{words}{number}", "daemon"]') for number in range(20)
    )
    assert "daemon" not in people(tmp_path, starts + LOOKS)
