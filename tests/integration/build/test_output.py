"""What is said to nobody: a reader that has gone, a full disk, a closed descriptor, Ctrl-C at the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.sandbox import environment, make_sandbox

VERBS = [
    *("list", "list --all", "info t:/etc/passwd", "plan", "plan --json", "why t /etc/passwd", "verify"),
    *("schedule cron", "--help", "--version", "plan --help", "clean t", "build"),
]
FULL = "error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("where", ["| true", ">/dev/full", ">&-", ">&- <&- 2>&-", "2>/dev/full | true"])
def test_a_quiet_end(tmp_path: Path, verb: str, where: str) -> None:
    box = make_sandbox(tmp_path)
    if verb != "build":
        assert box.run("build").returncode == 0
    errors = "" if "2>" in where else f"2>{tmp_path}/errors"
    command = f"{sys.executable} -m chrootbuild -C {tmp_path}/p {verb}"
    script = f"{{ {command} {errors}; echo $? >{tmp_path}/code; }} {where}"
    subprocess.run(["sh", "-c", script], env=environment(), check=False)
    said = (tmp_path / "errors").read_text() if errors else ""
    quiet = verb == "verify"  # nothing to say
    full = where == ">/dev/full" and not quiet
    assert said == (FULL if full else "")
    assert (tmp_path / "code").read_text() == ("1\n" if full else "0\n")
    if verb == "build":
        assert (box.root / "etc/passwd").exists()


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    command = f"import signal, os\nexec(compile(open({str(tmp_path / 'start')!r}).read(), 'start', 'exec'))"
    for delay in range(0, 60, 4):
        # The interpreter's own start is not ours: the signal comes after it.
        (tmp_path / "start").write_text(
            "import os, runpy, sys\n"
            f"sys.argv = ['chrootbuild', '-C', {str(box.top / 'p')!r}, 'build', '--jobs', '1']\n"
            "os.write(1, b'x')\n"
            "runpy.run_module('chrootbuild', run_name='__main__')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", command],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            os.read(process.stdout.fileno(), 1)
            time.sleep(0.01 + delay / 1000)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
        assert process.returncode in (0, 1, 2, 130, -signal.SIGINT)
        assert b"Traceback" not in errors, errors
