"""The root directory itself: its owner and mode, and one that another user made first."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.sandbox import TARGET, Sandbox, make_sandbox

pytestmark = pytest.mark.root

OTHER = 65534


def _looks(box: Sandbox) -> tuple[int, int, int]:
    info = box.root.stat()
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def _fresh(box: Sandbox) -> None:
    for _ in range(3):
        assert box.run("build").returncode == 0
    assert box.run("build").stdout == ""


@pytest.mark.parametrize("which", ["mode", "group", "owner"])
def test_what_is_changed_is_shown_and_mended(tmp_path: Path, which: str) -> None:
    """An owner is told by plan, verify and audit alone: build refuses the directory of somebody else."""
    box = make_sandbox(tmp_path)
    _fresh(box)
    if which == "mode":
        box.root.chmod(0o777)
    else:
        os.chown(box.root, OTHER if which == "owner" else -1, OTHER)
    fact = {
        "mode": "mode is 0777, not 0755",
        "group": f"owner is 0:{OTHER}, not 0:0",
        "owner": f"owner is {OTHER}:{OTHER}, not 0:0",
    }[which]
    assert f"replace  /  {fact}" in box.run("plan", "t").stdout
    for command in ("verify", "audit"):
        done = box.run(command, "t")
        assert done.returncode != 0
        assert fact in done.stdout
    if which == "owner":
        done = box.run("build")
        assert done.returncode == 1
        assert f"cannot build t: {box.root} belongs to " in done.stderr
        assert (
            f"hint: look at what is in it, and remove it; or, if it is to be the root: chown root {box.root}"
            in (done.stderr)
        )
        os.chown(box.root, 0, -1)
    done = box.run("build")
    assert done.returncode == 0, done.stderr
    assert "replace  /  " in done.stdout
    assert _looks(box) == (0o755, 0, 0)
    assert box.run("verify", "t").stdout == ""
    _fresh(box)


def test_the_target_says_otherwise(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    (box.sysroot / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nwww:x:33:34::/:/bin/sh\n")
    said = '"/" = { mode = "0750", owner = "www", group = "34" }'
    box.write_target(TARGET.replace("[directories]", f"[directories]\n{said}"))
    _fresh(box)
    assert _looks(box) == (0o750, 33, 34)
    assert box.run("verify", "t").stdout == ""
    box.root.chmod(0o755)
    assert "mode is 0755, not 0750" in box.run("verify", "t").stdout
    (box.root / "etc/app/extra").write_text("not ours\n")
    assert "/etc/app/extra" in box.run("verify", "t").stdout  # what is in it is no more the daemon's
    box.write_target(TARGET)
    assert "belongs to" in box.run("build").stderr


def test_a_root_that_another_user_made_first(tmp_path: Path) -> None:
    """Below a sticky directory, where everyone can make one."""
    box = make_sandbox(tmp_path)
    place = tmp_path / "sticky"
    place.mkdir()
    place.chmod(0o1777)
    (place / "r").mkdir()
    (place / "r/planted").write_text("x")
    os.chown(place / "r", OTHER, OTHER)
    box.write_target(TARGET, place / "r")
    done = box.run("build")
    assert done.returncode == 1
    assert f"cannot build t: {place}/r belongs to " in done.stderr
    assert os.listdir(place / "r") == ["planted"]


def test_a_umask_does_not_count(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    done = box.run("build", before=("sh", "-c", 'umask 077; exec "$@"', "sh"))
    assert done.returncode == 0, done.stderr
    assert _looks(box) == (0o755, 0, 0)


def test_nothing_removes_it(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.root.mkdir(parents=True)
    box.root.chmod(0o700)
    assert box.run("build").returncode == 0
    assert b'"/":' not in (box.state / "t.record").read_bytes()
    box.root.chmod(0o700)
    assert box.run("build").returncode == 0
    assert box.run("clean", "t").returncode == 0
    assert box.root.is_dir()
