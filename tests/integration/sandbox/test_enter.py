"""The real root, entered: with a terminal, without one, as root and as an ordinary user."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chrootbuild.artifact import Device
from chrootbuild.enter.enter import enter
from chrootbuild.errors import Failure
from tests.support.confine_lab import leftovers, make_root, running

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

MARK = f"mark-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = leftovers(), Path("/proc/self/mountinfo").read_text()
    yield
    assert (leftovers(), Path("/proc/self/mountinfo").read_text()) == before
    assert running(MARK) == []


def test_what_is_done_there_stays(tmp_path: Path) -> None:
    assert enter(str(make_root(tmp_path)), ("does", "write", "/tmp/x")) == 0
    assert (tmp_path / "tmp/x").read_text() == "written\n"


def test_the_exit_status(tmp_path: Path) -> None:
    root = str(make_root(tmp_path))
    assert enter(root, ("does", "exit", "7")) == 7
    assert enter(root, ("does", "crash")) == 128 + 11


def test_input_and_output_are_the_callers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert enter(str(make_root(tmp_path)), ("does", "say", "a", "complain", "b", "env")) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[:2] == ["a", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    assert err == "b\n"


def test_mounts_are_seen_inside_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = make_root(tmp_path, "proc")
    assert enter(str(root), ("does", "cat", "/proc/self/status"), ("/proc",)) == 0
    assert "Pid:\t2\n" in capfd.readouterr().out
    assert os.listdir(root / "proc") == []


def test_it_cannot_get_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "victim").write_text("outside")
    root = str(make_root(tmp_path / "root"))
    assert enter(root, ("does", "mount", "mknod", "break-out", "cat", f"{tmp_path}/victim")) == 1
    out, err = capfd.readouterr()
    assert out == "mount: Operation not permitted\nmknod: Operation not permitted\n"
    assert err.endswith("No such file or directory\n")


def test_what_it_leaves_running_is_ended(tmp_path: Path) -> None:
    assert enter(str(make_root(tmp_path)), ("does", "background", "say", MARK, "deaf", "sleep")) == 0


@pytest.mark.parametrize("root", ["build/x", "/nowhere/at/all"])
def test_no_root(root: str) -> None:
    with pytest.raises(
        Failure, match=r"it is not an absolute path|cannot enter /nowhere/at/all: No such file"
    ):
        enter(root, ("does",))


def test_no_program(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"^cannot run /bin/sh: it is not in the root"):
        enter(str(make_root(tmp_path)), ("/bin/sh",))


_ENTER = """
import sys
from chrootbuild.artifact import Device
from chrootbuild.enter.enter import enter
print("status", enter(sys.argv[1], sys.argv[3:], (), {"/dev/null": Device(True, 1, 3)} if sys.argv[2] else {}))
"""


@pytest.mark.nobody
def test_an_ordinary_user_is_root_inside_and_the_files_stay_its_own() -> None:
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        root = make_root(Path(directory, "root"), "dev")
        (root / "dev/kept").touch()
        os.chown(root, 65534, 65534)
        words = ["does", "id", "write", "/tmp/x", "write", "/dev/null", "cat", "/dev/null", "mount"]
        argv = [sys.executable, "-c", _ENTER, str(root), "devices", *words]
        done = subprocess.run(argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
        assert (done.stdout.splitlines()[1:], done.stderr) == (
            ["mount: Operation not permitted", "status 0"],
            "",
        )
        assert done.stdout.startswith("0:0")
        assert (root / "tmp/x").stat().st_uid == 65534
        assert os.listdir(root / "dev") == ["kept"]


# -- terminals -----------------------------------------------------------------------------


def on_a_terminal(root: Path, words: list[str], keys: bytes, until: bytes) -> tuple[str, int]:
    """Run enter on a terminal, type, and return what came and the exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        termios.tcsetwinsize(0, (31, 77))
        os.execv(sys.executable, [sys.executable, "-c", _ENTER, str(root), "", *words])
    seen = b""
    typed = False
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            if not data:
                break
            seen += data
        if until in seen and not typed:
            typed = True
            os.write(fd, keys)
    os.close(fd)
    return seen.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A root with a shell: this machine's, with its libraries."""
    root = make_root(tmp_path, "dev")
    listing = subprocess.run(["ldd", "/bin/bash"], capture_output=True, text=True, check=True).stdout
    for word in listing.split():
        if word.startswith("/"):
            (root / word.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (root / word.lstrip("/")).write_bytes(Path(word).resolve().read_bytes())
            (root / word.lstrip("/")).chmod(0o755)
    (root / "bin/bash").write_bytes(Path("/bin/bash").read_bytes())
    (root / "bin/bash").chmod(0o755)
    return root


def test_a_shell_has_job_control_and_its_own_terminal(shell: Path) -> None:
    keys = b"echo jobs: $-; fg; echo $((20+3)); exit 5\n"
    seen, status = on_a_terminal(shell, ["bash", "--norc", "-i"], keys, b"# ")
    assert "no job control" not in seen
    assert "cannot set terminal process group" not in seen
    assert "fg: current: no such job" in seen
    assert "\r\n23\r\n" in seen
    assert "status 5" in seen
    assert status == 0


def test_ctrl_c_reaches_the_program_and_not_the_caller(tmp_path: Path) -> None:
    seen, status = on_a_terminal(make_root(tmp_path), ["does", "say", "up", "sleep"], b"\x03", b"up")
    assert "status 130" in seen
    assert status == 0


def test_the_size_of_the_terminal_is_passed_on(shell: Path) -> None:
    keys = b"(:); echo $LINES x $COLUMNS; exit\n"
    seen, _ = on_a_terminal(shell, ["bash", "--norc", "-i"], keys, b"# ")
    assert "31 x 77" in seen


def test_devices_are_of_no_concern_to_root(tmp_path: Path) -> None:
    root = make_root(tmp_path, "dev")
    assert enter(str(root), ("does", "need", "/dev/null"), devices={"/dev/null": Device(True, 1, 3)}) == 1
    assert os.listdir(root / "dev") == []
