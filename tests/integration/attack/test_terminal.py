"""A program inside and the terminal of who started it: what it types there (TIOCSTI) must reach nobody's shell."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.hostside_project import make_sysroot, public_folder, snippets
from tests.support.workshop import compile_c

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

ATTACK = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char path[64];
    int fds[] = {0, 1, 2, open("/dev/tty", O_RDWR)};
    for (int i = 0; i < 4; i++) {
        ioctl(fds[i], TIOCSTI, "X");
        ioctl(fds[i], TIOCSTI, "\n");
    }
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        int fd = open(path, O_RDWR | O_NOCTTY);
        ioctl(fd, TIOCSTI, "Y");
    }
    FILE *report = fopen("/report", "w");
    for (int i = 0; i < 3; i++) {
        struct stat info;
        fstat(i, &info);
        if (isatty(i)) fprintf(report, "%lu ", (unsigned long)info.st_rdev);
    }
    fclose(report);
    for (int i = 1; i < argc; i++) printf("[%s]", argv[i]);
    puts("done");
    return 7;
}
"""
_ENTER = "import sys; from chrootbuild.enter.enter import enter; sys.exit(enter(sys.argv[1], sys.argv[2:]))"
_TIOCGPTN = 0x80045430  # ioctl_tty(2)
FORMS = {
    "all": "{}",
    "piped": "{} | cat; exit 7",
    "only-input": "{} 2>/dev/null | cat; exit 7",
    "only-errors": "{} </dev/null | cat; exit 7",
    "only-output": "{} </dev/null 2>/dev/null",
    "none": "{} </dev/null 2>/dev/null | cat; exit 7",
}


def make_root(folder: Path) -> Path:
    root = folder / "root"
    for name in ("bin", "dev", "proc"):
        (root / name).mkdir(parents=True)
    compile_c(root / "bin/attack", ATTACK, "-static")
    os.mknod(root / "dev/tty", 0o20666, os.makedev(5, 0))
    return root


def typed(form: str, argv: Sequence[str]) -> tuple[bytes, int, bytes, str]:
    """Run a command on a terminal; return what it said, its code, what was typed there, and the terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", form.format('"$@"'), "sh", *argv])
    end, seen, status = time.monotonic() + 20, b"", None
    keeper = os.open(
        f"/dev/pts/{struct.unpack('I', fcntl.ioctl(fd, _TIOCGPTN, bytes(4)))[0]}", os.O_RDWR | os.O_NOCTTY
    )
    while time.monotonic() < end and status is None:
        if select.select([fd], [], [], 0.05)[0]:
            seen += os.read(fd, 4096)
        done, code = os.waitpid(pid, os.WNOHANG)
        status = code if done else None
    while select.select([fd], [], [], 0.05)[0]:
        seen += os.read(fd, 4096)
    assert status is not None, seen
    modes = termios.tcgetattr(keeper)
    modes[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(keeper, termios.TCSANOW, modes)
    fcntl.fcntl(keeper, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        waiting = os.read(keeper, 100)
    except BlockingIOError:
        waiting = b""
    name = str(os.fstat(keeper).st_rdev)
    os.close(keeper)
    os.close(fd)
    return seen, os.waitstatus_to_exitcode(status), waiting, name


@pytest.mark.parametrize("form", FORMS)
def test_enter_hands_over_no_terminal(tmp_path: Path, form: str) -> None:
    root = make_root(tmp_path)
    seen, code, waiting, terminal = typed(
        FORMS[form], [sys.executable, "-c", _ENTER, str(root), "/bin/attack"]
    )
    assert waiting == b"", seen
    assert terminal not in (root / "report").read_text().split()
    assert (code, b"done" in seen) == (7, True), seen


@pytest.mark.parametrize("form", FORMS)
def test_a_start_script_hands_over_no_terminal(form: str) -> None:
    with public_folder() as folder:
        root = make_root(folder)
        text = (
            f'root = "{root}"\nsysroot = "{make_sysroot(folder / "sysroot")}"\nos = "linux"\n'
            '[host.wrapper]\n"/usr/sbin/x" = ["/bin/attack", "it\'s $HOME"]\n'
        )
        shutil.copytree(root / "bin", folder / "sysroot/bin", dirs_exist_ok=True)
        script = folder / "x"
        script.write_text(snippets(folder, text, "wrapper")[0].content)
        script.chmod(0o755)
        subprocess.run(["sh", "-n", script], check=True)
        seen, code, waiting, terminal = typed(FORMS[form], [str(script), "a 'b'", "$c\n"])
        assert waiting == b"", seen
        assert terminal not in (root / "report").read_text().split()
        assert code == 7, seen
        assert b"[it's $HOME][a 'b'][$c" in seen
