"""refresh as cron and hooks use it: silent, one restart, one message; nothing is forgotten when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chrootbuild.build.job import Job, begin
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.publish.publish import Published
from chrootbuild.state.project import Project, find_project
from chrootbuild.sync.refresh import Options, refresh
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_target
from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.workshop import Workshop, bring_host_programs, library, program
from tests.unit.sysroot.test_package_locks import held

pytestmark = pytest.mark.root

TARGET = """
sysroot = "{top}"
os = "linux"
files = ["/etc/"]

[host]
restart = "{restart}"
"""
RESTART = "echo restarted >>restarts"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """A target that is built, and would be restarted."""
    write(tmp_path / "sysroot", {"/etc/a": "one\n", "/etc/b": "one\n"})
    shop = Workshop(tmp_path, tmp_path / "sysroot")
    target(shop)
    shop.settle()
    return shop


def target(shop: Workshop, restart: str = RESTART, more: str = "") -> None:
    shop.write_targets({"x.toml": TARGET.format(top=shop.top, restart=restart) + more})


def restarts(shop: Workshop) -> int:
    path = shop.folder / "restarts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def read(shop: Workshop) -> Target:
    return read_target(find_project(str(shop.folder)), "x")


def change(shop: Workshop, name: str = "a", content: str = "two\n") -> None:
    """Replace a file by a new one."""
    new = shop.top / "etc" / f".{name}"
    new.write_text(content)
    new.rename(shop.top / "etc" / name)


# -- what is said and done -----------------------------------------------------------------


def test_nothing_changed_nothing_is_said_or_started(shop: Workshop) -> None:
    assert shop.run("refresh") == ""
    assert shop.run("refresh", "x") == ""
    assert restarts(shop) == 0


def test_nothing_changed_nothing_is_imported(shop: Workshop) -> None:
    code = (
        "import sys; sys.argv = ['chrootbuild', 'refresh']\n"
        "from chrootbuild.__main__ import main\nassert main() == 0\n"
        "print([name for name in ('doit', 'elftools', 'msgspec', 'chrootbuild.build.job', 'chrootbuild.target.reader')"
        " if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shop.folder, env=env, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_what_changed_is_told_and_the_service_restarted_once(shop: Workshop) -> None:
    change(shop)
    change(shop, "b")
    said = shop.run("refresh")
    assert f"x  {shop.root}\n" in said
    assert "replace  /etc/a  content differs from the host's" in said
    assert "0 installed, 2 replaced, 0 removed" in said
    assert said.endswith(f"restarted: {RESTART}\n")
    assert restarts(shop) == 1
    assert shop.run("refresh") == ""
    assert restarts(shop) == 1


def test_what_is_removed_is_a_reason_to_restart(shop: Workshop) -> None:
    (shop.top / "etc/b").unlink()
    assert "remove   /etc/b" in shop.run("refresh")
    assert restarts(shop) == 1


def test_a_source_that_is_only_touched_is_no_reason(shop: Workshop) -> None:
    (shop.top / "etc/a").chmod(0o644)
    os.link(shop.top / "etc/a", shop.top / "hard-link")
    assert shop.run("refresh") == ""
    assert restarts(shop) == 0


def test_targets_that_are_wrong_stop_no_others(shop: Workshop) -> None:
    shop.write_targets({"bad.toml": "[oops\n", "missing.toml": 'binaries = ["/no/such"]\n'})
    change(shop)
    said = shop.run("refresh", code=3)
    assert said.count("error: ") == 2
    assert "1 replaced" in said
    assert restarts(shop) == 1
    assert shop.run("refresh", "x") == ""
    assert "error: cannot find a target" in shop.run("refresh", "y", code=2)
    assert "no number of seconds" in shop.run("refresh", "--wait", "soon", code=2)
    assert "--rollback needs the check" in shop.run("refresh", "--rollback", "--no-check", code=2)


# -- waiting -------------------------------------------------------------------------------


def test_a_package_manager_at_work_is_waited_for(shop: Workshop) -> None:
    change(shop)
    with held(shop.top / "var/lib/dpkg/lock-frontend") as pid:
        said = shop.run("refresh", "--wait", "0.2", code=75)
        assert said.startswith(f"error: cannot refresh x: dpkg (process {pid}) is at work\n")
        assert (shop.root / "etc/a").read_text() == "one\n"
        waiting = start(shop, "refresh", "--wait", "60")
        time.sleep(0.5)
        assert waiting.poll() is None
    assert waiting.wait(60) == 0
    assert (shop.root / "etc/a").read_text() == "two\n"


def test_a_build_at_work_is_waited_for(shop: Workshop) -> None:
    change(shop)
    with held(shop.folder / ".chrootbuild/x.lock", "flock"):
        assert " is at work on it" in shop.run("refresh", "--wait", "0", code=75)
        waiting = start(shop, "refresh", "--wait", "60")
        time.sleep(0.5)
        assert waiting.poll() is None
    assert waiting.wait(60) == 0
    assert restarts(shop) == 1


def test_two_at_once_restart_once(shop: Workshop) -> None:
    target(shop, "sleep 1; " + RESTART)
    change(shop)
    both = [start(shop, "refresh"), start(shop, "refresh")]
    assert [process.wait(60) for process in both] == [0, 0]
    assert restarts(shop) == 1


def start(shop: Workshop, *words: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    argv = [sys.executable, "-m", "chrootbuild", *words]
    return subprocess.Popen(argv, cwd=shop.folder, env=env, stdout=subprocess.DEVNULL, text=True)


class Upgrading:
    """The steps of a build, and in their middle a whole run of a package manager, as often as it is told to."""

    def __init__(self, shop: Workshop, times: int, *, broken: bool = False) -> None:
        self.shop, self.times, self.broken, self.begun = shop, times, broken, 0

    def begin(self, project: Project, wanted: Target, wait: float) -> Job:
        self.begun += 1
        if self.broken and self.begun <= self.times:
            self._run()
            raise Failure("cannot find a library")
        job = begin(project, wanted, wait=wait)
        if self.begun <= self.times:
            self._run()
        return job

    def _run(self) -> None:
        change(self.shop, "b", f"{self.begun}\n")
        write(self.shop.top, {"/var/lib/dpkg/status-new": "x" * self.begun})
        (self.shop.top / "var/lib/dpkg/status-new").rename(self.shop.top / "var/lib/dpkg/status")

    def done(self, job: Job, published: Published | None) -> None:  # noqa: ARG002
        assert self.begun > self.times


@pytest.mark.parametrize("broken", [False, True])
def test_an_upgrade_in_the_middle_begins_it_anew(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    monkeypatch.chdir(shop.folder)
    change(shop)
    steps = Upgrading(shop, 3, broken=broken)
    said = refresh(find_project(), read(shop), Options(wait=60), steps)
    assert steps.begun == 4
    assert "2 replaced" in said
    assert (shop.root / "etc/b").read_text() == "3\n"
    assert restarts(shop) == 1


def test_it_gives_up_when_it_is_told_to_end(shop: Workshop) -> None:
    with pytest.raises(TryAgain, match="told to end"):
        refresh(find_project(str(shop.folder)), read(shop), Options(stopped=lambda: True))


# -- restarts that go wrong ----------------------------------------------------------------


def test_a_restart_that_fails_is_told_and_tried_again(shop: Workshop) -> None:
    target(shop, "echo no such unit >&2; " + RESTART + "; exit 5")
    change(shop)
    said = shop.run("refresh", code=1)
    assert said.startswith("error: cannot restart x: ")
    assert "exit status 5\n  no such unit\n" in said
    assert "1 replaced" in said
    shop.run("refresh", code=1)
    assert restarts(shop) == 2
    target(shop)
    assert shop.run("refresh") == f"restarted: {RESTART}\n"
    assert shop.run("refresh") == ""
    assert restarts(shop) == 3


def test_a_kill_after_the_publish_loses_no_restart(shop: Workshop) -> None:
    target(shop, "kill -9 $PPID")
    change(shop)
    shop.run("refresh", code=-9)
    assert (shop.root / "etc/a").read_text() == "two\n"
    target(shop)
    shop.run("build")
    shop.run("refresh")
    assert restarts(shop) == 1


@pytest.mark.strace
def test_a_kill_before_the_publish_is_no_reason_to_restart(shop: Workshop) -> None:
    new = [f"etc/new-{number}" for number in range(10)]  # so many that all is written out by one syncfs(2)
    write(shop.top, {f"/{name}": "x" for name in new})
    calls = ["strace", "-f", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:signal=KILL"]
    argv = [*calls, sys.executable, "-m", "chrootbuild", "refresh"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run(argv, cwd=shop.folder, env=env, stdout=subprocess.DEVNULL).returncode != 0
    assert (shop.folder / ".chrootbuild/x.pending").exists()
    for name in new:
        (shop.top / name).unlink()
    assert shop.run("refresh") == ""
    assert restarts(shop) == 0


def test_a_daemon_that_keeps_the_output_open_keeps_nobody_waiting(shop: Workshop) -> None:
    target(shop, "sleep 300 & echo $! >daemon")
    change(shop)
    began = time.monotonic()
    shop.run("refresh")
    os.kill(int((shop.folder / "daemon").read_text()), 9)
    assert time.monotonic() - began < 200


def test_a_restart_may_build(shop: Workshop) -> None:
    command = f"PYTHONPATH={REPOSITORY} {sys.executable} -m chrootbuild build x && {RESTART}"
    target(shop, command)
    change(shop)
    shop.run("refresh")
    assert restarts(shop) == 1


@pytest.mark.cc
def test_processes_on_files_that_went_are_named(shop: Workshop) -> None:
    bring_host_programs(shop.top, "/bin/sleep")
    library(shop.top / "usr/lib/libq.so.1", "libq.so.1", "one")
    program(shop.top / "usr/bin/service", {"q": shop.top / "usr/lib/libq.so.1"})
    text = TARGET.format(top=shop.top, restart=RESTART)
    shop.write_targets(
        {"x.toml": text.replace("files =", 'binaries = ["/usr/bin/service", "/bin/sleep"]\nfiles =')}
    )
    shop.run("refresh")
    argv = ["chroot", str(shop.root), "/bin/sleep", "300"]
    with subprocess.Popen(argv, env={**os.environ, "LD_PRELOAD": "/usr/lib/libq.so.1"}) as process:
        try:
            wait_for_library(process.pid)
            library(shop.top / "usr/lib/libq.so.1", "libq.so.1", "two")
            said = shop.run("refresh")
            assert (
                f"1 process still runs on files that were replaced or removed: sleep (pid {process.pid})\n"
                in said
            )
            change(shop, "b", "three\n")
            assert f"sleep (pid {process.pid})" in shop.run("refresh")
        finally:
            process.kill()
    change(shop, "b", "four\n")
    assert "still run" not in shop.run("refresh")


def wait_for_library(pid: int) -> None:
    end = time.monotonic() + 30
    while "libq" not in Path(f"/proc/{pid}/maps").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
