"""A build that fails before its publish leaves nothing of what it staged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY


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
