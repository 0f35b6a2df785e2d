"""A process that is root in a chroot, without any capability, holds directories open while builds exchange them.

It then tries to walk out: a directory that had left the root would have a ".." outside of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chrootbuild.errors import Failure
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system import syscalls
from tests.support.sandbox import Sandbox, make_sandbox, state_of
from tests.support.trees import tree

pytestmark = pytest.mark.root

MARKER = "marker-outside"
_NO_NEW_PRIVS = 38  # linux/prctl.h


def _drop_all() -> None:
    """Give up every capability, for good: capabilities(7)."""
    for capability in range(64):
        with contextlib.suppress(OSError):
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
    syscalls.prctl(_NO_NEW_PRIVS, 1)
    syscalls.capset(0, 0)


@dataclass(frozen=True, slots=True)
class Prisoner:
    """A process in the root: it walks when told, and says by which of its descriptors it got out."""

    pid: int
    ask: int
    answer: int

    def walk(self) -> str:
        """Return the ways by which it reached the marker outside; empty where it stayed in."""
        os.write(self.ask, b"w")
        return os.read(self.answer, 4096).decode().strip()


@contextlib.contextmanager
def prisoner(root: Path, *directories: str) -> Iterator[Prisoner]:
    """Start a process in ``root`` that holds all of ``directories`` open, and one of them as its own."""
    ask, answer = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(root)
            os.chdir(directories[0])
            held = {path: os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in directories}
            _drop_all()
            os.write(answer[1], b"ready")
            while os.read(ask[0], 1) == b"w":
                os.write(answer[1], (" ".join(_ways_out(held)) or "\n").encode())
        finally:
            os._exit(0)
    try:
        assert os.read(answer[0], 5) == b"ready"
        yield Prisoner(pid, ask[1], answer[0])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (*ask, *answer):
            os.close(fd)


def _ways_out(held: dict[str, int]) -> list[str]:
    """Return by which directory, and how far above it, the marker was to be seen."""
    found = []
    for path, fd in {**held, "its own": os.open(".", os.O_RDONLY | os.O_DIRECTORY)}.items():
        for depth in range(12):
            with contextlib.suppress(OSError):
                os.close(os.open("../" * depth + MARKER, os.O_RDONLY, dir_fd=fd))
                found.append(f"{path}:{depth}")
    return found


def _in(box: Sandbox) -> None:
    """Put the marker wherever a directory that left the root could lead."""
    for place in (box.top, box.top / "p", box.root.parent):
        (place / MARKER).write_text("the host's")


def _exchanged(box: Sandbox, number: int) -> None:
    box.edit(str(number))
    box.build()


def _replaced(box: Sandbox, number: int) -> None:
    """Let a file come where the directory is, and the directory where the file is."""
    place = box.sysroot / "usr/share/app/deep"
    if number % 2:
        (place / "x").unlink()
        place.rmdir()
        place.write_text("a file now")
    else:
        place.unlink(missing_ok=True)
        place.mkdir()
        (place / "x").write_text("x")
    _exchanged(box, number)


def _smaller(box: Sandbox, number: int) -> None:
    """Let a directory go with all that is in it, and come back."""
    box.write_target('os = "linux"\nfiles = ["/etc/app/", "/etc/passwd"]\n' if number % 2 else _TREES)
    _exchanged(box, number)


def _cleaned(box: Sandbox, number: int) -> None:
    box.clean()
    _exchanged(box, number)


_TREES = 'os = "linux"\nfiles = ["/etc/app/", "/usr/share/app/", "/etc/passwd"]\n'


@pytest.mark.parametrize("change", [_exchanged, _replaced, _smaller, _cleaned])
def test_a_held_directory_does_not_leave_the_root(
    tmp_path: Path, change: Callable[[Sandbox, int], None]
) -> None:
    """Four rounds of it, in each with the directories that are there then."""
    box = make_sandbox(tmp_path, _TREES)
    box.build()
    _in(box)
    with contextlib.ExitStack() as inside:
        prisoners = []
        for number in range(1, 5):
            there = [
                path
                for path in ("/etc/app", "/etc", "/usr/share/app", "/usr/share/app/deep", "/usr")
                if (box.root / path[1:]).is_dir()
            ]
            prisoners.append(inside.enter_context(prisoner(box.root, *there)))
            change(box, number)
            assert [walker.walk() for walker in prisoners] == [""] * number
            assert not (box.root / ".chrootbuild").exists()
    assert box.verify() == []


def test_who_holds_a_directory_that_leaves_walks_out(tmp_path: Path) -> None:
    """The other half of the proof: the same prisoner, and a directory that is moved out of the root."""
    box = make_sandbox(tmp_path, _TREES)
    box.build()
    _in(box)
    with prisoner(box.root, "/etc/app") as walker:
        assert walker.walk() == ""
        os.rename(box.root / "etc/app", box.root.parent / "app")
        assert "/etc/app:1" in walker.walk()


# -- ROOT/.chrootbuild, planted ------------------------------------------------------------


def _link(box: Sandbox) -> None:
    (box.root / ".chrootbuild").symlink_to(box.victim / "dir")


def _file(box: Sandbox) -> None:
    os.link(box.victim / "file", box.root / ".chrootbuild")


def _full(box: Sandbox) -> None:
    """Be quicker than the build: what it is going to make is there, with links out in it."""
    place = box.root / ".chrootbuild"
    place.mkdir(mode=0o777)
    for name in ("etc", "etc/app", "link"):
        (place / name).mkdir()
        (place / name / "x").symlink_to(box.victim / "dir")


def _fifo(box: Sandbox) -> None:
    os.mkfifo(box.root / ".chrootbuild")


@pytest.mark.parametrize("plant", [_link, _file, _fifo, _full])
def test_a_planted_passage_is_removed(tmp_path: Path, plant: Callable[[Sandbox], None]) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    victim = state_of(box.victim)
    plant(box)
    box.edit("2")
    box.build()
    assert state_of(box.victim) == victim
    assert not os.path.lexists(box.root / ".chrootbuild")
    fresh = make_sandbox(tmp_path / "fresh")
    fresh.edit("2")
    fresh.build()
    assert tree(box.root) == tree(fresh.root)


def test_a_passage_of_another_owner_is_refused(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    place = box.root / ".chrootbuild"
    place.mkdir()
    (place / "state").write_text("the daemon's")
    os.chown(place, 65534, 65534)
    assert [finding.path for finding in box.verify()] == ["/.chrootbuild"]
    before = tree(box.root)
    box.edit("2")
    failures = box.try_to(box.build, box.clean)
    assert [failure.hint for failure in failures] == [
        "chrootbuild needs this name for itself; move it away"
    ] * 2
    assert tree(box.root) == before


def test_a_mount_on_the_passage_is_refused(tmp_path: Path) -> None:
    """A bind mount of the same filesystem: its device number does not tell it."""
    box = make_sandbox(tmp_path)
    box.build()
    place = box.root / ".chrootbuild"
    place.mkdir()
    before, victim = tree(box.root), state_of(box.victim)
    subprocess.run(["mount", "--bind", box.victim, place], check=True)
    try:
        box.edit("2")
        failures = box.try_to(box.build, box.clean)
        assert ["something is mounted there" in str(failure) for failure in failures] == [True] * 2
    finally:
        subprocess.run(["umount", place], check=True)
    assert (tree(box.root), state_of(box.victim)) == (before, victim)
    box.build()
    assert not place.exists()


@pytest.mark.namespaces
def test_the_box_does_not_show_the_passage(tmp_path: Path) -> None:
    """What a killed build left there is no part of the root for check and learn, nor a change of theirs."""
    root = tmp_path / "root"
    (root / ".chrootbuild/old").mkdir(parents=True)
    (root / ".chrootbuild/old/file").write_text("old")
    (root / "there").write_text("x")
    with confine(Confinement(str(root))) as box:
        with pytest.raises(FileNotFoundError):
            box.open("/.chrootbuild", os.O_RDONLY)
        os.close(box.open("/there", os.O_RDONLY))
        assert box.changed() == ()
    assert (root / ".chrootbuild/old/file").read_text() == "old"


def test_a_link_put_into_an_exchanged_directory_leads_nowhere(tmp_path: Path) -> None:
    """Who is root inside swaps a directory that was exchanged for a link out, while what is in it is moved back."""
    from chrootbuild.publish.step import Operation
    from chrootbuild.publish.swap import bring_back
    from chrootbuild.root.stage import open_passage, open_stage
    from chrootbuild.root.tree import open_root

    (tmp_path / "root/d/sub").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/late").write_text("the host's")
    with (
        open_root(str(tmp_path / "root")) as root,
        open_stage(root) as stage,
        open_passage(root, stage) as way,
    ):
        old = Path(way.path, "0" * 24)
        (old / "sub").mkdir(parents=True)
        (old / "sub/late").write_text("late")
        op = Operation("exchange", "/d", old.name, ours=("/d", "/d/sub"))
        place: Any = _Swapping(way.path, way.fd, old, tmp_path / "victim")
        with contextlib.suppress(Failure):
            bring_back(root, place, op)
    assert (tmp_path / "victim/late").read_text() == "the host's"


class _Swapping:
    """A passage in which a directory becomes a link after it was looked at."""

    def __init__(self, path: str, fd: int, old: Path, victim: Path) -> None:
        self.path = path
        self._fd, self._old, self._victim, self._asked = fd, old, victim, 0

    @property
    def fd(self) -> int:
        self._asked += 1
        if self._asked == 2:
            os.rename(self._old / "sub", self._old / "away")
            (self._old / "sub").symlink_to(self._victim)
        return self._fd
