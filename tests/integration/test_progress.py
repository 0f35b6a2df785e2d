"""Progress is for people: on a terminal only, and gone from what is piped."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def project(top: Path) -> list[str]:
    """Make a project with 200 files to stage; return the command that builds it."""
    for number in range(200):
        file = top / "source" / f"f{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    (top / "targets").mkdir()
    (top / "targets" / "t.toml").write_text(f'files = ["{top / "source"}/"]\n')
    return [sys.executable, "-m", "chrootbuild", "-C", str(top), "build"]


def test_a_terminal_is_shown_how_far_the_staging_is(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(project(tmp_path), stdout=theirs, stderr=theirs, cwd=TOP, env=env) as process:
        os.close(theirs)
        seen = b""
        while chunk := read(ours):
            seen += chunk
    os.close(ours)
    assert process.returncode == 0
    assert b"staging" in seen
    assert b"installed, 0 replaced, 0 removed" in seen


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # Linux says EIO when the other end is closed
        return b""


def test_a_pipe_gets_the_result_alone(tmp_path: Path) -> None:
    done = subprocess.run(project(tmp_path), capture_output=True, text=True, cwd=TOP)
    assert (done.returncode, done.stderr) == (0, "")
    assert "staging" not in done.stdout
