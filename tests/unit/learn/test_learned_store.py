from __future__ import annotations

import os
from pathlib import Path

import pytest

from chrootbuild.errors import Failure, TargetError
from chrootbuild.learn.learned_store import LearnedFile
from chrootbuild.propose.model import Proposal
from chrootbuild.state.project import Project
from tests.support.sysroot import write


def learned(base: Path, target: str = "") -> LearnedFile:
    top = base / "sysroot"
    write(
        top,
        {"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/a": "", "etc/b": ""},
    )
    write(base / "targets", {"x.toml": f'sysroot = "{top}"\nos = "linux"\n{target}'})
    return LearnedFile(Project(str(base), str(base / ".chrootbuild"), str(base / "build")), "x")


def file(path: str) -> Proposal:
    return Proposal("files", path, "x opens it")


def test_what_is_new_is_added_once(tmp_path: Path) -> None:
    here = learned(tmp_path)
    assert not here.exists()
    assert here.add([file("/etc/b"), file("/etc/a")]) == ([file("/etc/b"), file("/etc/a")], [])
    assert here.read().endswith('files = [\n    "/etc/a",  # x opens it\n    "/etc/b",  # x opens it\n]\n')
    inode = os.stat(here.path).st_ino
    assert here.add([file("/etc/a")]) == ([], [])
    assert os.stat(here.path).st_ino == inode
    assert os.stat(here.path).st_mode & 0o777 == 0o644
    assert sorted(os.listdir(tmp_path / "targets")) == ["x.learned.toml", "x.toml"]


def test_nothing_new_makes_no_file(tmp_path: Path) -> None:
    here = learned(tmp_path)
    assert here.add([]) == ([], [])
    assert not here.exists()


@pytest.mark.parametrize("place", range(4))
def test_what_no_plan_can_be_made_with_stays_out_alone(tmp_path: Path, place: int) -> None:
    here = learned(tmp_path)
    good = [file("/etc/a"), file("/etc/b"), Proposal("directories", "/srv", "x lists it")]
    every: list[Proposal] = [*good]
    every.insert(place, Proposal("accounts.users", "nobody-here", "x switches to it"))
    added, [(unfit, why)] = here.add(every)
    assert added == good
    assert unfit.value == "nobody-here"
    assert why.startswith("it cannot be in the root: cannot find")
    assert "nobody-here" not in here.read()
    assert "/srv" in here.read()


def test_if_none_is_fit_there_is_no_file(tmp_path: Path) -> None:
    here = learned(tmp_path)
    added, unfit = here.add([Proposal("accounts.users", "nobody-here", "x switches to it")])
    assert (added, len(unfit)) == ([], 1)
    assert not here.exists()


def test_a_target_that_is_wrong_by_itself_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    here = learned(tmp_path, 'files = ["/etc/gone"]\n')
    with pytest.raises(TargetError, match="/etc/gone"):
        here.add([file("/etc/a"), file("/etc/b")])
    assert not here.exists()


def test_an_interruption_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = learned(tmp_path)
    here.add([file("/etc/a")])
    before = here.read()

    def interrupted(*_: object) -> None:
        assert here.read() != before
        raise KeyboardInterrupt

    monkeypatch.setattr("chrootbuild.learn.learned_store.make_plan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        here.add([file("/etc/b")])
    assert here.read() == before


def test_entries_are_dropped_and_an_empty_file_goes(tmp_path: Path) -> None:
    here = learned(tmp_path)
    here.add([file("/etc/a"), file("/etc/b")])
    here.drop({("files", "/etc/a")})
    assert "/etc/a" not in here.read()
    here.drop({("files", "/etc/b")})
    assert not here.exists()


def test_a_link_to_a_file_elsewhere_stays_a_link(tmp_path: Path) -> None:
    here = learned(tmp_path)
    (tmp_path / "kept.toml").write_text("")
    os.symlink("../kept.toml", here.path)
    here.add([file("/etc/a")])
    assert os.path.islink(here.path)
    assert "/etc/a" in (tmp_path / "kept.toml").read_text()


@pytest.mark.root
def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    here = learned(tmp_path)
    Path(here.path).write_text("")
    os.chmod(here.path, 0o666)
    with pytest.raises(Failure, match="cannot trust"):
        here.read()
