"""bash and strace of a PATH that somebody else can write are not run with root's rights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chrootbuild.artifact import Origin
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.sync.refresh import _restart
from chrootbuild.system.programs import find_program
from chrootbuild.target.model import HostSide, Target
from tests.support.confine_lab import make_root
from tests.support.hostile_lab import make_shop, target
from tests.support.limited import run

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

NAMES = ("bash", "sh", "strace", "plocate", "locate", "rpm")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in the PATH, whose programs say so and leave a file beside them."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f"#!/bin/sh\necho sprung {name} | tee -a {folder}/sprung >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    return folder


@pytest.mark.strace
@pytest.mark.parametrize("command", ["check", "learn"])
def test_as_root_strace_comes_from_a_fixed_place(tmp_path: Path, trap: Path, command: str) -> None:
    shop = make_shop(tmp_path)
    target(shop, "need", "/etc/absent")
    (shop.top / "etc/absent").write_text("in the sysroot alone\n")
    shop.build()
    said = run(shop.folder, command, "x")
    assert command == "learn" or "in the target file: " in said.text, said.text
    assert "sprung" not in said.text
    assert "Traceback" not in said.text
    assert not (trap / "sprung").exists()


def test_as_root_locate_does_as_well(tmp_path: Path, trap: Path) -> None:
    (tmp_path / "project/targets").mkdir(parents=True)
    (tmp_path / "project/targets/x.toml").write_text('sysroot = "/"\n')
    said = run(tmp_path / "project", "locate", "x", "no-file-of-this-name")
    assert "Traceback" not in said.text
    assert not (trap / "sprung").exists()


@pytest.mark.usefixtures("trap")
def test_a_restart_too(tmp_path: Path) -> None:
    origin = Origin("t.toml", "host")
    command = f"echo $BASH >{tmp_path}/shell"
    _restart(Target("t", "", origin, str(tmp_path), host=HostSide(restart=command)), "")
    assert "trap" not in (tmp_path / "shell").read_text()


@pytest.mark.usefixtures("trap")
def test_a_prepare_is_run_by_the_same_shell(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path / "root")))) as box:
        assert box.wait(box.outside("echo $BASH $0", name="x"), 20) == 0
        assert b"trap" not in box.output("x")


def test_the_folder_of_the_running_program_is_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only-here").write_text("#!/bin/sh\n")
    (tmp_path / "only-here").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("only-here") is None
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/python3")
    assert find_program("only-here") == f"{tmp_path}/only-here"


@pytest.mark.nobody
def test_others_keep_their_path(trap: Path) -> None:
    trap.parent.chmod(0o755)
    code = "from chrootbuild.system.programs import find_program; print(find_program('strace'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    assert done.stdout in ("/usr/bin/strace\n", "None\n")
