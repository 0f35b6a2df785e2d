"""A target of so many artifacts that they are staged in turns; the limit is the one in use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chrootbuild.build.doit_run import _TURN
from tests.support.places import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.slow]


def project(top: Path) -> None:
    """Make target t with more files than are staged in a turn, and target u with one."""
    for number in range(_TURN + 200):
        file = top / f"source/d{number // 100}/f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n")
    (top / "other").mkdir()
    (top / "other/file").write_text("other\n")
    (top / "targets").mkdir()
    (top / "targets/t.toml").write_text(f'files = ["{top / "source"}/"]\n')
    (top / "targets/u.toml").write_text(f'files = ["{top / "other"}/"]\n')


def build(top: Path, *names: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "chrootbuild", "-C", str(top), "build", *names]
    return subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY)


def texts(top: Path) -> dict[str, str]:
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_all_turns_are_published_together(tmp_path: Path) -> None:
    project(tmp_path)
    done = build(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert texts(Path(f"{tmp_path}/build/t{tmp_path}/source")) == texts(tmp_path / "source")
    assert done.stdout.count(", published in ") == 2  # t and u
    assert build(tmp_path).stdout == ""


def test_what_cannot_be_staged_in_one_turn_keeps_its_target_back_and_no_other(tmp_path: Path) -> None:
    project(tmp_path)
    huge = tmp_path / "source/d0/huge"
    with huge.open("wb") as file:
        file.truncate(9 << 30)  # a hole, and over the limit
    done = build(tmp_path, "t", "u")
    assert done.returncode == 1
    assert f"cannot copy {huge}: it is larger than 8 GiB" in done.stderr
    assert list((tmp_path / "build/t").iterdir()) == []
    assert texts(Path(f"{tmp_path}/build/u{tmp_path}/other")) == {"file": "other\n"}
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["t", "u"]
    huge.unlink()
    assert build(tmp_path).returncode == 0
    assert texts(Path(f"{tmp_path}/build/t{tmp_path}/source")) == texts(tmp_path / "source")
