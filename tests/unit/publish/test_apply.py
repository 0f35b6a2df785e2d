"""The steps of a publish, done again after a kill between any two calls, and met by what nobody planned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.publish.apply import apply
from chrootbuild.publish.settle import refresh_signatures
from chrootbuild.publish.step import Operation
from chrootbuild.root.stage import Stage, open_stage
from chrootbuild.root.tree import Root, open_root
from chrootbuild.state.record import Installed
from chrootbuild.system.signature import root_signature

UID, GID = os.geteuid(), os.getegid()
NAME = "0" * 24


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Root, Stage]]:
    (tmp_path / "root/d").mkdir(parents=True)
    with open_root(str(tmp_path / "root")) as root, open_stage(root) as stage:
        yield root, stage


def _exchange(stage: Stage, *ours: str) -> Operation:
    """Stage a new directory d with the file new, and return its step."""
    new = Path(stage.path, f"{NAME}.new")
    new.mkdir()
    (new / "new").write_text("new")
    return Operation("exchange", "/d", new.name, new.stat().st_ino, ours=ours)


@pytest.mark.parametrize("killed", [False, True])
def test_an_exchange_brings_back_what_turned_up(
    place: tuple[Root, Stage], tmp_path: Path, killed: bool
) -> None:
    root, stage = place
    (tmp_path / "root/d/sub").mkdir()
    for name in ("old", "late", "sub/late"):
        (tmp_path / "root/d" / name).write_text(name)
    op = _exchange(stage, "/d", "/d/new", "/d/old", "/d/sub")
    (Path(stage.path, op.name) / "sub").mkdir()
    if killed:  # between the exchange and the look at what came out
        old, new = Path(stage.path, op.name), tmp_path / "root/d"
        os.rename(new, tmp_path / "x")
        os.rename(old, new)
        os.rename(tmp_path / "x", old)
    for _ in range(2):
        assert apply(root, stage, op)
        assert sorted(os.listdir(tmp_path / "root/d")) == ["late", "new", "sub"]
        assert os.listdir(tmp_path / "root/d/sub") == ["late"]


def test_an_exchange_of_a_directory_that_is_gone(place: tuple[Root, Stage], tmp_path: Path) -> None:
    root, stage = place
    op = _exchange(stage)
    (tmp_path / "root/d").rmdir()
    assert apply(root, stage, op)
    assert os.listdir(tmp_path / "root/d") == ["new"]


def test_a_directory_goes_along_when_its_place_is_gone(place: tuple[Root, Stage], tmp_path: Path) -> None:
    root, stage = place
    (tmp_path / "root/d/sub").mkdir()
    (tmp_path / "root/d/sub/late").write_text("late")
    assert apply(root, stage, _exchange(stage, "/d/new", "/d/sub"))
    assert (tmp_path / "root/d/sub/late").read_text() == "late"


@pytest.mark.parametrize("killed", [False, True])
def test_a_directory_with_foreign_content_goes_back(
    place: tuple[Root, Stage], tmp_path: Path, killed: bool
) -> None:
    root, stage = place
    (tmp_path / "root/d/ours").write_text("")
    (tmp_path / "root/d/theirs").write_text("theirs")
    staged = Path(stage.path, NAME)
    staged.write_text("a file")
    op = Operation("put", "/d", NAME, staged.stat().st_ino, ours=("/d", "/d/ours"))
    if killed:
        os.rename(tmp_path / "root/d", tmp_path / "x")
        os.rename(staged, tmp_path / "root/d")
        os.rename(tmp_path / "x", staged)
    for _ in range(2):
        with pytest.raises(Failure, match="/d/theirs in it is not ours"):
            apply(root, stage, op)
        assert sorted(os.listdir(tmp_path / "root/d")) == ["ours", "theirs"]
    (tmp_path / "root/d/theirs").unlink()
    assert apply(root, stage, op)
    assert (tmp_path / "root/d").read_text() == "a file"


def test_what_took_the_place_of_something_to_remove_stays(place: tuple[Root, Stage], tmp_path: Path) -> None:
    root, stage = place
    file = tmp_path / "root/file"
    file.write_text("ours")
    info, directory = file.stat(), (tmp_path / "root/d").stat()
    unlink = Operation("unlink", "/file", "", info.st_ino, info.st_ctime_ns)
    rmdir = Operation("rmdir", "/d", "", directory.st_ino, directory.st_ctime_ns)
    assert apply(root, stage, unlink)
    assert apply(root, stage, rmdir)
    assert os.listdir(tmp_path / "root") == []
    file.write_text("the daemon's")
    os.mkdir(tmp_path / "other")
    os.rename(tmp_path / "other", tmp_path / "root/d")
    assert apply(root, stage, unlink)
    assert file.read_text() == "the daemon's"
    assert apply(root, stage, Operation("rmdir", "/d", "", directory.st_ino + 1, 0))
    assert (tmp_path / "root/d").is_dir()


def _installed(path: Path, mode: int = 0o644) -> Installed:
    path.write_text("ours")
    path.chmod(mode)
    info, digest = path.stat(), hashlib.sha256(b"ours").hexdigest()
    return Installed("file", mode, UID, GID, digest, mtime_ns=info.st_mtime_ns, root=root_signature(info))


def _forge(path: Path, text: str) -> None:
    """Write as who wants to hide it: size and modification time stay."""
    info = path.stat()
    path.write_text(text)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_only_what_is_proven_is_signed(place: tuple[Root, Stage], tmp_path: Path) -> None:
    root, _ = place
    top = tmp_path / "root"
    entries = {f"/{name}": _installed(top / name) for name in ("kept", "resized", "replaced", "chmodded")}
    entries |= {f"/{name}": _installed(top / name, 0o666) for name in ("shared", "forged")}
    (top / "link").symlink_to("a")
    (top / "swapped").symlink_to("a")
    link = Installed("link", 0, UID, GID, "a")
    entries |= {"/link": link, "/swapped": link, "/gone": link}
    (top / "resized").write_text("longer")
    (top / "new").write_text("evil")
    os.utime(top / "new", ns=(0, (top / "replaced").stat().st_mtime_ns))
    os.rename(top / "new", top / "replaced")
    (top / "chmodded").chmod(0o4755)
    (top / "swapped").unlink()
    (top / "swapped").symlink_to("b")
    _forge(top / "forged", "evil")
    found = refresh_signatures(root, entries, list(entries))
    assert {path for path, entry in found.items() if entry.root != (0, 0, 0, 0)} == {
        "/kept",
        "/shared",
        "/link",
    }
