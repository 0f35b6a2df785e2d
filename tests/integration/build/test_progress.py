"""Progress is for people: on a terminal only, gone at the end, and never in what is piped."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY

TOP = REPOSITORY
FILES = 120
# As on a slow disk: each step of a bar takes 10 ms, so that 120 files take longer than the threshold.
SLOW = """
import sys, time
from chrootbuild import console
step = console._Bar.step
console._Bar.step = lambda *words: (time.sleep(0.01), step(*words))
console.SILENT.__class__.step = lambda *words: time.sleep(0.01)
from chrootbuild.__main__ import main
"""
RUN = "code = main(); print('RICH', 'rich' in sys.modules); sys.exit(code)"
ERASED = "\x1b[K"
SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for number in range(FILES):
        file = tmp_path / "source" / f"f{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "t.toml").write_text(f'files = ["{tmp_path / "source"}/"]\n')
    return tmp_path


def command(top: Path, *words: str, slow: bool = True) -> list[str]:
    start = SLOW if slow else "import sys; from chrootbuild.__main__ import main"
    return [sys.executable, "-c", f"{start}\n{RUN}", "-C", str(top), *words]


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # Linux says EIO when the other end is closed
        return b""


def on_terminal(argv: list[str], stop_at: str = "", **env: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; return its exit code and all that came there."""
    ours, theirs = pty.openpty()
    settings = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    settings |= {"TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=TOP, env=settings
    ) as process:
        os.close(theirs)
        seen, stopped = b"", False
        while chunk := read(ours):
            seen += chunk
            if stop_at and not stopped and stop_at.encode() in seen:
                process.send_signal(signal.SIGINT)
                stopped = True
    os.close(ours)
    return process.returncode, seen.decode()


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows in the end: ESC [ K erases from the cursor on."""
    shown = []
    for line in SGR.sub("", text).split("\n"):
        here, column = "", 0
        for piece in re.findall(r"\r|\x1b\[K|[^\r\x1b]+", line):
            if piece == "\r":
                column = 0
            elif piece == ERASED:
                here = here[:column]
            else:
                here = here[:column] + piece + here[column + len(piece) :]
                column += len(piece)
        shown.append(here)
    return shown


def built(top: Path) -> None:
    subprocess.run(command(top, "build", slow=False), cwd=TOP, check=True, capture_output=True)


def test_a_build_shows_how_many_are_staged_and_leaves_its_result_alone(project: Path) -> None:
    code, seen = on_terminal(command(project, "build", "t", "--jobs", "1"))
    assert code == 0
    drawn = [line for line in SGR.sub("", seen).split("\r") if f"/{FILES}" in line or "/12" in line]
    assert any("build  " in line and "/source/f" in line for line in drawn), seen
    left = screen(seen)
    assert any("installed, 0 replaced, 0 removed" in line for line in left)
    assert not any("/source/f" in line for line in left)
    assert "RICH True" in left


@pytest.mark.parametrize("word", ["verify", "audit"])
def test_what_reads_a_whole_root_shows_count_bytes_and_path(project: Path, word: str) -> None:
    built(project)
    code, seen = on_terminal(command(project, word, "t"))
    assert code == 0, seen
    assert re.search(rf"{word} t  \S+  \d+/12\d  \d+ bytes?  \S*/source/f\d+", SGR.sub("", seen))
    assert SGR.search(seen)
    assert not any("/12" in line for line in screen(seen))


@pytest.mark.namespaces
def test_a_check_shows_what_it_waits_for(project: Path) -> None:
    start = "['sh', '-c', 'sleep 2; echo >/run/up; sleep 50']"
    slow = f"[check]\nprepare = ['sleep 1']\n[check.service]\nstart = {start}\n"
    target = f"binaries = ['sh', 'sleep']\n[directories]\n'/run' = {{}}\n{slow}ready = 'file:/run/up'\n"
    (project / "targets/t.toml").write_text(f"{target}probe = ['sleep 1']\n")
    built(project)
    _, seen = on_terminal(command(project, "check", "t", slow=False))
    for words in (
        "prepare-1: sleep 1",
        "waiting until it is ready: /run/up is not there",
        "probe-1: sleep 1",
    ):
        assert words in seen
    assert not any("sleep 1" in line for line in screen(seen))


@pytest.mark.namespaces
@pytest.mark.strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_learn_shows_its_rounds(project: Path) -> None:
    check = "[check]\nprepare = ['sleep 1']\nrun = [['cat', '/etc/passwd']]\n"
    (project / "targets/t.toml").write_text(f"binaries = ['cat']\n{check}")
    _, seen = on_terminal(command(project, "learn", "t", slow=False))
    assert "learn t: running on a copy of the host, traced" in SGR.sub("", seen)
    assert "learn t: round 1, checking" in SGR.sub("", seen)
    assert any(re.match(r"t  .*learned\.toml: ", line) for line in screen(seen))


def test_an_interrupted_command_leaves_no_bar_behind(project: Path) -> None:
    built(project)
    code, seen = on_terminal(command(project, "verify", "t"), stop_at="/12")
    assert code == 130
    assert "interrupted" in screen(seen)
    assert "\x1b[?25l" not in seen  # the cursor was never hidden
    assert not any("/12" in line for line in screen(seen))


def test_a_pipe_gets_the_result_alone(project: Path) -> None:
    done = subprocess.run(command(project, "build"), capture_output=True, text=True, cwd=TOP)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert "RICH False" in done.stdout


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_shows_no_bar(project: Path, term: str) -> None:
    built(project)
    code, seen = on_terminal(command(project, "verify", "t"), TERM=term)
    assert (code, screen(seen)) == (0, ["RICH False", ""])
    assert "\x1b" not in seen


def test_without_colour_there_is_a_bar_all_the_same(project: Path) -> None:
    built(project)
    _, seen = on_terminal(command(project, "verify", "t"), NO_COLOR="1")
    assert "verify t  " in seen
    assert "/12" in seen
    assert not SGR.search(seen)


def test_what_is_done_at_once_imports_nothing_and_draws_nothing(project: Path) -> None:
    (project / "targets/t.toml").write_text("binaries = ['sh']\n")
    built(project)
    start = "from chrootbuild import console; console._DELAY = 600\nimport sys; from chrootbuild.__main__ import main"
    argv = [sys.executable, "-c", f"{start}\n{RUN}", "-C", str(project), "verify", "t"]
    code, seen = on_terminal(argv)
    assert (code, screen(seen)) == (0, ["RICH False", ""])
    assert ERASED not in seen


def test_what_is_printed_while_a_bar_is_shown_stands_on_lines_of_its_own() -> None:
    code = """
import sys, time
from chrootbuild import console
console._DELAY = 0
with console.progress("work") as bar:
    bar.begin(300)
    for number in range(300):
        bar.step(f"/p{number}", 1)
        time.sleep(0.005)
        if number % 30 == 0:
            print("out", number)
            sys.stderr.write(f"half {number} ")
            time.sleep(0.15)
            console.error("whole")
"""
    status, seen = on_terminal([sys.executable, "-c", code], NO_COLOR="1")
    assert status == 0
    assert "work  " in seen
    wanted = [
        line for number in range(0, 300, 30) for line in (f"out {number}", f"half {number} error: whole")
    ]
    assert screen(seen) == [*wanted, ""]
