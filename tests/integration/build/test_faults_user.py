"""Life without root: an ordinary user builds, plans, verifies and cleans; what needs root is listed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, make_sandbox
from tests.support.trees import tree

pytestmark = [pytest.mark.root, pytest.mark.nobody]

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
TARGET = """\
os = "linux"
files = ["/etc/app/", "/usr/share/app/", "/etc/passwd"]
devices = ["null"]
[directories]
"/var/app" = { mode = "1777", owner = "root" }
"""


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    made = make_sandbox(tmp_path, TARGET)
    for path in (tmp_path, *tmp_path.parents):
        if path == Path("/tmp"):
            break
        path.chmod(path.stat().st_mode | 0o055)
    subprocess.run(["chown", "-R", "65534:65534", tmp_path / "p"], check=True)
    return made


def _run(box: Sandbox, *argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = box.run(*argv, before=NOBODY, env={"HOME": "/nonexistent"})
    assert "Traceback" not in result.stderr, result.stderr
    assert result.returncode == code, result.stderr
    return result


def test_build_plan_verify_clean(box: Sandbox) -> None:
    _run(box, "build", "t")
    found = tree(box.root)
    assert "/dev/null" not in found
    assert {line.split()[2] for line in found.values() if not line.startswith("link")} == {"65534:65534"}
    plan = json.loads(_run(box, "plan", "--json", "t").stdout)
    skipped = {item["path"]: item["reason"] for item in plan["skipped"]}
    assert "needs root" in skipped["/dev/null"]
    assert "the owner 0:0 needs root" in skipped["/var/app"]
    assert {entry["action"] for entry in plan["artifacts"]} == {"keep"}, "nothing is stale for ever"
    _run(box, "verify", "t")
    (box.root / "etc/app/a.conf").write_text("drift")
    assert "/etc/app/a.conf" in _run(box, "verify", "t", code=1).stdout
    _run(box, "build", "t")
    _run(box, "verify", "t")
    _run(box, "clean", "t")
    assert tree(box.root) == {}


def test_directories_that_forbid_writing_to_their_owner(box: Sandbox) -> None:
    box.write_target('os = "linux"\nfiles = ["/etc/app/", "/usr/share/app/"]\n')
    for name in ("etc/app", "usr/share/app", "usr/share/app/deep"):
        (box.sysroot / name).chmod(0o555)
    _run(box, "build", "t")
    assert tree(box.root)["/etc/app"] == "dir 0555 65534:65534"
    for word in ("2", "3"):
        box.edit(word)
        (box.sysroot / "etc/app/b.conf").unlink(missing_ok=True)
        _run(box, "build", "t")
        assert tree(box.root)["/etc/app"] == "dir 0555 65534:65534"
        assert (box.root / "usr/share/app/deep/x").read_text() == f"x {word}\n"
        assert not (box.root / "etc/app/b.conf").exists()
        _run(box, "verify", "t")
    assert not box.stage.exists()
    _run(box, "clean", "t")
    assert tree(box.root) == {}


def test_a_source_that_cannot_be_read(box: Sandbox) -> None:
    (box.sysroot / "etc/shadow").write_text("root:*\n")
    (box.sysroot / "etc/shadow").chmod(0o600)
    box.write_target('os = "linux"\nfiles = ["/etc/shadow"]\n')
    result = box.run("build", "t", before=NOBODY)
    assert result.returncode in (1, 3)
    assert "Permission denied" in result.stderr
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr


def test_state_of_somebody_else(box: Sandbox) -> None:
    _run(box, "build", "t")
    subprocess.run(["chown", "-R", "0:0", box.state], check=True)
    box.edit("2")
    (box.sysroot / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    assert "error: cannot " in _run(box, "build", "t", code=1).stderr
    _run(box, "plan", "t")
    os.chown(box.state, 65534, 65534)
    _run(box, "build", "t", code=1)


def test_a_root_of_root(box: Sandbox) -> None:
    _run(box, "build", "t")
    subprocess.run(["chown", "-R", "0:0", box.root], check=True)
    (box.sysroot / "etc/app/a.conf").write_text("2")
    before = tree(box.root)
    assert "error: cannot " in _run(box, "build", "t", code=1).stderr
    assert tree(box.root) == before
    # Reading is still allowed to everybody.
    assert _run(box, "verify", "t", code=1).stdout
    _run(box, "clean", "t", code=1)
