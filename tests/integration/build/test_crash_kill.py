"""A build may be killed at any moment: the program in the root runs, old or new, and the next build completes it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, environment, make_sandbox

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.slow]

MOMENTS = 200
VERSIONS = 4
TARGET = 'os = "linux"\nbinaries = ["/usr/bin/prog"]\n'
PROGRAM = """\
#include <stdio.h>
#include <unistd.h>
int one(void), two(void);
int main(int argc, char **argv) {
    char c;
    (void)argv;
    printf("%d %d %d\\n", VERSION, one(), two());
    fflush(stdout);
    if (argc > 1) { while (read(0, &c, 1) == 1) { printf("%d %d\\n", one(), two()); fflush(stdout); } }
    return 0;
}
"""


def _cc(out: Path, source: str, *more: str) -> None:
    command = ["cc", "-O1", "-w", "-x", "c", "-", "-x", "none", "-o", str(out), *more]
    subprocess.run(command, input=source, text=True, check=True)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the versions of a program and its two libraries, each with a loader and a libc of its own bytes."""
    top = tmp_path_factory.mktemp("versions")
    libc = subprocess.run(
        ["cc", "-print-file-name=libc.so.6"], capture_output=True, text=True
    ).stdout.strip()
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    for number in range(VERSIONS):
        here = top / str(number)
        here.mkdir()
        for name in ("one", "two"):
            library = here / f"lib{name}.so.1.{number}"
            source = f"int {name}(void) {{ return {number}; }}"
            _cc(library, source, "-shared", "-fPIC", f"-Wl,-soname,lib{name}.so.1")
            (here / f"lib{name}.so.1").symlink_to(library.name)
        libraries = [str(here / f"lib{name}.so.1") for name in ("one", "two")]
        _cc(here / "prog", PROGRAM, f"-DVERSION={number}", *libraries, "-Wl,--dynamic-linker=/usr/lib/ld.so")
        for source, name in ((os.path.realpath(libc), "libc.so.6"), (loader, "ld.so")):
            (here / name).write_bytes(
                Path(source).read_bytes() + bytes([number])
            )  # ELF ignores what is behind it
            (here / name).chmod(0o755)
    return top


@pytest.fixture
def box(tmp_path: Path, versions: Path) -> Sandbox:
    made = make_sandbox(tmp_path, TARGET)
    shutil.rmtree(made.sysroot)
    (made.sysroot / "usr/bin").mkdir(parents=True)
    (made.sysroot / "usr/lib").mkdir()
    (made.sysroot / "lib").symlink_to("usr/lib")
    upgrade(made, versions, 0)
    made.build()
    return made


def upgrade(box: Sandbox, versions: Path, number: int) -> None:
    """Install a version into the sysroot, and remove the one before."""
    for old in (box.sysroot / "usr/lib").iterdir():
        old.unlink()
    for path in (versions / str(number % VERSIONS)).iterdir():
        place = box.sysroot / ("usr/bin" if path.name == "prog" else "usr/lib") / path.name
        place.unlink(missing_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)


def shown(box: Sandbox) -> list[int]:
    """Run the program inside the root and return the versions that it shows: its own, and its libraries'."""
    result = subprocess.run(["chroot", box.root, "/usr/bin/prog"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [int(word) for word in result.stdout.split()]


def assert_whole(box: Sandbox, allowed: set[int]) -> None:
    """Check what a process that starts now gets: libraries of one version, and that of loader and libc."""
    program, one, two = shown(box)
    assert one == two
    assert {program, one} <= allowed
    tails = {(box.root / "usr/lib" / name).read_bytes()[-1] for name in ("libc.so.6", "ld.so")}
    assert tails == {one}


def assert_settled(box: Sandbox, version: int) -> None:
    box.build()
    assert shown(box) == [version % VERSIONS] * 3
    assert box.verify() == []
    assert not box.stage.exists()
    litter = [path.name for path in box.state.iterdir() if re.search(r"journal|\.new$", path.name)]
    assert litter == []


def _killed_after(box: Sandbox, seconds: float) -> bool:
    """Build in a child that is killed after some seconds; tell whether it was still at work."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            box.build()
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a build after a kill failed"
    return os.WIFSIGNALED(status)


def test_two_hundred_random_moments(box: Sandbox, versions: Path) -> None:
    started = time.perf_counter()
    upgrade(box, versions, 1)
    box.build()
    longest = (time.perf_counter() - started) * 1.2
    chance = random.Random(4)
    killed, begun = 0, set[int]()
    for number in range(2, MOMENTS + 2):
        before = shown(box)
        upgrade(box, versions, number)
        killed += _killed_after(box, chance.random() * longest)
        assert_whole(box, {*before, *begun, number % VERSIONS})
        # What has a journal is completed by the next build, before it does anything else.
        begun = {*begun, number % VERSIONS} if (box.state / "t.journal").exists() else set()
    assert killed > MOMENTS // 4
    assert_settled(box, MOMENTS + 1)


def test_the_program_itself_is_killed(box: Sandbox, versions: Path) -> None:
    chance = random.Random(5)
    for number in range(1, 21):
        upgrade(box, versions, number)
        command = [sys.executable, "-m", "chrootbuild", "-C", str(box.top / "p"), "build", "t"]
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        time.sleep(0.1 + chance.random() * 0.4)
        process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.wait()
        process.stderr.close()
        assert_whole(box, set(range(VERSIONS)))
    assert_settled(box, 20)


def test_sigterm_while_it_stages(box: Sandbox, versions: Path) -> None:
    upgrade(box, versions, 1)
    # Large enough that staging takes a while.
    with open(box.sysroot / "usr/lib/libone.so.1.1", "ab") as file:
        file.write(os.urandom(1 << 20) * 200)
    command = [sys.executable, "-m", "chrootbuild", "-C", str(box.top / "p"), "build", "t"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not (box.stage.exists() and list(box.stage.iterdir())):
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    second = box.run("build", "t")
    assert second.returncode == 75
    assert f"process {process.pid} " in second.stderr
    assert "chrootbuild" in second.stderr
    process.terminate()
    process.send_signal(signal.SIGCONT)
    output = process.communicate()[0]
    assert b"Traceback" not in output
    assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM, 130)
    assert shown(box) == [0, 0, 0]
    assert_settled(box, 1)


def test_a_running_process_keeps_what_it_has_mapped(box: Sandbox, versions: Path) -> None:
    process = subprocess.Popen(
        ["chroot", str(box.root), "/usr/bin/prog", "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "0 0 0\n"
    for number in (1, 2):
        upgrade(box, versions, number)
        box.build()
        process.stdin.write("x")
        process.stdin.flush()
        assert process.stdout.readline() == "0 0\n"
        assert shown(box) == [number] * 3
    process.communicate()
    assert process.returncode == 0


def test_no_start_fails_during_fifty_upgrades(box: Sandbox, versions: Path) -> None:
    """Loader, libc and libraries are in one directory that is wholly ours: it is exchanged as a whole."""
    done, failures, starts = threading.Event(), [], [0]

    def starter() -> None:
        while not done.is_set():
            result = subprocess.run(["chroot", box.root, "/usr/bin/prog"], capture_output=True, text=True)
            starts[0] += 1
            if result.returncode:
                failures.append(result.stderr)

    thread = threading.Thread(target=starter)
    thread.start()
    try:
        for number in range(1, 51):
            upgrade(box, versions, number)
            box.build()
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert starts[0] > 50
    assert_settled(box, 50)
