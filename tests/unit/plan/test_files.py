"""The key ``files``: exact paths, trees, directories alone, globs; what comes along, and what is left out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from chrootbuild.artifact import Plan
from chrootbuild.errors import TargetError
from tests.support.sysroot import ME, planned, shown, words, write

DIRECTORY, FILE = f"directory 0755 {ME}", f"file 0644 {ME}"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return write(tmp_path / "sysroot", {"/etc/": ""})


def skipped(made: Plan) -> dict[str, str]:
    return {item.path: item.reason.partition(";")[0] for item in made.skipped}


# -- the four kinds of entries -----------------------------------------------------------------


def test_an_exact_path_is_the_file_alone(top: Path) -> None:
    write(top, {"/etc/protocols": "tcp", "/etc/services": "ssh"})
    made = planned(top, 'files = ["/etc/protocols"]')
    assert shown(made) == {"/etc/protocols": FILE}
    assert shown(made, implied=True)["/etc"] == "directory 0755 root"


def test_a_directory_without_a_slash_is_the_directory_alone(top: Path) -> None:
    write(top, {"/srv/www/index": "x"})
    (top / "srv/www").chmod(0o2750)
    assert shown(planned(top, 'files = ["/srv/www"]')) == {"/srv/www": f"directory 2750 {ME}"}


def test_a_tree_keeps_owner_and_mode_of_its_directories(top: Path) -> None:
    write(top, {"/srv/www/a/b/c": "x", "/srv/www/empty/": ""})
    (top / "srv/www/a").chmod(0o2775)
    assert shown(planned(top, 'files = ["/srv/www/"]')) == {
        "/srv/www": DIRECTORY,
        "/srv/www/a": f"directory 2775 {ME}",
        "/srv/www/a/b": DIRECTORY,
        "/srv/www/a/b/c": FILE,
        "/srv/www/empty": DIRECTORY,
    }


def test_a_tree_may_be_named_by_a_link_to_it(top: Path) -> None:
    write(top, {"/lib": "-> usr/lib", "/usr/lib/x/a": "x"})
    assert shown(planned(top, 'files = ["/lib/x/"]')) == {
        "/lib": "link -> usr/lib",
        "/usr/lib/x": DIRECTORY,
        "/usr/lib/x/a": FILE,
    }


def test_a_slash_behind_a_file_is_an_error(top: Path) -> None:
    write(top, {"/etc/hosts": "x"})
    with pytest.raises(TargetError) as caught:
        planned(top, 'files = ["/etc/hosts/"]')
    assert str(caught.value) == (
        "cannot take /etc/hosts/ as a tree: it is not a directory (targets/x.toml:3: files)\n"
        "hint: leave the slash at the end out"
    )


def test_a_glob_stays_within_one_directory_and_takes_directories_alone(top: Path) -> None:
    write(top, {"/etc/b/1.conf": "x", "/etc/b/2.conf": "x", "/etc/b/2.bak": "x", "/etc/b/d.conf/x": "x"})
    assert shown(planned(top, 'files = ["/etc/b/*.conf"]')) == {
        "/etc/b/1.conf": FILE,
        "/etc/b/2.conf": FILE,
        "/etc/b/d.conf": DIRECTORY,
    }


def test_a_glob_that_matches_nothing_brings_nothing(top: Path) -> None:
    assert shown(planned(top, 'files = ["/etc/b/*.conf"]')) == {}


def test_a_glob_with_a_slash_is_a_tree_for_each_directory(top: Path) -> None:
    write(top, {"/etc/b1/x/y": "x", "/etc/b2/z": "x", "/etc/b3": "a file"})
    assert set(shown(planned(top, 'files = ["/etc/b*/"]'))) == {
        "/etc/b1",
        "/etc/b1/x",
        "/etc/b1/x/y",
        "/etc/b2",
        "/etc/b2/z",
    }


def test_a_missing_path_names_file_line_and_key(top: Path) -> None:
    with pytest.raises(TargetError) as caught:
        planned(top, 'files = [\n  "/etc/protocols"]')
    assert str(caught.value).splitlines() == [
        "cannot read /etc/protocols: No such file or directory (targets/x.toml:4: files)",
        "hint: chrootbuild locate protocols says which package has it; or leave it out",
    ]


# -- owner and mode ----------------------------------------------------------------------------


def test_data_keeps_its_mode_without_setuid_and_programs_are_roots(top: Path) -> None:
    write(top, {"/opt/data": "x", "/opt/tool": "#!/opt/sh", "/opt/sh": "x"})
    (top / "opt/data").chmod(0o6664)
    (top / "opt/tool").chmod(0o6775)
    assert shown(planned(top, 'files = ["/opt/data", "/opt/tool"]')) == {
        "/opt/data": f"file 0664 {ME}",
        "/opt/tool": "file 0755 root",
        "/opt/sh": FILE,
    }


def test_setuid_keeps_what_it_names(top: Path) -> None:
    write(top, {"/bin/su": "#!/bin/sh", "/bin/sh": "x", "/bin/alias": "-> su"})
    (top / "bin/su").chmod(0o4775)
    made = planned(top, 'binaries = ["su"]\nsetuid = ["/bin/alias"]')
    assert shown(made)["/bin/su"] == f"file 4775 {ME}"
    assert made.artifacts["/bin/su"].capabilities
    assert not made.artifacts["/bin/sh"].capabilities


def test_setuid_of_what_nothing_brings_is_a_warning(top: Path) -> None:
    write(top, {"/bin/su": "x"})
    made = planned(top, 'setuid = ["/bin/su"]')
    assert made.warnings == ("setuid names /bin/su, which nothing brings into the root",)


def test_an_entrys_owner_and_mode_are_those_of_all_in_its_tree(top: Path) -> None:
    write(top, {"/etc/passwd": "web:x:33:34::/:/bin/sh\n", "/etc/group": "web:x:34:\n", "/srv/w/a/b": "x"})
    made = planned(top, 'files = [{ path = "/srv/w/", owner = "web", group = "web", mode = "0640" }]')
    assert shown(made) == {
        "/srv/w": "directory 0750 33:34",
        "/srv/w/a": "directory 0750 33:34",
        "/srv/w/a/b": "file 0640 33:34",
    }


def test_the_entry_of_a_file_says_more_than_that_of_a_tree_and_a_deeper_tree_more_than_a_higher(
    top: Path,
) -> None:
    write(top, {"/srv/w/a/b": "x", "/srv/w/a/c": "x", "/srv/w/d": "x"})
    entries = [
        '{ path = "/srv/w/", owner = "1" }',
        '{ path = "/srv/w/a/", owner = "2" }',
        '{ path = "/srv/w/a/c", owner = "3", mode = "0600" }',
    ]
    made = planned(top, f"files = [{', '.join(entries)}]")
    assert {path: artifact.uid for path, artifact in made.artifacts.items() if not artifact.implied} == {
        "/srv/w": 1,
        "/srv/w/a": 2,
        "/srv/w/a/b": 2,
        "/srv/w/a/c": 3,
        "/srv/w/d": 1,
    }


def test_an_entrys_mode_beats_that_of_a_program_even_through_a_link(top: Path) -> None:
    write(top, {"/bin/sh": "-> dash", "/bin/dash": "#!/bin/x", "/bin/x": "x"})
    made = planned(top, 'binaries = ["sh"]\nfiles = [{ path = "/bin/sh", mode = "0700" }]')
    assert shown(made)["/bin/dash"] == "file 0700 root"


def test_an_unknown_owner_names_its_place(top: Path) -> None:
    write(top, {"/etc/x": "x", "/etc/passwd": "", "/etc/group": "bind:x:9:\n"})
    with pytest.raises(TargetError) as caught:
        planned(top, 'files = [{ path = "/etc/x", group = "bnd" }]')
    assert str(caught.value) == (
        "cannot find the group bnd in /etc/group (targets/x.toml:3: files)\nhint: did you mean bind?"
    )


# -- links -------------------------------------------------------------------------------------


def test_what_a_trees_links_lead_to_comes_too_and_dangling_ones_stay(top: Path) -> None:
    write(
        top,
        {
            "/opt/jdk/conf": "-> /etc/jdk",
            "/etc/jdk/a.cfg": "x",
            "/opt/jdk/man": "-> /usr/share/man/none",
            "/opt/jdk/logo": "-> /usr/share/logo.svg",
            "/usr/share/logo.svg": "x",
        },
    )
    assert shown(planned(top, 'files = ["/opt/jdk/"]')) == {
        "/opt/jdk": DIRECTORY,
        "/opt/jdk/conf": "link -> /etc/jdk",
        "/opt/jdk/logo": "link -> /usr/share/logo.svg",
        "/opt/jdk/man": "link -> /usr/share/man/none",
        "/etc/jdk": DIRECTORY,
        "/etc/jdk/a.cfg": FILE,
        "/usr/share/logo.svg": FILE,
    }


def test_an_exact_link_to_a_directory_brings_the_directory_alone(top: Path) -> None:
    write(top, {"/etc/jdk": "-> /opt/jdk", "/opt/jdk/a": "x"})
    assert shown(planned(top, 'files = ["/etc/jdk"]')) == {
        "/etc/jdk": "link -> /opt/jdk",
        "/opt/jdk": DIRECTORY,
    }


def test_a_link_to_a_whole_system_directory_is_not_followed(top: Path) -> None:
    write(top, {"/opt/x/usr": "-> /usr/share", "/usr/share/much": "x", "/opt/x/up": "-> ."})
    made = planned(top, 'files = ["/opt/x/"]')
    assert set(shown(made)) == {"/opt/x", "/opt/x/usr", "/opt/x/up"}
    assert skipped(made) == {"/usr/share/": "/opt/x/usr links to it"}


def test_a_tree_that_is_linked_to_keeps_the_words_of_its_own_entry(top: Path) -> None:
    write(top, {"/etc/a/l": "-> /srv/w", "/srv/w/x": "x"})
    made = planned(top, 'files = ["/etc/a/", { path = "/srv/w/", owner = "7" }]')
    assert made.artifacts["/srv/w/x"].uid == 7
    assert words(made, "/srv/w/x") == ["files: /srv/w/"]


# -- programs among files ----------------------------------------------------------------------


def test_executable_scripts_bring_their_interpreter_and_others_do_not(top: Path) -> None:
    write(top, {"/opt/p/run": "#!/bin/sh\n", "/opt/p/lib.py": "#!/usr/local/bin/python\n", "/bin/sh": "x"})
    (top / "opt/p/lib.py").chmod(0o644)
    made = planned(top, 'files = ["/opt/p/"]')
    assert shown(made) == {
        "/opt/p": DIRECTORY,
        "/opt/p/run": "file 0755 root",
        "/opt/p/lib.py": FILE,
        "/bin/sh": FILE,
    }
    assert words(made, "/bin/sh") == ["has /bin/sh as its interpreter"]


def test_a_trees_program_without_its_interpreter_is_a_warning(top: Path) -> None:
    write(top, {"/opt/p/run": "#!/usr/local/bin/ruby\n"})
    made = planned(top, 'files = ["/opt/p/"]')
    assert made.warnings == ("/opt/p/run needs /usr/local/bin/ruby, which is not there",)


def test_a_program_that_is_named_has_to_have_its_interpreter(top: Path) -> None:
    write(top, {"/opt/p/run": "#!/usr/local/bin/ruby\n"})
    for key in ("files", "binaries"):
        with pytest.raises(TargetError) as caught:
            planned(top, f'{key} = ["/opt/p/run"]')
        assert str(caught.value).splitlines()[:2] == [
            f"cannot find /usr/local/bin/ruby, needed by /opt/p/run (targets/x.toml:3: {key})",
            "  searched: /usr/local/bin/ruby",
        ]


# -- what is left out --------------------------------------------------------------------------

TREE = {"/d/a.conf": "x", "/d/b.key.txt": "x", "/d/s/a.conf": "x", "/d/s/t/c": "x"}


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("/d/a.conf", {"/d/b.key.txt", "/d/s", "/d/s/a.conf", "/d/s/t", "/d/s/t/c"}),
        ("/d/s", {"/d/a.conf", "/d/b.key.txt"}),
        ("/d/s/", {"/d/a.conf", "/d/b.key.txt"}),
        ("/d/*.conf", {"/d/b.key.txt", "/d/s", "/d/s/t", "/d/s/t/c"}),
        ("/d/?/t/", {"/d/a.conf", "/d/b.key.txt", "/d/s", "/d/s/a.conf"}),
        ("/d/[ab].*", {"/d/s", "/d/s/a.conf", "/d/s/t", "/d/s/t/c"}),
    ],
)
def test_exclude(top: Path, exclude: str, left: set[str]) -> None:
    write(top, TREE)
    made = planned(top, f'files = ["/d/"]\nexclude = ["{exclude}"]')
    assert set(shown(made)) - {"/d"} == left
    assert not made.skipped


def test_exclude_leaves_out_what_a_link_or_a_glob_would_bring(top: Path) -> None:
    write(top, {"/d/l": "-> /e/x", "/e/x": "x", "/d/y": "x"})
    assert shown(planned(top, 'files = ["/d/*"]\nexclude = ["/e/", "/d/y"]')) == {"/d/l": "link -> /e/x"}


SECRETS = {
    "shadow": 0o644,
    "gshadow": 0o644,
    "shadow-": 0o644,
    "master.passwd": 0o644,
    "spwd.db": 0o644,
    "rndc.key": 0o644,
    "ssh_host_ed25519_key": 0o644,
    "private": 0o640,
}


@pytest.mark.parametrize("entry", ["/d/", "/d/*"])
def test_trees_and_globs_skip_secrets_and_say_so(top: Path, entry: str) -> None:
    write(top, {f"/d/{name}": "secret" for name in SECRETS})
    write(top, {"/d/ssh_host_ed25519_key.pub": "public", "/d/inside/x": "x", "/d/closed/x": "x"})
    for name, mode in SECRETS.items():
        (top / "d" / name).chmod(mode)
    (top / "d/closed").chmod(0o750)
    made = planned(top, f'files = ["{entry}"]')
    assert set(shown(made)) - {"/d", "/d/inside/x"} == {"/d/ssh_host_ed25519_key.pub", "/d/inside"}
    assert skipped(made) == {
        **{f"/d/{name}": "a secret by its name" for name in SECRETS},
        "/d/private": "others may not read it",
        "/d/closed": "others may not read it",
    }


def test_a_link_in_a_tree_to_a_secret_does_not_bring_it(top: Path) -> None:
    write(top, {"/d/cert.pem": "-> /etc/ssl/private/host.pem", "/etc/ssl/private/host.pem": "secret"})
    (top / "etc/ssl/private/host.pem").chmod(0o600)
    made = planned(top, 'files = ["/d/"]')
    assert set(shown(made)) == {"/d", "/d/cert.pem"}
    assert skipped(made) == {"/etc/ssl/private/host.pem": "others may not read it"}


def test_an_exact_path_takes_a_secret_even_through_a_link(top: Path) -> None:
    write(top, {"/d/cert.pem": "-> host.key", "/d/host.key": "secret"})
    (top / "d/host.key").chmod(0o600)
    assert shown(planned(top, 'files = ["/d/cert.pem"]'))["/d/host.key"] == f"file 0600 {ME}"
    assert shown(planned(top, 'files = ["/d/host.key"]'))["/d/host.key"] == f"file 0600 {ME}"


def test_sockets_and_fifos_of_a_tree_are_skipped(top: Path) -> None:
    write(top, {"/run/app/pid": "1"})
    os.mkfifo(top / "run/app/pipe")
    here = os.getcwd()
    os.chdir(top / "run/app")  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    finally:
        os.chdir(here)
    made = planned(top, 'files = ["/run/app/"]')
    assert set(shown(made)) == {"/run/app", "/run/app/pid"}
    assert skipped(made) == {"/run/app/pipe": "it is a FIFO", "/run/app/socket": "it is a socket"}


def test_what_a_tree_cannot_enter_is_skipped_and_stops_nothing(top: Path) -> None:
    write(top, {"/d/closed/x": "x", "/d/open": "x"})
    (top / "d/closed").chmod(0o700)
    assert set(shown(planned(top, 'files = ["/d/"]'))) == {"/d", "/d/open"}
