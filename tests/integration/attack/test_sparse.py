"""A file of 100 GB that takes no room: what is as long as that is not as it was installed, and is not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, make_sandbox

HUGE = 100 << 30  # bytes
SECONDS = "--cpu=20"  # of the processor: reading it to the end would take minutes
FILES = ["etc/app/a.conf", "etc/hosts"]  # copied, and written


def _run(box: Sandbox, *words: str) -> tuple[int, str]:
    done = box.run(*words, before=("prlimit", SECONDS))
    assert done.returncode in (0, 1, 2), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("known", ["record", "no record"])
@pytest.mark.parametrize("where", FILES)
def test_a_sparse_file_is_not_read_to_its_end(tmp_path: Path, where: str, known: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    before = (box.root / where).read_bytes()
    if known == "no record":
        for name in ("t.record", "t.stamp"):
            (box.state / name).unlink(missing_ok=True)
    os.truncate(box.root / where, HUGE)
    _run(box, "verify", "t")
    _run(box, "audit", "t")
    code, said = _run(box, "plan", "t")
    assert (code, f"/{where}  content differs" in said) == (0, True)
    assert _run(box, "build")[0] == 0
    assert (box.root / where).read_bytes() == before
