"""Package managers at work: their locks are seen, whoever looks, and never taken."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chrootbuild.errors import TryAgain
from chrootbuild.sysroot.package_locks import at_work, databases, state_of, wait_until_idle
from tests.support.sysroot import write

# Holds a lock in a process of its own until its standard input ends: kind, path.
_HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o640)
{"write": lambda: fcntl.lockf(fd, fcntl.LOCK_EX),
 "read": lambda: fcntl.lockf(fd, fcntl.LOCK_SH),
 "flock": lambda: fcntl.flock(fd, fcntl.LOCK_EX)}[sys.argv[1]]()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, kind: str = "write") -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-c", _HOLDER, kind, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.communicate()


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("dpkg", "var/lib/dpkg/lock-frontend", "write"),
        ("dpkg", "var/lib/dpkg/lock", "write"),
        ("rpm", "var/lib/rpm/.rpm.lock", "write"),
        ("rpm", "usr/lib/sysimage/rpm/.rpm.lock", "write"),
        ("apk", "lib/apk/db/lock", "flock"),
        ("apk", "run/apk/db.lock", "flock"),
    ],
)
def test_who_holds_a_lock_is_named_until_it_is_free(tmp_path: Path, name: str, path: str, kind: str) -> None:
    assert at_work(str(tmp_path)) == ""
    with held(tmp_path / path, kind) as pid:
        assert at_work(str(tmp_path)) == f"{name} (process {pid})"
    assert at_work(str(tmp_path)) == ""


def test_a_query_is_no_work(tmp_path: Path) -> None:
    with held(tmp_path / "var/lib/rpm/.rpm.lock", "read"):
        assert at_work(str(tmp_path)) == ""


def test_pacmans_lock_is_the_file_itself(tmp_path: Path) -> None:
    write(tmp_path, {"/var/lib/pacman/db.lck": ""})
    assert at_work(str(tmp_path)) == "pacman"


def pkg_database(top: Path) -> sqlite3.Connection:
    """Make what pkg(8) has of its locks in its database, and return a connection to it."""
    (top / "var/db/pkg").mkdir(parents=True)
    database = sqlite3.connect(top / "var/db/pkg/local.sqlite", isolation_level=None)
    database.execute("CREATE TABLE pkg_lock (exclusive INTEGER(1), advisory INTEGER(1), read INTEGER(8))")
    database.execute("CREATE TABLE pkg_lock_pid (pid INTEGER PRIMARY KEY)")
    database.execute("INSERT INTO pkg_lock VALUES (0, 0, 0)")
    return database


def test_pkg_writes_down_who_is_at_work(tmp_path: Path) -> None:
    with contextlib.closing(pkg_database(tmp_path)) as database:
        assert at_work(str(tmp_path)) == ""
        database.execute("INSERT INTO pkg_lock_pid VALUES (?)", [os.getpid()])
        database.execute("UPDATE pkg_lock SET advisory = 1, read = 3")  # it asks, and others read
        assert at_work(str(tmp_path)) == ""
        database.execute("UPDATE pkg_lock SET exclusive = 1")
        assert at_work(str(tmp_path)) == f"pkg (process {os.getpid()})"
        database.execute("BEGIN IMMEDIATE")  # what it does while it installs
        database.execute("INSERT INTO pkg_lock_pid VALUES (1)")
        assert at_work(str(tmp_path)) == f"pkg (process {os.getpid()})"
        database.execute("COMMIT")
        database.execute("BEGIN EXCLUSIVE")
        assert at_work(str(tmp_path)) == "pkg"
        database.execute("ROLLBACK")
        database.execute("UPDATE pkg_lock SET exclusive = 0")
        assert at_work(str(tmp_path)) == ""


def test_a_pkg_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    with contextlib.closing(pkg_database(tmp_path)) as database:
        database.execute("UPDATE pkg_lock SET exclusive = 1, advisory = 1")
        for pid in (ended.pid, -1, 0, 1 << 60):
            database.execute("INSERT INTO pkg_lock_pid VALUES (?)", [pid])
    assert at_work(str(tmp_path)) == ""


@pytest.mark.parametrize("content", ["", "no database", "SQLite format 3\0"])
def test_a_database_that_is_none_keeps_nobody_waiting(tmp_path: Path, content: str) -> None:
    write(tmp_path, {"/var/db/pkg/local.sqlite": content})
    assert at_work(str(tmp_path)) == ""
    assert sorted(os.listdir(tmp_path / "var/db/pkg")) == ["local.sqlite"]


@pytest.mark.root
def test_a_lock_that_may_not_be_opened_is_seen_all_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "var/lib/dpkg/lock-frontend"
    with held(lock) as pid:
        for place in [tmp_path, *tmp_path.parents]:
            if place.stat().st_uid == 0 and place != Path("/tmp") and place != Path("/"):
                place.chmod(0o755)
        lock.chmod(0o640)
        read, written = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setuid(65534)
                os.write(written, at_work(str(tmp_path)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 100).decode() == f"dpkg (process {pid})"


def test_a_look_leaves_the_lock_to_the_package_manager(tmp_path: Path) -> None:
    lock = tmp_path / "var/lib/dpkg/lock"
    write(tmp_path, {"/var/lib/dpkg/lock": ""})
    with lock.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert at_work(str(tmp_path)) == ""  # nobody but we hold it
    assert at_work(str(tmp_path)) == ""
    with held(lock):
        pass


def test_a_link_out_of_the_sysroot_is_not_followed(tmp_path: Path) -> None:
    with held(tmp_path / "outside"):
        write(
            tmp_path / "top", {"/var/lib/dpkg/lock": f"-> {tmp_path}/outside", "/var/lib/pacman/db.lck/": ""}
        )
        os.mkfifo(tmp_path / "top/var/lib/dpkg/lock-frontend")
        assert at_work(str(tmp_path / "top")) == ""


def test_waiting_ends_when_the_lock_is_free(tmp_path: Path) -> None:
    with held(tmp_path / "var/lib/dpkg/lock"):
        with pytest.raises(TryAgain, match=r"cannot refresh cvs: dpkg .* is at work") as caught:
            wait_until_idle(str(tmp_path), time.monotonic() + 0.2, name="cvs")
        assert caught.value.code == 75
        wait_until_idle(str(tmp_path), time.monotonic() + 600, stopped=lambda: True)
    wait_until_idle(str(tmp_path), 0.0)


def test_the_state_changes_with_every_run(tmp_path: Path) -> None:
    write(tmp_path, {"/var/lib/dpkg/status": "one"})
    before = state_of(str(tmp_path))
    assert state_of(str(tmp_path)) == before
    write(tmp_path, {"/var/lib/dpkg/status-new": "two"})
    (tmp_path / "var/lib/dpkg/status-new").rename(tmp_path / "var/lib/dpkg/status")
    assert state_of(str(tmp_path)) != before
    assert databases(str(tmp_path)) == [f"{tmp_path}/var/lib/dpkg/status"]
