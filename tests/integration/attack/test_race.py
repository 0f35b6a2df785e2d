"""A directory of the root is swapped for a link out of it, as fast as the machine can, while we work."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.root.tree import Root, open_root
from chrootbuild.system import syscalls
from chrootbuild.system.openat import STEP
from tests.support.sandbox import make_sandbox, state_of
from tests.support.trees import tree

pytestmark = pytest.mark.root

ROUNDS = 10_000


@contextlib.contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    """Exchange two names in another process, without end."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                syscalls.renameat2(-100, str(first), -100, str(second), syscalls.RENAME_EXCHANGE)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Root, Path, Path]]:
    """Return a root with the directory a/d, and beside it the link "evil" to a victim with the same names."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("the victim's")
    (tmp_path / "root/a/d").mkdir(parents=True)
    (tmp_path / "root/evil").symlink_to(tmp_path / "victim")
    with open_root(str(tmp_path / "root")) as root:
        yield root, tmp_path / "root/a/d", tmp_path / "root/evil"


def test_ten_thousand_rounds(place: tuple[Root, Path, Path], tmp_path: Path) -> None:
    root, directory, evil = place
    victim = state_of(tmp_path / "victim")
    secret = hashlib.sha256(b"the victim's").hexdigest()
    ways = {"in": 0, "refused": 0}
    (tmp_path / "root/new").write_text("ours")
    with swapping(directory, evil):
        for number in range(ROUNDS):
            root.release()
            try:
                match number % 6:
                    case 0:
                        fd, name = root.parent("/a/d/file")
                        os.link("new", name, src_dir_fd=root.fd, dst_dir_fd=fd)
                    case 1:
                        seen = root.observe("/a/d/file")
                        assert seen is None or seen.sha256 != secret
                        fd, name = root.parent("/a/d")
                    case 2:
                        root.set_directory("/a/d", 0o700 + number % 8, (number, number))
                    case 3:
                        assert "victim" not in root.readlink("/a/d/file")
                        fd, name = root.parent("/a/d/x")
                    case 4:
                        fd, name = root.parent("/a/d/file")
                        root.unlink("/a/d/file")
                    case _:
                        fd, name = root.parent("/a/d/sub")
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(name, dir_fd=fd)
                        root.rmdir("/a/d/sub")
                ways["in"] += 1
            except Failure:
                ways["refused"] += 1
            except FileExistsError:
                pass  # by an earlier round, whose removal met the link
    assert state_of(tmp_path / "victim") == victim
    # Both ends of the race were met, or it was none.
    assert min(ways.values()) > ROUNDS // 100, ways


def test_the_race_leads_out_who_opens_by_path(place: tuple[Root, Path, Path], tmp_path: Path) -> None:
    """The other half of the proof: the same race with the same check, and a path instead of a descriptor."""
    _, directory, evil = place
    outside = (tmp_path / "victim").stat().st_ino
    with swapping(directory, evil):
        for _ in range(100 * ROUNDS):
            if not directory.is_symlink():
                fd = os.open(directory, STEP & ~os.O_NOFOLLOW)
                led_out = os.fstat(fd).st_ino == outside
                os.close(fd)
                if led_out:
                    return
    pytest.fail("this race was never lost: it proves nothing")


@pytest.mark.parametrize("where", ["etc/app", "usr/share/app", "etc", "var/app"])
def test_builds(tmp_path: Path, where: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    evil = box.root / "evil"
    evil.symlink_to(box.victim / "dir")
    victim = state_of(box.victim)
    with swapping(box.root / where, evil):
        for number in range(25):
            box.edit(str(number))
            with contextlib.suppress(Failure):
                box.build()
            with contextlib.suppress(Failure):
                box.verify()
            if number % 5 == 4:
                with contextlib.suppress(Failure):
                    box.clean()
    assert state_of(box.victim) == victim
    # The race over, one build makes it right again.
    if evil.is_dir() and not evil.is_symlink():
        os.rename(evil, tmp_path / "old")
    else:
        evil.unlink()
    box.build()
    fresh = make_sandbox(tmp_path / "fresh")
    fresh.edit("24")
    fresh.build()
    found, wanted = tree(box.root), tree(fresh.root)
    assert {path: found.get(path) for path in wanted} == wanted
