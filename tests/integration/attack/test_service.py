"""check and learn with a hostile service: all of it ends, nothing gets out, nothing is left."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support.confine_lab import running
from tests.support.hostile_lab import ALL, MARK, calm, make_shop, nothing_left, service, target, victim
from tests.support.limited import run
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.strace, pytest.mark.namespaces]

_nothing_left = pytest.fixture(nothing_left, autouse=True)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr("chrootbuild.check.service._STOP_SECONDS", 0.5)
    return make_shop(tmp_path)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr("chrootbuild.check.service._STOP_SECONDS", 0.5)
    return make_shop(tmp_path, shell=True)


def test_the_classic_way_out_of_a_chroot_leads_nowhere(shop: Workshop) -> None:
    outside = shop.folder.parent / "victim"
    target(shop, "break-out", "write", f"{outside}/file", "cat", f"{outside}/dir/x/data")
    before = victim(shop)
    for command in ("check", "learn"):
        assert calm(run(shop.folder, command, "x")).code == 1
    assert victim(shop) == before


@pytest.mark.parametrize("pid", ["1", "self", "2"])
def test_proc_root_leads_nowhere(shop: Workshop, pid: str) -> None:
    outside = shop.folder.parent / "victim"
    target(shop, "write", f"/proc/{pid}/root{outside}/file", more='mounts = ["/proc"]')
    before = victim(shop)
    shop.build()
    assert calm(run(shop.folder, "check", "x")).code == 1
    assert victim(shop) == before


@pytest.mark.parametrize(
    "words", [("mount",), ("mknod",), ("unshare",), ("kill", "9", "1"), ("attach", "1")]
)
def test_what_needs_more_than_a_service_does_is_refused_or_stays_inside(
    shop: Workshop, words: tuple[str, ...]
) -> None:
    target(shop, *words, more='mounts = ["/proc"]')
    shop.build()
    calm(run(shop.folder, "check", "x"))
    assert not os.path.lexists(shop.root / "tmp/node")


@pytest.mark.parametrize(
    "words", [("deaf",), ("background",), ("background", "deaf"), ("deaf", "fork-and-die")]
)
def test_what_stays_alive_is_ended_and_gives_its_port_back(shop: Workshop, words: tuple[str, ...]) -> None:
    target(shop, *words)
    shop.build()
    for _ in range(2):
        calm(run(shop.folder, "check", "x"))
        assert running(MARK) == []


# Processes that start each other for ever, each in a session of its own.
SWARM = """trap '' TERM HUP; setsid sh -c "$1" sh "$1" "$2" & sleep 0.1; exec sh -c "$1" sh "$1" "$2" """


def test_a_swarm_is_ended(shell: Workshop) -> None:
    start = ["/usr/bin/sh", "-c", SWARM, "sh", SWARM, MARK]
    service(shell, start, binaries=ALL, timeout=0.5, ready="true")
    shell.build()
    assert calm(run(shell.folder, "check", "x")).code == 1


def test_a_log_without_end(shop: Workshop) -> None:
    """300 MB are printed: neither memory nor the disk nor what is said grows with it."""
    target(shop, "spam", "300000000", "exit", "1")
    shop.build()
    before = os.statvfs("/tmp").f_bfree
    said = calm(run(shop.folder, "check", "x", memory=400 << 20))
    assert said.code == 1
    assert len(said.text) < 20_000
    assert before - os.statvfs("/tmp").f_bfree < (250 << 20) // os.statvfs("/tmp").f_bsize


@pytest.mark.parametrize("command", ["check", "learn"])
def test_what_it_prints_moves_no_cursor(shop: Workshop, command: str) -> None:
    words = ("say", "\x1b[2J\x1b]0;evil\x07\x9b", "complain", "\x1b[1A\rx  serves", "binary", "exit", "1")
    target(shop, *words)
    shop.build()
    said = calm(run(shop.folder, command, "x"))
    assert said.code == 1
    assert "\\x1b[2J" in said.text
    assert not set(said.text) & {chr(number) for number in (*range(9), *range(11, 32), *range(127, 160))}


LINKS = """\
out=$1; cd /var/lib/x
ln -s "$out/file" data; ln -s "$out/dir" dir; ln -s / top; ln -s .. up; ln -s loop loop; mkfifo fifo
ln -s "$out/file" /tmp/service.log; ln -s "$out/dir" /tmp/log; mkfifo /tmp/fifo
mv /etc/app /etc/app.away; ln -s "$out/dir" /etc/app; rm /etc/greeting; ln -s "$out/file" /etc/greeting
mkdir -p deep/a; ln -s ../../../../../../../.. deep/a/b
exec does say "$2" tcp 127.0.0.1 24900
"""


@pytest.mark.parametrize(
    "command", [("check",), ("check", "--logs", "LOGS"), ("learn",), ("learn", "--minimize")]
)
def test_links_that_it_leaves_are_followed_by_nobody(shell: Workshop, command: tuple[str, ...]) -> None:
    outside, logs = shell.folder.parent / "victim", shell.folder / "logs"
    service(shell, ["/usr/bin/sh", "-c", LINKS, "sh", str(outside), MARK], binaries=ALL)
    logs.mkdir()
    shell.build()
    before = victim(shell)
    words = [str(logs) if word == "LOGS" else word for word in command]
    said = calm(run(shell.folder, words[0], "x", *words[1:]))
    assert said.code == 0, said.text
    assert victim(shell) == before
    learned = shell.folder / "targets/x.learned.toml"
    assert "victim" not in (learned.read_text() if learned.exists() else "")
    assert all(path.is_file() and not path.is_symlink() for path in logs.iterdir())


@pytest.mark.parametrize("ready", ["file:/var/lib/x/pid", "unix:/var/lib/x/socket"])
def test_ready_is_looked_for_inside(shell: Workshop, ready: str) -> None:
    """The state becomes a link to a directory of the host's that has what is waited for."""
    outside = shell.folder.parent / "victim/dir"
    script = f'rmdir /var/lib/x && ln -s {outside} /var/lib/x; exec sleep 60 # "$1"'
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(outside / "socket"))
        start = ["/usr/bin/sh", "-c", script, "sh", MARK]
        service(shell, start, binaries=ALL, ready=ready, timeout=0.5, probe=["true"])
        shell.build()
        said = calm(run(shell.folder, "check", "x"))
    assert said.code == 1
    assert "is not there" in said.text
