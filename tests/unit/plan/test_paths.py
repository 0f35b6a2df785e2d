"""Law 3: an artifact's path has no link among its parents, and every link met is an artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.errors import TargetError
from tests.support.sysroot import ME, planned, shown, words, write

MERGED = {"/bin": "-> usr/bin", "/lib": "-> usr/lib", "/usr/bin/": "", "/usr/lib/": ""}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return write(tmp_path / "sysroot", {"/etc/": ""})


def test_merged_usr_gives_the_link_and_the_file_under_its_one_name(top: Path) -> None:
    write(top, {**MERGED, "/usr/bin/sh": "-> dash", "/usr/bin/dash": "a shell"})
    made = planned(top, 'binaries = ["/bin/sh"]')
    assert shown(made) == {
        "/bin": "link -> usr/bin",
        "/usr/bin/sh": "link -> dash",
        "/usr/bin/dash": f"file 0644 {ME}",
    }
    assert shown(made, implied=True)["/usr/bin"] == "directory 0755 root"
    assert words(made, "/bin") == ["binaries: /bin/sh"]


def test_a_chain_of_alternatives_comes_link_by_link(top: Path) -> None:
    write(
        top,
        {
            "/usr/bin/editor": "-> /etc/alternatives/editor",
            "/etc/alternatives/editor": "-> /usr/bin/vim.basic",
            "/usr/bin/vim.basic": "an editor",
        },
    )
    made = planned(top, 'files = ["/usr/bin/editor"]')
    assert shown(made) == {
        "/usr/bin/editor": "link -> /etc/alternatives/editor",
        "/etc/alternatives/editor": "link -> /usr/bin/vim.basic",
        "/usr/bin/vim.basic": f"file 0644 {ME}",
    }
    assert words(made, "/usr/bin/vim.basic") == ["links to it"]


def test_absolute_links_of_a_sysroot_stay_inside_it(top: Path) -> None:
    write(top, {"/etc/localtime": "-> /usr/share/zone", "/usr/share/zone": "inside"})
    made = planned(top, 'files = ["/etc/localtime"]')
    assert made.artifacts["/usr/share/zone"].source == f"{top}/usr/share/zone"


def test_links_that_climb_out_of_a_sysroot_end_at_its_top(top: Path) -> None:
    write(top, {"/etc/up": "-> ../../../../../../../../etc/here", "/etc/here": "inside"})
    made = planned(top, 'files = ["/etc/up"]')
    assert shown(made) == {
        "/etc/up": "link -> ../../../../../../../../etc/here",
        "/etc/here": f"file 0644 {ME}",
    }
    assert made.artifacts["/etc/here"].source == f"{top}/etc/here"


def test_a_link_loop_stays_as_it_is_among_files(top: Path) -> None:
    write(top, {"/etc/a": "-> b", "/etc/b": "-> a"})
    assert shown(planned(top, 'files = ["/etc/a"]')) == {"/etc/a": "link -> b"}


def test_a_link_loop_is_no_program(top: Path) -> None:
    write(top, {"/etc/a": "-> b", "/etc/b": "-> a"})
    with pytest.raises(TargetError) as caught:
        planned(top, 'binaries = ["/etc/a"]')
    assert "/etc/a: Too many levels of symbolic links (targets/x.toml:3: binaries)" in str(caught.value)


def test_a_link_loop_on_the_way_is_an_error_with_its_place(top: Path) -> None:
    write(top, {"/etc/a": "-> b", "/etc/b": "-> a"})
    with pytest.raises(TargetError) as caught:
        planned(top, 'files = ["/etc/a/x"]')
    assert "(targets/x.toml:3: files)" in str(caught.value)


def test_a_dangling_link_stays_dangling(top: Path) -> None:
    write(top, {"/etc/mtab": "-> ../proc/self/mounts"})
    made = planned(top, 'files = ["/etc/mtab"]')
    assert shown(made) == {"/etc/mtab": "link -> ../proc/self/mounts"}


def test_a_declared_directory_takes_the_place_of_a_link(top: Path) -> None:
    write(top, {"/var/run": "-> /run", "/run/app/conf": "x"})
    made = planned(top, 'files = ["/var/run/app/conf"]\n[directories]\n"/var/run" = {}')
    assert shown(made) == {"/var/run": f"directory 0755 {ME}", "/var/run/app/conf": f"file 0644 {ME}"}
    assert made.artifacts["/var/run/app/conf"].source == f"{top}/run/app/conf"


def test_a_directory_declared_below_a_link_goes_where_the_link_leads(top: Path) -> None:
    write(top, {"/var/run": "-> /run", "/run/": ""})
    made = planned(top, '[directories]\n"/var/run/app" = { mode = "0700" }')
    assert shown(made) == {"/var/run": "link -> /run", "/run/app": "directory 0700 root"}


def test_a_declared_link_moves_what_is_reached_through_it(top: Path) -> None:
    write(top, {"/bin/sh": "a shell", "/usr/bin/": ""})
    made = planned(top, 'binaries = ["/bin/sh"]\n[links]\n"/bin" = "usr/bin"')
    assert shown(made) == {"/bin": "link -> usr/bin", "/usr/bin/sh": f"file 0644 {ME}"}
    assert made.artifacts["/usr/bin/sh"].source == f"{top}/bin/sh"


def test_a_program_named_by_a_declared_link_is_the_one_it_leads_to(top: Path) -> None:
    write(top, {"/usr/bin/editor": "-> nano", "/usr/bin/nano": "#!/bin/a", "/usr/bin/vi": "#!/bin/b"})
    write(top, {"/bin/a": "a", "/bin/b": "b"})
    made = planned(top, 'binaries = ["editor"]\n[links]\n"/usr/bin/editor" = "vi"')
    assert shown(made) == {
        "/usr/bin/editor": "link -> vi",
        "/usr/bin/vi": "file 0755 root",
        "/bin/b": f"file 0644 {ME}",
    }
    assert made.artifacts["/usr/bin/vi"].source == f"{top}/usr/bin/vi"


def test_declared_links_may_lead_to_one_another(top: Path) -> None:
    text = '[links]\n"/a" = "z"\n"/z" = "y"\n[text]\n"/a/b" = "hello"'
    made = planned(top, text)
    assert shown(made) == {"/a": "link -> z", "/z": "link -> y", "/y/b": "text 0644 root: hello"}


def test_what_is_declared_through_links_beats_the_sysroots_links_too(top: Path) -> None:
    write(top, {"/y/d": "-> /elsewhere", "/elsewhere/f": "x"})
    text = '[links]\n"/a" = "z"\n"/z" = "y"\n[directories]\n"/a/d" = {}'
    assert set(shown(planned(top, f'files = ["/y/d/f"]\n{text}'))) == {"/a", "/z", "/y/d", "/y/d/f"}


def test_a_declared_link_beats_one_to_a_tree(top: Path) -> None:
    write(top, {"/opt/app/conf": "-> /etc/app", "/etc/app/much": "x"})
    made = planned(top, 'files = ["/opt/app/"]\n[links]\n"/opt/app/conf" = "none"')
    assert set(shown(made)) == {"/opt/app", "/opt/app/conf"}


def test_text_beats_a_hosts_link_and_what_it_leads_to(top: Path) -> None:
    write(top, {"/etc/resolv.conf": "-> /run/stub", "/run/stub": "host's"})
    made = planned(
        top, 'include = ["net"]\n[text]\n"/etc/resolv.conf" = "mine"', net='files = ["/etc/resolv.con[f]"]'
    )
    assert shown(made) == {"/etc/resolv.conf": "text 0644 root: mine"}


def test_a_declared_link_beats_a_trees_file_and_what_that_needs(top: Path) -> None:
    write(top, {"/opt/app/run": "#!/bin/sh", "/bin/sh": "a shell", "/opt/app/x": "x"})
    made = planned(top, 'files = ["/opt/app/"]\n[links]\n"/opt/app/run" = "x"')
    assert shown(made) == {
        "/opt/app": f"directory 0755 {ME}",
        "/opt/app/run": "link -> x",
        "/opt/app/x": f"file 0644 {ME}",
    }


def test_a_timezone_beats_the_sysroots_link(top: Path) -> None:
    zones = "/usr/share/zoneinfo"
    write(
        top,
        {"/etc/localtime": f"-> {zones}/Etc/UTC", f"{zones}/Etc/UTC": "utc", f"{zones}/Asia/Tokyo": "jst"},
    )
    made = planned(top, 'timezone = "Asia/Tokyo"\nfiles = ["/etc/"]')
    assert shown(made) == {
        "/etc": f"directory 0755 {ME}",
        "/etc/localtime": f"link -> {zones}/Asia/Tokyo",
        f"{zones}/Asia/Tokyo": f"file 0644 {ME}",
    }


def test_two_names_for_one_path_are_an_error_in_one_file(top: Path) -> None:
    write(top, {"/var/run": "-> /run", "/run/": ""})
    with pytest.raises(TargetError) as caught:
        planned(top, '[directories]\n"/var/run/x" = { mode = "0700" }\n"/run/x" = { mode = "0755" }')
    text = str(caught.value)
    assert text.startswith("cannot put two things at /run/x: two different ones are described")
    assert "targets/x.toml:4: directories" in text
    assert "targets/x.toml:5: directories" in text


def test_two_names_for_one_path_the_target_beats_its_include(top: Path) -> None:
    write(top, {"/var/run": "-> /run", "/run/": ""})
    mine, other = '"/run/x" = { mode = "0700" }', '[directories]\n"/var/run/x" = { mode = "0755" }'
    made = planned(top, f'include = ["other"]\n[directories]\n{mine}', other=other)
    assert shown(made)["/run/x"] == "directory 0700 root"


def test_something_below_a_file_is_an_error(top: Path) -> None:
    write(top, {"/etc/conf": "a file"})
    with pytest.raises(TargetError, match="cannot put two things at /etc/conf: a file and a directory"):
        planned(top, 'files = ["/etc/conf"]\n[text]\n"/etc/conf/x" = "y"')
