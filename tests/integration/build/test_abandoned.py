"""A build that fails before its publish leaves nothing of what it staged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chrootbuild.build.job import begin, run
from chrootbuild.errors import Failure, TryAgain
from tests.support.places import REPOSITORY
from tests.support.sandbox import make_sandbox


@pytest.mark.root
def test_what_was_staged_is_removed_when_another_artifact_cannot_be(tmp_path: Path) -> None:
    big = tmp_path / "source" / "big"
    big.parent.mkdir()
    big.write_bytes(b"x" * 100_000)
    huge = tmp_path / "source" / "huge"
    with huge.open("wb") as file:
        file.truncate(9 << 30)  # all of it a hole, and over the limit
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "t.toml").write_text(f'files = ["{big.parent}/"]\n')
    argv = [sys.executable, "-m", "chrootbuild", "-C", str(tmp_path), "build"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 1, done.stderr
    assert f"cannot copy {huge}: it is larger than 8 GiB" in done.stderr
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == ["t"]
    assert list((tmp_path / "build" / "t").iterdir()) == []


@pytest.mark.root
def test_a_job_that_ends_early_leaves_nothing_staged_and_lets_go_of_the_lock(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    with begin(box.project, box.target()) as job:
        assert box.stage.exists()
        with pytest.raises(TryAgain, match="is at work on it") as busy:
            begin(box.project, box.target())
        assert busy.value.holder.startswith("process ")
        with pytest.raises(Failure, match="was not staged"):
            run(job, lambda job: job.make(next(iter(job.assessment.plan.artifacts.values()))))
    assert not box.stage.exists()
    assert box.build() > 0


@pytest.mark.root
def test_a_part_of_a_job_leaves_the_rest_stale(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    box.edit("2")
    with begin(box.project, box.target()) as job:
        everything = set(job.stale)
        run(job.only({"/etc/app/a.conf"}))
    assert set(box.plan().comparison.stale) == everything - {"/etc/app/a.conf"}
