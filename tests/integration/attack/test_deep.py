"""A root deeper than any path, and host mounts on the daemon's directories: looked at, and left alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.limited import run
from tests.support.sandbox import SMALLER, Sandbox, make_sandbox, state_of
from tests.support.trees import tree

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    made = make_sandbox(tmp_path)
    made.build()
    yield made
    subprocess.run(["umount", made.root / "var/app"], capture_output=True)
    subprocess.run(["rm", "-rf", made.root], check=True)  # pytest cannot: 5,000 deep


def _dig(directory: Path, levels: int) -> None:
    here = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


@pytest.mark.parametrize("where", ["var/app", "etc/app"])
def test_5000_levels(box: Sandbox, where: str) -> None:
    """The processor time is bounded: nothing may walk to each level from the top."""
    _dig(box.root / where, 5000)
    project = box.top / "p"
    found = json.loads(run(project, "audit", "--json", "t").text)["findings"]
    assert [one["severity"] for one in found if "longer than a path" in one["message"]] == ["warning"]
    for command in ("plan", "build", "check", "clean"):
        assert run(project, command, "t").decent().code == 0
    assert run(project, "verify", "t").code in (0, 1)
    assert (box.root / where / "d/d/d").is_dir()


MOUNTS = {
    "tmpfs": ("-t", "tmpfs", "-o", "mode=1770,uid=7", "none"),
    "bind": ("--bind", "admin"),  # of the same filesystem: only the mount itself tells
}


@pytest.mark.parametrize("name", MOUNTS)
def test_a_mount_on_a_directory_of_the_daemons_is_left_alone(box: Sandbox, name: str) -> None:
    (box.top / "admin").mkdir(mode=0o755)
    (box.top / "admin/data").write_text("the admin's")
    words = [str(box.top / word) if word == "admin" else word for word in MOUNTS[name]]
    subprocess.run(["mount", *words, box.root / "var/app"], check=True)
    before = state_of(box.top / "admin"), (box.root / "var/app").stat()
    for word in ("2", "3"):
        box.edit(word)
        assert box.build() == 6
        assert box.build() == 0
        assert box.verify() == []
    assert (state_of(box.top / "admin"), (box.root / "var/app").stat()) == before
    # What is no longer wanted stays while something is mounted on it: one error, nothing changed.
    inside = tree(box.root)
    box.write_target(SMALLER)
    errors = box.try_to(box.build, box.clean)
    assert [error.message.partition(": ")[2] for error in errors] == [
        "another filesystem is mounted there"
    ] * 2
    assert tree(box.root) == inside
