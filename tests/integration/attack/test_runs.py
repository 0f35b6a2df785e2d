"""check, learn and enter in a hostile root: nothing outside is touched, and nothing is left."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chrootbuild.enter.enter import enter
from tests.integration.attack.test_race import swapping
from tests.support.confine_lab import make_root
from tests.support.hostile_lab import MARK, calm, make_shop, nothing_left, unmount_all, victim
from tests.support.limited import run
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.strace, pytest.mark.namespaces]

_nothing_left = pytest.fixture(nothing_left, autouse=True)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    yield make_shop(tmp_path)
    unmount_all(tmp_path)


Attack = Callable[[Path, Path], object]  # the root, the victim


def _away(path: Path) -> None:
    if os.path.lexists(path):
        os.rename(path, f"{path}.away")


def _link(where: str, to: str) -> Attack:
    def attack(root: Path, victim: Path) -> None:
        _away(root / where)
        (root / where).symlink_to(to.format(victim=victim))

    return attack


def _made(where: str, make: Callable[[Path], object]) -> Attack:
    def attack(root: Path, _: Path) -> None:
        _away(root / where)
        make(root / where)

    return attack


def _hard_link(where: str) -> Attack:
    def attack(root: Path, victim: Path) -> None:
        _away(root / where)
        os.link(victim / "file", root / where)

    return attack


def _tool(attack: Attack) -> Attack:
    def made(root: Path, victim: Path) -> None:
        (root / "sbin").mkdir()
        attack(root, victim)

    return made


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def _mount(where: str, *options: str) -> Attack:
    def attack(root: Path, victim: Path) -> None:
        argv = ["mount", *(option.format(victim=victim) for option in options), str(root / where)]
        subprocess.run(argv, check=True)

    return attack


ROOTS: dict[str, Attack] = {
    "top-is-link": _link("etc", "{victim}/dir"),
    "tree-is-link": _link("etc/app", "{victim}/dir"),
    "tree-is-link-of-dots": _link("etc/app", "../../../../victim/dir"),
    "file-is-link": _link("etc/greeting", "{victim}/file"),
    "file-is-hard-link": _hard_link("etc/greeting"),
    "file-is-fifo": _made("etc/greeting", os.mkfifo),
    "file-is-socket": _made("etc/greeting", _socket),
    "file-is-zero": _made("etc/greeting", lambda path: os.mknod(path, 0o20666, os.makedev(1, 5))),
    "program-is-link": _link("bin/does", "{victim}/dir/does"),
    "program-is-hard-link": _hard_link("bin/does"),
    "programs-are-link": _link("bin", "{victim}/dir"),
    "state-is-link": _link("var/lib/x", "{victim}/dir/x"),
    "state-above-is-link": _link("var", "{victim}/dir"),
    "state-file-is-link": _link("var/lib/x/data", "{victim}/file"),
    "state-file-is-hard-link": _hard_link("var/lib/x/data"),
    "state-file-is-fifo": _made("var/lib/x/data", os.mkfifo),
    "tmp-is-link": _link("tmp", "{victim}/dir"),
    "tools-are-link": _link("sbin", "{victim}/dir"),
    "tool-is-link": _tool(_link("sbin/tool", "{victim}/file")),
    "tool-is-fifo": _tool(_made("sbin/tool", os.mkfifo)),
    "mount-on-tree": _mount("etc/app", "-t", "tmpfs", "none"),
    "bind-on-tree": _mount("etc/app", "--bind", "{victim}/dir"),
    "bind-on-file": _mount("etc/greeting", "--bind", "{victim}/file"),
    "bind-on-state": _mount("var/lib/x", "--bind", "{victim}/dir/x"),
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "check": ("check", "x"),
    "learn": ("learn", "x"),
    "enter": ("enter", "x", "/sbin/tool", "say", MARK, "write", "/tmp/made"),
}


# learn does what check does, and builds before: these are enough for it.
LEARNED = (
    "tree-is-link",
    "file-is-hard-link",
    "program-is-link",
    "state-is-link",
    "state-file-is-link",
    "bind-on-tree",
)


@pytest.mark.parametrize(
    ("name", "command"),
    [(name, word) for name in ROOTS for word in COMMANDS if word != "learn" or name in LEARNED],
)
def test_a_root(shop: Workshop, name: str, command: str) -> None:
    shop.build()
    ROOTS[name](shop.root, shop.folder.parent / "victim")
    before = victim(shop)
    said = calm(run(shop.folder, *COMMANDS[command]))
    assert victim(shop) == before
    assert said.code == 0 or "error" in said.text or "Too many levels" in said.text, said.text
    assert not os.path.lexists(shop.root / "sbin/tool") or name.startswith("tool")


@pytest.mark.parametrize("where", ["etc", "etc/app", "var/lib/x"])
def test_a_race(shop: Workshop, where: str) -> None:
    """A directory is a link out at every other moment, while everything runs again and again."""
    shop.build()
    evil = shop.root / "evil"
    evil.symlink_to(shop.folder.parent / "victim/dir")
    before = victim(shop)
    with swapping(shop.root / where, evil):
        for number in range(4):
            for command in ("check", "enter", *(["learn"] if number % 4 == 0 else [])):
                calm(run(shop.folder, *COMMANDS[command]))
    assert victim(shop) == before


def test_a_helper_that_is_late_opens_nothing_in_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pivot_root(2) moves every process of a mount namespace: who opens /dev/null then opens the root's."""
    close = socket.socket.close

    def late(channel: socket.socket) -> None:
        time.sleep(0.2)
        close(channel)

    monkeypatch.setattr(socket.socket, "close", late)
    assert enter(str(make_root(tmp_path)), ("does", "say", MARK)) == 0
