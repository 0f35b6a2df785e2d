"""What a daemon that was taken over, and other inhabitants, put into a root: nothing outside is touched.

Each attack is tried against each command. It ends in success or in one
Failure; a victim outside keeps its bytes, inode, mode, owner and times.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from tests.support.sandbox import SMALLER, Sandbox, make_sandbox, state_of
from tests.support.trees import tree

pytestmark = pytest.mark.root

Attack = Callable[[Sandbox], None]


def _away(path: Path) -> None:
    """Move what is at a path out of the way, inside the root."""
    os.rename(path, f"{path}.away")


def _link(where: str, to: str) -> Attack:
    def attack(box: Sandbox) -> None:
        path = box.root / where
        _away(path)
        path.symlink_to(to.format(victim=box.victim, up="../" * (len(path.parts) - 2)))

    return attack


def _two_hops(box: Sandbox) -> None:
    (box.root / "hop").symlink_to("../../../victim/dir")
    _away(box.root / "etc/app")
    (box.root / "etc/app").symlink_to("../hop")


def _sibling(box: Sandbox) -> None:
    (box.root.parent / "t-other").symlink_to(box.victim)
    _away(box.root / "etc/app")
    (box.root / "etc/app").symlink_to("../../t-other/dir")


def _hard_link(box: Sandbox) -> None:
    for where in ("etc/app/a.conf", "etc/passwd", "etc/hosts"):
        (box.root / where).unlink()
        os.link(box.victim / "file", box.root / where)


def _hard_link_of_target(box: Sandbox) -> None:
    os.link(box.root / "etc/app/a.conf", box.victim / "linked")


def _fifo(box: Sandbox) -> None:
    (box.root / "etc/app/a.conf").unlink()
    os.mkfifo(box.root / "etc/app/a.conf")


def _socket(box: Sandbox) -> None:
    (box.root / "etc/app/a.conf").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(box.root / "etc/app/a.conf"))


def _device(box: Sandbox) -> None:
    (box.root / "etc/app/a.conf").unlink()
    os.mknod(box.root / "etc/app/a.conf", 0o20666, os.makedev(1, 5))  # /dev/zero: reading it never ends


def _huge(box: Sandbox) -> None:
    os.truncate(box.root / "etc/app/a.conf", 100 << 30)


def _directory(box: Sandbox) -> None:
    (box.root / "etc/app/a.conf").unlink()
    (box.root / "etc/app/a.conf").mkdir()


def _full_directory(box: Sandbox) -> None:
    _directory(box)
    (box.root / "etc/app/a.conf/state").write_text("the daemon's")


def _file_for_directory(box: Sandbox) -> None:
    _away(box.root / "usr/share/app")
    (box.root / "usr/share/app").write_text("a file")


def _deep(box: Sandbox) -> None:
    """5,000 levels where a file belongs; made from the inside out, no path gets long."""
    (box.root / "etc/app/a.conf").unlink()
    here = box.top / "deep0"
    here.mkdir()
    for number in range(1, 5000):
        above = box.top / f"deep{number}"
        above.mkdir()
        os.rename(here, above / "d")
        here = above
    os.rename(here, box.root / "etc/app/a.conf")


def _names(box: Sandbox) -> None:
    for name in ("new\nline", "\x1b[31mred", "x" * 255, "ETC", "\u0435tc", "...", "-rf"):
        (box.root / name).symlink_to(box.victim / "dir")
        (box.root / "etc/app" / name).symlink_to(box.victim / "file")
    os.symlink(bytes(box.victim), bytes(box.root / "etc/app") + b"/\xff\xfe")


def _mode(box: Sandbox) -> None:
    (box.root / "etc/app").chmod(0o1777)
    os.chown(box.root / "etc/app/a.conf", 65534, 65534)
    os.setxattr(box.root / "etc/app/b.conf", "user.x", b"y")


def _bind(where: str, what: str) -> Attack:
    def attack(box: Sandbox) -> None:
        subprocess.run(["mount", "--bind", box.victim / what, box.root / where], check=True)

    return attack


def _tmpfs(box: Sandbox) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", box.root / "etc/app"], check=True)


def _bind_below(box: Sandbox) -> None:
    (box.root / "usr/share/app/extra").mkdir()
    _bind("usr/share/app/extra", "dir")(box)


def _immutable(box: Sandbox) -> None:
    subprocess.run(["chattr", "+i", box.root / "etc/app/a.conf"], check=True)


def _immutable_directory(box: Sandbox) -> None:
    subprocess.run(["chattr", "+i", box.root / "etc/app"], check=True)


def _stage_link(box: Sandbox) -> None:
    box.stage.symlink_to(box.victim / "dir")


def _stage_file(box: Sandbox) -> None:
    os.link(box.victim / "file", box.stage)


def _stage_of_another(box: Sandbox) -> None:
    box.stage.mkdir()
    (box.stage / "precious").write_text("somebody's")
    os.chown(box.stage, 65534, 65534)


def _stage_full(box: Sandbox) -> None:
    box.stage.mkdir()
    (box.stage / "log").symlink_to(box.victim / "file")
    (box.stage / "dir").symlink_to(box.victim / "dir")


def _stage_mount(box: Sandbox) -> None:
    (box.stage / "sub").mkdir(parents=True)
    subprocess.run(["mount", "--bind", box.victim / "dir", box.stage / "sub"], check=True)


REPAIRED: dict[str, Attack] = {
    "directory-is-absolute-link": _link("etc/app", "{victim}/dir"),
    "directory-is-relative-link": _link("etc/app", "../../../../victim/dir"),
    "directory-is-link-of-dots": _link("etc/app", "{up}{victim}/dir"),
    "directory-is-link-in-two-hops": _two_hops,
    "directory-is-link-to-sibling-of-same-prefix": _sibling,
    "directory-is-dangling-link": _link("etc/app", "{victim}/nothing"),
    "directory-is-link-to-itself": _link("etc/app", "app"),
    "top-directory-is-link": _link("etc", "{victim}/dir"),
    "middle-directory-is-link": _link("usr/share", "{victim}/dir"),
    "file-is-link": _link("etc/app/a.conf", "{victim}/file"),
    "file-is-relative-link": _link("etc/app/a.conf", "../../../../../victim/file"),
    "file-is-dangling-link": _link("etc/app/a.conf", "{victim}/nothing"),
    "passwd-is-link": _link("etc/passwd", "{victim}/dir/passwd"),
    "text-is-link": _link("etc/hosts", "{victim}/dir/hosts"),
    "open-directory-is-link": _link("var/app", "{victim}/dir"),
    "file-is-hard-link": _hard_link,
    "file-has-another-name-outside": _hard_link_of_target,
    "file-is-fifo": _fifo,
    "file-is-socket": _socket,
    "file-is-device": _device,
    "file-is-sparse-100-gb": _huge,
    "file-is-empty-directory": _directory,
    "directory-is-file": _file_for_directory,
    "odd-and-look-alike-names": _names,
    "owner-mode-xattr": _mode,
    "stage-holds-links": _stage_full,
}
REFUSED: dict[str, Attack] = {
    "file-is-full-directory": _full_directory,
    "file-is-5000-deep": _deep,
    "mount-on-directory": _tmpfs,
    "bind-mount-on-directory": _bind("etc/app", "dir"),
    "bind-mount-on-file": _bind("etc/app/a.conf", "file"),
    "immutable-file": _immutable,
    "immutable-directory": _immutable_directory,
    "stage-is-link": _stage_link,
    "stage-is-hard-link": _stage_file,
    "stage-is-another-users": _stage_of_another,
    "stage-holds-a-mount": _stage_mount,
}
BOTH = [*REPAIRED, "bind-mount-below", *REFUSED]


def _attack(name: str) -> Attack:
    return {**REPAIRED, "bind-mount-below": _bind_below, **REFUSED}[name]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    made = make_sandbox(tmp_path)
    made.build()
    yield made
    subprocess.run(
        ["rm", "-rf", made.root / "etc/app/a.conf"], capture_output=True
    )  # pytest cannot: 5,000 deep
    subprocess.run(["chattr", "-R", "-i", tmp_path], capture_output=True)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            if line.split()[4].startswith(str(tmp_path)):
                subprocess.run(["umount", "-l", line.split()[4]], check=True)


@pytest.mark.parametrize("name", REPAIRED)
def test_build_repairs(box: Sandbox, name: str, tmp_path: Path) -> None:
    _attack(name)(box)
    box.edit("2")
    before = state_of(box.victim)
    box.build()
    assert state_of(box.victim) == before
    fresh = make_sandbox(tmp_path / "fresh")
    fresh.edit("2")
    fresh.build()
    wanted, found = tree(fresh.root), tree(box.root)
    assert {path: found.get(path) for path in wanted} == wanted
    assert box.build() == 0
    assert not os.path.lexists(box.stage)


@pytest.mark.parametrize("name", REFUSED)
def test_build_refuses_before_it_changes_anything(box: Sandbox, name: str) -> None:
    _attack(name)(box)
    box.edit("2")
    # Names may go that nobody in the root can see the difference of: only content counts here.
    outside, inside = state_of(box.victim), tree(box.root / "usr")
    with pytest.raises(Failure) as raised:
        box.build()
    assert str(raised.value).startswith("cannot ")
    assert raised.value.hint
    assert state_of(box.victim) == outside
    assert tree(box.root / "usr") == inside
    assert not (box.state / "t.journal").exists()


def test_a_mount_below_a_directory_of_ours_stays_where_it_is(box: Sandbox) -> None:
    # The device number is the root's own here: only the mount itself tells. Were the directory
    # exchanged as a whole, the mount would go with the old one, to be emptied there.
    _bind_below(box)
    box.edit("2")
    before = state_of(box.victim)
    box.build()
    assert state_of(box.victim) == before
    assert (box.root / "usr/share/app/extra/one").read_text() == "victim dir/one\n"
    assert (box.root / "usr/share/app/one").read_text() == "one 2\n"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("command", ["orphans", "clean", "verify", "plan"])
def test_other_commands(box: Sandbox, name: str, command: str) -> None:
    _attack(name)(box)
    before = state_of(box.victim)
    near = [path for depth in range(1, 5) for path in box.root.glob("/".join("*" * depth))]
    kept = [path for path in near if path.name.endswith((".away", "state"))]
    found: list[Finding] = []
    calls: dict[str, tuple[Callable[[], object], ...]] = {
        "orphans": (lambda: box.write_target(SMALLER), box.build),
        "clean": (box.clean,),
        "verify": (lambda: found.extend(box.verify()),),
        "plan": (box.plan,),
    }
    failures = box.try_to(*calls[command])
    assert all(str(failure).startswith("cannot ") for failure in failures)
    assert not (failures and name in REPAIRED)
    if command == "verify":
        assert found or name.startswith(("stage", "immutable", "file-has-another"))
    assert state_of(box.victim) == before
    assert all(os.path.lexists(path) for path in kept), "what is not ours stays"


def test_clean_leaves_what_is_not_ours(box: Sandbox) -> None:
    (box.root / "var/app/data").write_text("the daemon's")
    (box.root / "etc/app/own.conf").write_text("the admin's")
    (box.root / "usr/share/app/one").write_text("edited")
    box.clean()
    left = tree(box.root)
    assert set(left) == {
        *("/etc", "/etc/app", "/etc/app/own.conf", "/usr", "/usr/share", "/usr/share/app"),
        *("/usr/share/app/one", "/var", "/var/app", "/var/app/data"),
    }
    box.clean()
    assert tree(box.root) == left


def test_another_directory_under_the_name_of_the_root(box: Sandbox) -> None:
    # A copy of what was built has the same bytes in the same places; still it is not what we made.
    _away(box.root)
    subprocess.run(["cp", "-a", f"{box.root}.away", box.root], check=True)
    before = tree(box.root)
    with pytest.raises(Failure, match="another directory"):
        box.clean()
    box.write_target(SMALLER)
    box.build()
    assert tree(box.root) == before
    box.edit("2")
    box.build()
    assert "/etc/app/a.conf" in tree(box.root)
    assert (box.root / "etc/passwd").read_text() == "passwd 2\n"


def test_root_is_a_link(box: Sandbox) -> None:
    _away(box.root)
    box.root.symlink_to(box.victim / "dir")
    before = state_of(box.victim)
    for call in (box.build, box.plan, box.clean):
        with pytest.raises(Failure, match=r"it is a(?: symbolic)? link"):
            call()
    assert state_of(box.victim) == before


def test_a_root_whose_parents_are_links_is_known_again(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "srv")
    text = 'os = "linux"\nfiles = ["/etc/app/"]\n'
    box.write_target(text, tmp_path / "way/x")
    box.build()
    box.write_target('os = "linux"\nfiles = ["/etc/passwd"]\n', tmp_path / "way/x")
    box.build()
    assert set(tree(tmp_path / "srv/x")) == {"/etc", "/etc/passwd"}
