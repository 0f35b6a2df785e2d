"""An update whose check fails: the former files come back, whatever was changed, whenever it is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.trees import tree
from tests.support.watch_lab import eventually, watching
from tests.support.workshop import Workshop, bring_host_programs

pytestmark = [pytest.mark.root, pytest.mark.namespaces]

TARGET = """
sysroot = "{top}"
os = "linux"
binaries = ["/bin/sh"]
files = ["/etc/app/", "/srv/"]

[directories]
"/var/app" = {{ mode = "{mode}" }}

[host]
restart = "echo restarted >>restarts"

[check]
run = [["/bin/sh", "-c", "read word </etc/app/state; test $word = good"]]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("template") / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    files = {
        "/etc/app/state": "good\n",
        "/etc/app/goes": "one\n",
        "/etc/app/current": "-> goes",
        "/etc/app/other": "same\n",
        "/srv/old/a": "a\n",
        "/srv/kind": "a file\n",
    }
    return write(top, files)


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Workshop:
    shutil.copytree(template, tmp_path / "sysroot", symlinks=True)
    shop = Workshop(tmp_path, tmp_path / "sysroot")
    shop.write_targets({"x.toml": TARGET.format(top=shop.top, mode="0755")})
    shop.settle()
    return shop


def upgrade(shop: Workshop) -> None:
    """Change everything that can be: contents, a link, names, a mode, a kind, directories; and break the service."""
    (shop.top / "etc/app/goes").unlink()
    (shop.top / "etc/app/current").unlink()
    shutil.rmtree(shop.top / "srv/old")
    (shop.top / "srv/kind").unlink()
    files = {
        "/etc/app/state": "bad\n",
        "/etc/app/comes": "two\n",
        "/etc/app/current": "-> comes",
        "/srv/new/b": "b\n",
        "/srv/kind/of": "a directory\n",
    }
    write(shop.top, files)
    (shop.top / "etc/app/other").chmod(0o600)
    shop.write_targets({"x.toml": TARGET.format(top=shop.top, mode="0700")})


# A longer list of calls is walked in longer steps; CHROOTBUILD_KILLS=100 takes (nearly) every one.
STEPS = int(os.environ.get("CHROOTBUILD_KILLS", "4"))


def restarts(shop: Workshop) -> int:
    path = shop.folder / "restarts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def left_over(shop: Workshop) -> list[str]:
    """Return what is neither a root nor state that stays."""
    names = [name for name in os.listdir(shop.folder / "build") if name != "x"]
    return names + [
        name for name in os.listdir(shop.folder / ".chrootbuild") if name.endswith((".pending", ".kept"))
    ]


def test_without_rollback_the_update_stays_and_the_service_is_left_alone(shop: Workshop) -> None:
    upgrade(shop)
    said = shop.run("refresh", code=1)
    assert said.startswith("error: cannot restart x: its check failed after the update\n")
    assert "ended with status 1" in said
    assert "the service was not restarted" in said
    assert (shop.root / "etc/app/state").read_text() == "bad\n"
    assert "its check failed again, after an earlier update" in shop.run("refresh", code=1)
    assert restarts(shop) == 0
    write(shop.top, {"/etc/app/state": "good\n"})
    shop.run("refresh")
    assert restarts(shop) == 1
    assert left_over(shop) == []


def test_without_a_check_it_is_restarted(shop: Workshop) -> None:
    upgrade(shop)
    shop.run("refresh", "--no-check")
    assert restarts(shop) == 1


def test_the_former_files_come_back(shop: Workshop) -> None:
    before = tree(shop.root)
    upgrade(shop)
    said = shop.run("refresh", "--rollback", code=1)
    assert said.startswith("error: cannot update x: its check failed, and the former files were put back\n")
    assert "replace  /etc/app/state" in said
    assert "install  /etc/app/goes" in said
    assert "remove   /etc/app/comes" in said
    assert tree(shop.root) == before
    assert shop.run("verify", "x") == ""
    assert restarts(shop) == 0
    assert left_over(shop) == []


def test_the_same_update_is_held_back_until_anything_changes(shop: Workshop) -> None:
    before = tree(shop.root)
    upgrade(shop)
    shop.run("refresh", "--rollback", code=1)
    said = shop.run("refresh", "--rollback", code=1)
    assert "the same update failed its check on " in said
    assert tree(shop.root) == before
    write(shop.top, {"/srv/more": "changed\n"})
    assert "the former files were put back" in shop.run("refresh", "--rollback", code=1)
    assert tree(shop.root) == before
    write(shop.top, {"/etc/app/state": "good\n"})
    assert "restarted: " in shop.run("refresh", "--rollback")
    assert restarts(shop) == 1
    assert shop.run("verify", "x") == ""
    assert left_over(shop) == []


def test_a_build_installs_what_is_held_back(shop: Workshop) -> None:
    upgrade(shop)
    shop.run("refresh", "--rollback", code=1)
    shop.run("build", "x")
    assert (shop.root / "etc/app/state").read_text() == "bad\n"
    assert shop.run("verify", "x") == ""


def test_an_update_that_serves_leaves_nothing_behind(shop: Workshop) -> None:
    upgrade(shop)
    write(shop.top, {"/etc/app/state": "good\n"})
    shop.run("refresh", "--rollback")
    assert restarts(shop) == 1
    assert left_over(shop) == []
    assert not (shop.root / ".chrootbuild").exists()


def test_what_the_daemon_put_into_a_new_directory_stays(shop: Workshop) -> None:
    upgrade(shop)
    shop.run("refresh", code=1)
    (shop.root / "srv/new/log").write_text("the daemon's\n")
    write(shop.top, {"/etc/app/state": "worse\n"})
    shop.run("refresh", "--rollback", code=1)
    assert (shop.root / "srv/new/log").read_text() == "the daemon's\n"
    assert (shop.root / "etc/app/state").read_text() == "bad\n"  # what was there before this refresh


def test_what_is_kept_is_out_of_sight(shop: Workshop) -> None:
    text = (shop.folder / "targets/x.toml").read_text()
    look = f"stat -c '%a %u %F' {shop.folder}/build/.x.chrootbuild-kept >&2; false"
    shop.write_targets({"x.toml": text.replace("[check]", f'[check]\nprepare = ["{look}"]')})
    write(shop.top, {"/etc/app/other": "changed\n"})
    said = shop.run("refresh", "--rollback", code=1)
    assert "700 0 directory" in said


@pytest.mark.parametrize("changed", ["mode", "owner", "node"])
def test_what_was_kept_comes_back_with_its_owner_and_mode(shop: Workshop, changed: str) -> None:
    """The owner of a file has it open: fchmod(2) reaches it where it is kept, too, while the check runs."""
    text = (shop.folder / "targets/x.toml").read_text()
    slow = "i=0; while test $i -lt 400000; do i=$((i + 1)); done; read word"
    text = text.replace("os =", 'devices = ["null"]\nos =').replace("read word", slow)
    shop.write_targets({"x.toml": text})
    shop.settle()
    before = tree(shop.root)
    path = shop.root / ("dev/null" if changed == "node" else "etc/app/state")
    fd = os.open(path, os.O_RDONLY)
    other = text.replace('["null"]', '[{ name = "null", mode = "0600" }]')
    shop.write_targets({"x.toml": other if changed == "node" else text})
    write(shop.top, {"/etc/app/state": "bad\n"})

    def change() -> None:
        eventually("it was replaced", lambda: path.exists() and path.stat().st_ino != os.fstat(fd).st_ino)
        if changed == "owner":
            os.fchown(fd, 65534, 65534)
        else:
            os.fchmod(fd, 0o4777)

    daemon = threading.Thread(target=change)
    daemon.start()
    said = shop.run("refresh", "--rollback", code=1)
    daemon.join()
    os.close(fd)
    assert "the former files were put back" in said
    assert tree(shop.root) == before
    assert shop.run("verify", "x") == ""


@pytest.mark.strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["linkat", "renameat", "renameat2", "rename", "unlink", "unlinkat"])
def test_a_kill_at_any_moment_ends_with_the_former_files(template: Path, tmp_path: Path, call: str) -> None:
    """Each call at a step of its own length: all moments of a short list, and some of a long one."""
    number, step = 1, 1
    while number < 400:
        place = tmp_path / str(number)
        place.mkdir()
        shutil.copytree(template, place / "sysroot", symlinks=True)
        shop = Workshop(place, place / "sysroot")
        shop.write_targets({"x.toml": TARGET.format(top=shop.top, mode="0755")})
        shop.run("build", "x")
        before = tree(shop.root)
        upgrade(shop)
        finished = killed(shop, call, number)
        said = shop.run("refresh", "--rollback", code=1)
        assert "cannot update x: " in said, (call, number, said)
        assert tree(shop.root) == before, (call, number, said)
        assert shop.run("verify", "x") == ""
        assert restarts(shop) == 0
        assert left_over(shop) == [], (call, number)
        if finished:
            return
        shutil.rmtree(place)
        step = 1 + number // STEPS
        number += step
    raise AssertionError("it never came to its end")


def killed(shop: Workshop, call: str, number: int) -> bool:
    """Run a refresh that is killed at a certain system call; tell whether it came to its end before."""
    argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    argv += ["-e", f"inject={call}:signal=KILL:when={number}"]
    argv += [sys.executable, "-m", "chrootbuild", "refresh", "--rollback"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=shop.folder, env=env, capture_output=True)
    return done.returncode == 1


def test_watch_takes_a_failed_update_back_and_goes_on(shop: Workshop) -> None:
    before = tree(shop.root)
    with watching(shop.folder, "--rollback") as watch:
        write(shop.top, {"/etc/app/state": "bad\n"})
        eventually("it is taken back", lambda: "the former files were put back" in watch.said())
        assert tree(shop.root) == before
        write(shop.top, {"/etc/app/state": "good\n", "/srv/old/a": "changed\n"})
        eventually("it is restarted", lambda: restarts(shop) == 1)
        watch.stop()
    assert (shop.root / "srv/old/a").read_text() == "changed\n"
    assert shop.run("verify", "x") == ""
