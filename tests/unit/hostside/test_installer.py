"""What is installed on the host, and that nothing else is ever touched: each on a tree of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.hostside import host_file, installer
from chrootbuild.hostside.installer import Change, install, uninstall
from chrootbuild.hostside.snippet import Form, Owner, Snippet
from chrootbuild.state.project import Project
from chrootbuild.system.rights.provenance import make_folder
from tests.support.hostside_project import make_project
from tests.support.trees import tree

FILE = Snippet("/etc/cron.d/roots", "7 * * * * root true\n")
SCRIPT = Snippet("/usr/sbin/httpd-chroot", "#!/bin/sh\nexit 0\n", mode=0o755)
LINES = Snippet("/etc/fstab", "proc /r/proc proc defaults 0 0\n", Form.LINES)
LINK = Snippet("/usr/local/apache", "/r/usr/local/apache", Form.LINK)
FSTAB = "/dev/sda1 / ext4 defaults 0 1\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's tree, with a merged /usr and a file that others write as well."""
    tree = tmp_path / "host"
    for path in ("etc/cron.d", "usr/sbin", "usr/local"):
        tree.joinpath(path).mkdir(parents=True)
    tree.joinpath("sbin").symlink_to("usr/sbin")
    tree.joinpath("etc/fstab").write_text(FSTAB)
    return tree


def owner(command: str = "host web links") -> Owner:
    return Owner(command, "/etc/chrootbuild/targets/web.toml")


def actions(changes: tuple[Change, ...]) -> list[tuple[str, str]]:
    return [(change.action, change.path) for change in changes]


def test_a_file_says_who_wrote_it_in_its_first_line(project: Project, host: Path) -> None:
    assert actions(install(project, [FILE], owner(), str(host))) == [("install", "/etc/cron.d/roots")]
    assert host.joinpath("etc/cron.d/roots").read_text() == (
        "# Written by chrootbuild host web links, /etc/chrootbuild/targets/web.toml."
        " Changes made here are lost.\n7 * * * * root true\n"
    )
    assert host.joinpath("etc/cron.d/roots").stat().st_mode & 0o7777 == 0o644


def test_a_script_says_it_in_its_second_line_and_can_be_run(project: Project, host: Path) -> None:
    install(project, [SCRIPT], owner(), str(host))
    lines = host.joinpath("usr/sbin/httpd-chroot").read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert lines[1].startswith("# Written by chrootbuild ")
    assert host.joinpath("usr/sbin/httpd-chroot").stat().st_mode & 0o7777 == 0o755


def test_lines_go_to_the_end_of_a_shared_file_whose_mode_stays(project: Project, host: Path) -> None:
    host.joinpath("etc/fstab").chmod(0o600)
    install(project, [LINES], owner(), str(host))
    text = host.joinpath("etc/fstab").read_text()
    words = "chrootbuild host web links, /etc/chrootbuild/targets/web.toml"
    assert text == f"{FSTAB}# begin: {words}\n{LINES.content}# end: {words}\n"
    assert host.joinpath("etc/fstab").stat().st_mode & 0o7777 == 0o600


def test_a_shared_file_without_a_newline_at_its_end_gets_one(project: Project, host: Path) -> None:
    host.joinpath("etc/fstab").write_text("/dev/sda1 / ext4")
    install(project, [LINES], owner(), str(host))
    assert host.joinpath("etc/fstab").read_text().startswith("/dev/sda1 / ext4\n# begin: ")


def test_what_stands_behind_our_lines_stays_behind_them(project: Project, host: Path) -> None:
    install(project, [LINES], owner(), str(host))
    with host.joinpath("etc/fstab").open("a") as file:
        file.write("tmpfs /tmp tmpfs\n")
    new = Snippet("/etc/fstab", "none /r/sys sysfs\n", Form.LINES)
    assert actions(install(project, [new], owner(), str(host))) == [("replace", "/etc/fstab")]
    lines = host.joinpath("etc/fstab").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "/dev/sda1 / ext4 defaults 0 1",
        "none /r/sys sysfs",
        "tmpfs /tmp tmpfs",
    ]


def test_lines_of_two_owners_live_side_by_side(project: Project, host: Path) -> None:
    install(project, [LINES], owner(), str(host))
    install(project, [LINES], owner("host cvs fstab"), str(host))
    assert host.joinpath("etc/fstab").read_text().count(LINES.content) == 2
    uninstall(project, [LINES], owner(), str(host))
    assert host.joinpath("etc/fstab").read_text().count(LINES.content) == 1


def test_a_second_install_changes_nothing(project: Project, host: Path) -> None:
    wanted = [FILE, SCRIPT, LINES, LINK]
    install(project, wanted, owner(), str(host))
    before = {path: os.lstat(f"{host}{path}").st_ino for path in tree(host)}
    assert install(project, wanted, owner(), str(host)) == ()
    assert {path: os.lstat(f"{host}{path}").st_ino for path in tree(host)} == before


def test_uninstall_leaves_the_host_as_it_was(project: Project, host: Path) -> None:
    before = tree(host)
    wanted = [FILE, SCRIPT, LINES, LINK]
    install(project, wanted, owner(), str(host))
    assert len(tree(host)) == len(before) + 3
    changes = uninstall(project, wanted, owner(), str(host))
    assert sorted(actions(changes)) == sorted(("remove", snippet.path) for snippet in wanted)
    assert tree(host) == before
    assert uninstall(project, wanted, owner(), str(host)) == ()


def test_a_shared_file_that_we_made_goes_with_our_lines(project: Project, host: Path) -> None:
    rules = Snippet("/etc/devfs.rules", "[x=100]\n", Form.LINES)
    before = tree(host)
    install(project, [rules], owner(), str(host))
    uninstall(project, [rules], owner(), str(host))
    assert tree(host) == before


def test_a_shared_file_that_we_made_stays_if_somebody_wrote_to_it(project: Project, host: Path) -> None:
    rules = Snippet("/etc/devfs.rules", "[x=100]\n", Form.LINES)
    install(project, [rules], owner(), str(host))
    with host.joinpath("etc/devfs.rules").open("a") as file:
        file.write("[theirs=7]\n")
    uninstall(project, [rules], owner(), str(host))
    assert host.joinpath("etc/devfs.rules").read_text() == "[theirs=7]\n"


def test_a_shared_file_that_was_there_and_empty_stays(project: Project, host: Path) -> None:
    host.joinpath("etc/rc.conf").touch()
    rules = Snippet("/etc/rc.conf", "a=b\n", Form.LINES)
    install(project, [rules], owner(), str(host))
    uninstall(project, [rules], owner(), str(host))
    assert host.joinpath("etc/rc.conf").read_text() == ""


@pytest.mark.parametrize("snippet", [FILE, LINK], ids=["file", "link"])
def test_a_file_that_we_did_not_write_is_never_replaced(
    project: Project, host: Path, snippet: Snippet
) -> None:
    theirs = host / snippet.path[1:]
    theirs.write_text("theirs\n")
    with pytest.raises(Failure, match="a file is there that was not written by chrootbuild"):
        install(project, [snippet], owner(), str(host))
    uninstall(project, [snippet], owner(), str(host))
    assert theirs.read_text() == "theirs\n"


def test_a_directory_in_the_way_is_an_error(project: Project, host: Path) -> None:
    host.joinpath("usr/local/apache").mkdir()
    with pytest.raises(Failure, match="something else is there"):
        install(project, [LINK], owner(), str(host))


def test_a_fifo_in_the_way_does_not_block(project: Project, host: Path) -> None:
    os.mkfifo(host / "etc/cron.d/roots")
    with pytest.raises(Failure, match="something else is there"):
        install(project, [FILE], owner(), str(host))


def test_a_file_of_another_target_is_an_error_that_names_it(project: Project, host: Path) -> None:
    install(project, [FILE], owner("host cvs links"), str(host))
    with pytest.raises(Failure, match="it was written for something else") as caught:
        install(project, [FILE], owner(), str(host))
    assert "chrootbuild host cvs links, " in str(caught.value)


def test_nothing_is_written_where_the_last_of_several_is_refused(project: Project, host: Path) -> None:
    host.joinpath("usr/local/apache").write_text("theirs")
    before = tree(host)
    with pytest.raises(Failure):
        install(project, [FILE, LINES, SCRIPT, LINK], owner(), str(host))
    assert tree(host) == before


def test_a_link_that_leads_elsewhere_is_theirs(project: Project, host: Path) -> None:
    host.joinpath("usr/local/apache").symlink_to("/opt/apache")
    with pytest.raises(Failure, match="a link to /opt/apache is there"):
        install(project, [LINK], owner(), str(host))


def test_a_link_that_was_there_before_outlives_uninstall(project: Project, host: Path) -> None:
    host.joinpath("usr/local/apache").symlink_to(LINK.content)
    assert actions(install(project, [LINK], owner(), str(host))) == [("stays", "/usr/local/apache")]
    uninstall(project, [LINK], owner(), str(host))
    assert os.readlink(host / "usr/local/apache") == LINK.content


def test_our_link_follows_when_the_root_moves(project: Project, host: Path) -> None:
    install(project, [LINK], owner(), str(host))
    moved = Snippet(LINK.path, "/srv/r/usr/local/apache", Form.LINK)
    assert actions(install(project, [moved], owner(), str(host))) == [("replace", "/usr/local/apache")]
    assert os.readlink(host / "usr/local/apache") == "/srv/r/usr/local/apache"
    uninstall(project, [], owner(), str(host))
    assert not os.path.lexists(host / "usr/local/apache")


def test_our_link_is_no_longer_ours_once_somebody_has_changed_it(project: Project, host: Path) -> None:
    install(project, [LINK], owner(), str(host))
    host.joinpath("usr/local/apache").unlink()
    host.joinpath("usr/local/apache").symlink_to("/theirs")
    assert actions(uninstall(project, [LINK], owner(), str(host))) == [("stays", "/usr/local/apache")]
    assert os.readlink(host / "usr/local/apache") == "/theirs"


def test_killed_while_a_link_is_replaced_the_next_install_goes_on(
    project: Project, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(project, [LINK], owner(), str(host))
    moved = Snippet(LINK.path, "/srv/r/usr/local/apache", Form.LINK)
    with monkeypatch.context() as patch:
        patch.setattr(host_file.Place, "link", _killed)
        with pytest.raises(KeyboardInterrupt):
            install(project, [moved], owner(), str(host))
    assert actions(install(project, [moved], owner(), str(host))) == [("replace", "/usr/local/apache")]
    uninstall(project, [], owner(), str(host))
    assert not os.path.lexists(host / "usr/local/apache")


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_the_target_no_longer_asks_for_goes_with_the_next_install(project: Project, host: Path) -> None:
    install(project, [FILE, LINK, LINES], owner(), str(host))
    changes = install(project, [FILE], owner(), str(host))
    assert sorted(actions(changes)) == [("remove", "/etc/fstab"), ("remove", "/usr/local/apache")]
    assert host.joinpath("etc/cron.d/roots").exists()
    assert host.joinpath("etc/fstab").read_text() == FSTAB


def test_uninstall_needs_no_target_any_more(project: Project, host: Path) -> None:
    before = tree(host)
    install(project, [FILE, LINK, LINES], owner(), str(host))
    uninstall(project, [], owner(), str(host))
    assert tree(host) == before


def test_without_the_memory_files_and_lines_are_still_known(project: Project, host: Path) -> None:
    before = tree(host)
    install(project, [FILE, LINES], owner(), str(host))
    for path in Path(project.state, "installed").iterdir():
        path.unlink()
    assert install(project, [FILE, LINES], owner(), str(host)) == ()
    for path in Path(project.state, "installed").iterdir():
        path.unlink()
    uninstall(project, [FILE, LINES], owner(), str(host))
    assert tree(host) == before


def test_a_damaged_memory_is_an_error_that_says_what_to_do(project: Project, host: Path) -> None:
    install(project, [FILE], owner(), str(host))
    memory = next(Path(project.state, "installed").iterdir())
    memory.write_text('[{"path": 1}]')
    with pytest.raises(Failure, match=r"cannot read .*installed/host.web.links.json"):
        install(project, [FILE], owner(), str(host))


@pytest.mark.parametrize("damage", ["no end", "twice"])
def test_damaged_marks_in_a_shared_file_are_an_error(project: Project, host: Path, damage: str) -> None:
    install(project, [LINES], owner(), str(host))
    fstab = host / "etc/fstab"
    lines = fstab.read_text().splitlines(keepends=True)
    fstab.write_text("".join(lines[:-1] if damage == "no end" else [*lines, *lines]))
    before = fstab.read_text()
    with pytest.raises(Failure, match="cannot find our lines in /etc/fstab"):
        install(project, [LINES], owner(), str(host))
    assert fstab.read_text() == before


def test_other_bytes_of_a_shared_file_survive(project: Project, host: Path) -> None:
    theirs = b"# caf\xe9 \x0c\x85\r\n\xff"
    host.joinpath("etc/fstab").write_bytes(theirs)
    install(project, [LINES], owner(), str(host))
    uninstall(project, [LINES], owner(), str(host))
    assert host.joinpath("etc/fstab").read_bytes() == theirs + b"\n"


def test_a_file_that_changes_while_we_write_is_left_alone(
    project: Project, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def edited(fd: int) -> None:
        real(fd)
        host.joinpath("etc/fstab").write_text("edited\n")

    monkeypatch.setattr(os, "fsync", edited)
    with pytest.raises(Failure, match="it has changed meanwhile"):
        installer.install(project, [LINES], owner(), str(host))
    monkeypatch.undo()
    assert host.joinpath("etc/fstab").read_text() == "edited\n"
    assert sorted(os.listdir(host / "etc")) == ["cron.d", "fstab"]


# -- where it is written ----------------------------------------------------------------------


def test_links_among_the_parents_lead_where_they_lead_on_that_host(project: Project, host: Path) -> None:
    host.joinpath("lib").symlink_to("/usr/local")
    install(project, [Snippet("/lib/x", "x\n"), Snippet("/sbin/y", "y\n")], owner(), str(host))
    assert host.joinpath("usr/local/x").exists()
    assert host.joinpath("usr/sbin/y").exists()


def test_a_shared_file_that_is_a_link_is_written_where_it_leads(project: Project, host: Path) -> None:
    host.joinpath("etc/fstab").rename(host / "usr/local/fstab")
    host.joinpath("etc/fstab").symlink_to("../usr/local/fstab")
    install(project, [LINES], owner(), str(host))
    assert host.joinpath("etc/fstab").is_symlink()
    assert LINES.content in host.joinpath("usr/local/fstab").read_text()


def test_a_file_of_ours_is_never_written_through_a_link(
    project: Project, host: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret\n")
    host.joinpath("etc/cron.d/roots").symlink_to(victim)
    with pytest.raises(Failure, match=r"a link to .*victim is there"):
        install(project, [FILE], owner(), str(host))
    assert victim.read_text() == "secret\n"


@pytest.mark.parametrize("mode", [0o757, 0o1757, 0o1777, 0o1775], ids=oct)
def test_a_directory_that_others_can_write_is_refused(project: Project, host: Path, mode: int) -> None:
    host.joinpath("etc/cron.d").chmod(mode)
    with pytest.raises(Failure, match=r"cannot (write|trust) .*/etc/cron.d"):
        install(project, [FILE], owner(), str(host))
    assert os.listdir(host / "etc/cron.d") == []


@pytest.mark.root
def test_a_link_that_somebody_planted_on_the_way_is_refused(project: Project, host: Path) -> None:
    host.joinpath("tmp").mkdir()
    host.joinpath("tmp").chmod(0o1777)
    host.joinpath("tmp/x").symlink_to("../etc/cron.d")
    os.lchown(host / "tmp/x", 65534, 65534)
    with pytest.raises(Failure, match=r"cannot trust .*/tmp/x: it can be written by"):
        install(project, [Snippet("/tmp/x/roots", "x\n")], owner(), str(host))
    assert os.listdir(host / "etc/cron.d") == []


@pytest.mark.root
def test_a_directory_above_that_somebody_owns_is_refused(project: Project, host: Path) -> None:
    os.chown(host / "etc", 65534, 65534)
    with pytest.raises(Failure, match=r"cannot trust .*/etc: it can be written by"):
        install(project, [FILE], owner(), str(host))
    assert os.listdir(host / "etc/cron.d") == []


@pytest.mark.root
def test_a_memory_that_somebody_can_write_is_not_believed(project: Project, host: Path) -> None:
    install(project, [LINK], owner(), str(host))
    os.chown(Path(project.state, "installed"), 65534, 65534)
    with pytest.raises(Failure, match=r"cannot trust .*/installed"):
        uninstall(project, [LINK], owner(), str(host))
    assert host.joinpath("usr/local/apache").is_symlink()


@pytest.mark.root
def test_a_shared_file_keeps_its_owner(project: Project, host: Path) -> None:
    os.chown(host / "etc/fstab", 0, 65534)
    install(project, [LINES], owner(), str(host))
    info = host.joinpath("etc/fstab").stat()
    assert (info.st_uid, info.st_gid) == (0, 65534)


def test_a_missing_directory_is_an_error_that_names_it(project: Project, host: Path) -> None:
    with pytest.raises(Failure, match=r"there is no directory /etc/logrotate.d") as caught:
        install(project, [Snippet("/etc/logrotate.d/x", "x\n")], owner(), str(host))
    assert "install the program that reads it" in str(caught.value)


@pytest.mark.parametrize(
    "memory",
    [
        "[" * 8000,
        '[{"path": [], "form": "link", "texts": []}]',
        '[{"path": "/x", "form": "link", "texts": [5]}]',
    ],
)
def test_a_memory_that_is_not_of_our_making_is_an_error(project: Project, memory: str) -> None:
    file = Path(project.state, "installed", "host.t.json")
    make_folder(str(file.parent))
    file.write_text(memory)
    file.chmod(0o644)
    with pytest.raises(Failure, match=r"cannot read .*/host\.t\.json: "):
        uninstall(project, (), Owner("host t", "/t.toml"))
