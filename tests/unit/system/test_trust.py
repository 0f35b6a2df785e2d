"""Law 8: what root believes, nobody else can write."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import chrootbuild
from chrootbuild.errors import Failure, TargetError
from chrootbuild.system.rights.trust import refuse_untrusted
from chrootbuild.target.reader import read_targets
from tests.support.target_project import project

pytestmark = pytest.mark.root

STRANGER = 4242


@pytest.fixture(autouse=True)
def _nobody_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return DIR/sub/file, which is root's alone."""
    (tmp_path / "sub").mkdir(mode=0o755)
    (tmp_path / "sub/file").write_text("")
    os.chmod(tmp_path / "sub/file", 0o644)
    return tmp_path / "sub/file"


def refusal(*paths: Path) -> str:
    with pytest.raises(TargetError) as caught:
        refuse_untrusted(map(str, paths), what="the target file", kind=TargetError)
    return str(caught.value)


def test_what_is_roots_alone_is_trusted(file: Path) -> None:
    refuse_untrusted([str(file), str(file.parent)], what="the target file")


def test_a_file_of_somebody_else(file: Path) -> None:
    os.chown(file, STRANGER, 0)
    assert refusal(file) == (
        f"cannot trust {file}: it can be written by uid 4242, its owner\nhint: chown root {file}"
    )


def test_a_known_user_is_named(file: Path) -> None:
    os.chown(file, 65534, 0)
    assert f"cannot trust {file}: it can be written by nobody (uid 65534), its owner" in refusal(file)


def test_a_file_that_everyone_can_write(file: Path) -> None:
    os.chmod(file, 0o646)
    assert refusal(file) == f"cannot trust {file}: it can be written by everyone\nhint: chmod o-w {file}"


def test_a_file_that_its_group_can_write(file: Path) -> None:
    os.chmod(file, 0o664)
    refuse_untrusted([str(file)], what="the target file")  # root's own group
    os.chown(file, 0, STRANGER)
    os.chmod(file, 0o664)
    assert refusal(file) == (
        f"cannot trust {file}: it can be written by its group, gid 4242\nhint: chmod g-w {file}"
    )


@pytest.mark.parametrize(("uid", "mode"), [(STRANGER, 0o755), (0, 0o757)])
def test_a_directory_above(file: Path, uid: int, mode: int) -> None:
    os.chown(file.parent, uid, 0)
    os.chmod(file.parent, mode)
    text = refusal(file)
    assert text.startswith(f"cannot trust {file.parent}: it can be written by ")
    assert f"\n  it leads to the target file {file}\n" in text


def test_a_sticky_directory_of_roots_is_fine(file: Path) -> None:
    os.chmod(file.parent, 0o1777)
    refuse_untrusted([str(file)], what="the target file")
    os.chown(file.parent, STRANGER, 0)
    assert "uid 4242, its owner" in refusal(file)


def test_a_sticky_file_is_not(file: Path) -> None:
    os.chmod(file, 0o1666)
    assert "by everyone" in refusal(file)


def test_in_a_sticky_directory_a_file_of_somebody_else_is_not(file: Path) -> None:
    os.chmod(file.parent, 0o1777)
    os.chown(file, STRANGER, STRANGER)
    assert "uid 4242, its owner" in refusal(file)


def test_what_is_not_there_is_judged_by_what_is_above(file: Path) -> None:
    refuse_untrusted([f"{file.parent}/none/x", f"{file}/x"], what="the state")
    os.chmod(file.parent, 0o777)
    assert f"cannot trust {file.parent}: it can be written by everyone" in refusal(file.parent / "none/x")


# -- links ------------------------------------------------------------------------------------


def test_a_link_of_somebody_else(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    refuse_untrusted([str(link)], what="the target file")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert refusal(link) == (
        f"cannot trust {link}: it can be written by uid 4242, its owner\nhint: chown -h root {link}"
    )


@pytest.mark.parametrize("text", ["bad/../sub/file", "{}/bad/inner", "sub/up"])
def test_a_link_through_a_directory_that_others_can_write(tmp_path: Path, file: Path, text: str) -> None:
    (tmp_path / "bad").mkdir()
    os.chmod(tmp_path / "bad", 0o777)
    (tmp_path / "bad/inner").symlink_to(file)
    (tmp_path / "sub/up").symlink_to("../bad/inner")
    link = tmp_path / "link"
    link.symlink_to(text.format(tmp_path))
    assert f"cannot trust {tmp_path}/bad: it can be written by everyone" in refusal(link)


def test_links_that_loop_are_no_trap(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(Failure, match="Too many levels of symbolic links"):
        refuse_untrusted([f"{tmp_path}/a"], what="the target file")


# -- who called -------------------------------------------------------------------------------


def test_under_sudo_the_callers_own_files_are_trusted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(file.parent, STRANGER, STRANGER)
    os.chown(file, STRANGER, STRANGER)
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    refuse_untrusted([str(file)], what="the target file")
    for other in ("4243", "", "root", "-4242", " 4242"):
        monkeypatch.setenv("SUDO_UID", other)
        assert "uid 4242, its owner" in refusal(file)


def test_under_sudo_what_others_can_write_is_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(STRANGER))
    os.chown(file, STRANGER, STRANGER)
    os.chmod(file, 0o646)
    assert "by everyone" in refusal(file)


def test_the_callers_private_group_may_write(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    private = [
        user
        for user in pwd.getpwall()
        if user.pw_uid and (group := grp.getgrgid(user.pw_gid)).gr_name == user.pw_name and not group.gr_mem
    ]
    assert private  # every system has a user with a group of its own name
    user = private[0]
    os.chown(file, user.pw_uid, user.pw_gid)
    os.chmod(file, 0o664)
    monkeypatch.setenv("SUDO_UID", str(user.pw_uid))
    refuse_untrusted([str(file)], what="the target file")
    # Not with somebody else in it,
    shared = grp.struct_group((user.pw_name, "x", user.pw_gid, ["mallory"]))
    with monkeypatch.context() as patch:
        patch.setattr(grp, "getgrgid", lambda _: shared)
        assert f"its group, {user.pw_name} (gid {user.pw_gid})" in refusal(file)
    # and no other group.
    os.chown(file, user.pw_uid, STRANGER)
    os.chmod(file, 0o664)
    assert "its group, gid 4242" in refusal(file)


def test_who_is_not_root_is_asked_nothing(file: Path) -> None:
    os.chown(file, STRANGER, STRANGER)
    os.chmod(file, 0o666)
    os.seteuid(65534)
    try:
        refuse_untrusted([str(file)], what="the target file")
    finally:
        os.seteuid(0)


# -- access control lists ---------------------------------------------------------------------

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32


def set_acl(path: Path, *named: tuple[int, int, int]) -> None:
    """Set an ACL as setfacl(1) does: rw for the owner, r for group and others, rw as mask."""
    entries = [(USER_OBJ, 6, 0xFFFFFFFF), *named, (GROUP_OBJ, 4, 0xFFFFFFFF)]
    entries += [(MASK, 6, 0xFFFFFFFF), (OTHER, 4, 0xFFFFFFFF)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error.strerror}")


def test_a_user_named_by_an_acl(file: Path) -> None:
    set_acl(file, (USER, 6, STRANGER))
    assert refusal(file) == (
        f"cannot trust {file}: it can be written by uid 4242, by its ACL\nhint: setfacl -b {file}"
    )


def test_a_group_named_by_an_acl(file: Path) -> None:
    set_acl(file, (GROUP, 6, STRANGER))
    assert "it can be written by the group gid 4242, by its ACL" in refusal(file)


def test_an_acl_that_lets_only_read(file: Path) -> None:
    set_acl(file, (USER, 4, STRANGER), (GROUP, 6, 0))
    refuse_untrusted([str(file)], what="the target file")


# -- user namespaces --------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that everybody can read, with the package and a file of each owner in it."""
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(
            Path(chrootbuild.__file__).parent,
            folder / "chrootbuild",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name, uid in (("nobodys", 65534), ("roots", 0), ("strangers", STRANGER)):
            (folder / name).write_text("")
            os.chown(folder / name, uid, uid)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield folder
    finally:
        shutil.rmtree(folder)


def judge(folder: Path, path: Path, user: int) -> subprocess.CompletedProcess[str]:
    code = "from chrootbuild.system.rights.trust import refuse_untrusted\n"
    code += f"refuse_untrusted([{str(path)!r}], what='it')"
    argv = ["unshare", "--user", "--map-root-user", os.path.realpath(sys.executable), "-c", code]
    env = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(argv, capture_output=True, text=True, env=env, cwd="/", user=user)


@pytest.mark.namespaces
def test_root_of_a_namespace_that_is_nobody_outside(public: Path) -> None:
    for name in ("nobodys", "roots"):
        result = judge(public, public / name, 65534)
        if "Permission denied" in result.stderr:
            pytest.skip("nobody cannot run this python")
        assert result.returncode == 0, result.stderr


@pytest.mark.namespaces
def test_root_of_a_namespace_that_is_root_outside(public: Path) -> None:
    assert judge(public, public / "roots", 0).returncode == 0
    assert "it can be written by" in judge(public, public / "strangers", 0).stderr


# -- target files -----------------------------------------------------------------------------


def test_a_target_file_of_somebody_else_stops_no_other(tmp_path: Path) -> None:
    given = project(tmp_path, {"a.toml": "", "b.toml": "", "c.toml": 'include = ["d"]', "common/d.toml": ""})
    os.chown(f"{given.targets}/a.toml", STRANGER, 0)
    os.chmod(f"{given.targets}/common/d.toml", 0o666)
    found = read_targets(given)
    assert list(found.targets) == ["b"]
    assert "a.toml: it can be written by uid 4242" in str(found.failures["a"])
    assert "d.toml: it can be written by everyone" in str(found.failures["c"])
    assert "included by targets/c.toml:1: include" in str(found.failures["c"])


def test_what_was_learned_has_to_be_roots_too(tmp_path: Path) -> None:
    given = project(tmp_path, {"a.toml": "", "a.learned.toml": ""})
    os.chown(f"{given.targets}/a.learned.toml", STRANGER, 0)
    assert "a.learned.toml: it can be written by" in str(read_targets(given).failures["a"])


@pytest.mark.parametrize("folder", ["targets", "."])
def test_a_project_that_others_can_write_has_no_targets(tmp_path: Path, folder: str) -> None:
    given = project(tmp_path, {"a.toml": ""})
    os.chmod(tmp_path / folder, 0o777)
    with pytest.raises(TargetError, match="it can be written by everyone"):
        read_targets(given)


def test_a_folder_of_includes_that_others_can_write(tmp_path: Path) -> None:
    given = project(tmp_path, {"a.toml": 'include = ["tmp"]', "common/x.toml": ""})
    os.chmod(f"{given.targets}/common", 0o777)
    assert "common: it can be written by everyone" in str(read_targets(given).failures["a"])
