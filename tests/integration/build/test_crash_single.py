"""One replaced file is published without a journal: killed anywhere, the root has the old one or the new one.

strace(1) kills the program at each of the calls that change something; the next build completes it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, make_sandbox
from tests.support.trees import tree

pytestmark = [pytest.mark.root, pytest.mark.strace, pytest.mark.slow]

TARGET = 'os = "linux"\nfiles = ["/etc/app/", "/usr/share/app/"]\n'
CALLS = ("fsync", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdirat", "fchown", "write")


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    box = make_sandbox(tmp_path, TARGET)
    box.build()
    return box


@pytest.mark.parametrize("call", CALLS)
def test_killed_at_every_call(box: Sandbox, call: str) -> None:
    source, there = box.sysroot / "etc/app/a.conf", box.root / "etc/app/a.conf"
    for when in range(1, 40):
        old = tree(box.root)
        source.write_text(f"{when}\n")
        strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}")
        inject = ("-e", f"inject={call}:signal=SIGKILL:when={when}")
        result = box.run("build", "--jobs", "1", "t", before=(*strace, *inject))
        assert not (box.state / "t.journal").exists()
        new = {**old, "/etc/app/a.conf": tree(box.root)["/etc/app/a.conf"]}
        assert tree(box.root) == new
        assert there.read_text() in (f"{when}\n", f"{when - 1}\n", "etc/app/a.conf 1\n")
        box.build()
        assert there.read_text() == f"{when}\n"
        assert box.verify() == []
        assert box.build() == 0
        assert not box.stage.exists()
        if result.returncode == 0:
            return
    raise AssertionError("it does not end")


def test_a_new_file_has_a_journal(box: Sandbox) -> None:
    """What nobody recorded would be nobody's after a kill, and stay for ever."""
    new, there = box.sysroot / "etc/app/new", box.root / "etc/app/new"
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename")
    killed = 0
    # At one of them all is done, and the record is not written yet; what else is written before varies.
    for when in [3, 4] * 4:
        new.write_text("")
        box.run("build", "t", before=(*strace, "-e", f"inject=rename:signal=SIGKILL:when={when}"))
        killed += there.exists() and (box.state / "t.journal").exists()
        new.unlink()
        box.build()
        assert not there.exists()
        assert box.verify() == []
    assert killed
