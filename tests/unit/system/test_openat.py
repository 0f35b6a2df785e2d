"""Opening and removing below a descriptor, with and without openat2(2)."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.system import syscalls
from chrootbuild.system.openat import open_beneath, remove_tree


@pytest.fixture(params=["openat2", "steps"])
def top(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    if request.param == "steps":

        def absent(*_: object) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(syscalls, "openat2", absent)
    (tmp_path / "victim").mkdir()
    (tmp_path / "top/a/b").mkdir(parents=True)
    (tmp_path / "top/a/file").write_text("x")
    fd = os.open(tmp_path / "top", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_way_without_links_is_open(top: int) -> None:
    os.close(open_beneath(top, "a/b"))
    os.close(open_beneath(top, "a/file", os.O_RDONLY))


@pytest.mark.parametrize("where", ["a", "a/b"])
@pytest.mark.parametrize("text", ["{victim}", "../../victim", ".", "nothing"])
def test_a_link_is_refused_wherever_it_is(top: int, tmp_path: Path, where: str, text: str) -> None:
    os.rename(tmp_path / "top" / where, tmp_path / "away")
    (tmp_path / "top" / where).symlink_to(text.format(victim=tmp_path / "victim"))
    for flags in (os.O_RDONLY | os.O_DIRECTORY, os.O_RDONLY):
        with pytest.raises(OSError) as raised:  # noqa: PT011 (the number is looked at)
            open_beneath(top, where, flags)
        assert raised.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_a_path_longer_than_path_max_is_walked(top: int) -> None:
    fd = open_beneath(top, "a")
    for _ in range(30):
        os.mkdir("n" * 255, dir_fd=fd)
        deeper = open_beneath(fd, "n" * 255)
        os.close(fd)
        fd = deeper
    ino = os.fstat(fd).st_ino
    os.close(fd)
    deepest = open_beneath(top, "/".join(["a", *["n" * 255] * 30]))
    assert os.fstat(deepest).st_ino == ino
    os.close(deepest)
    remove_tree(top, "a")
    assert os.listdir(top) == []


def test_removing_follows_no_link(top: int, tmp_path: Path) -> None:
    (tmp_path / "victim/file").write_text("the victim's")
    (tmp_path / "top/a/out").symlink_to(tmp_path / "victim")
    (tmp_path / "top/a/b/out").symlink_to("../../../victim")
    (tmp_path / "top/link").symlink_to(tmp_path / "victim")
    for name in ("link", "a", "nothing"):
        remove_tree(top, name)
    assert os.listdir(top) == []
    assert (tmp_path / "victim/file").read_text() == "the victim's"


def test_more_levels_than_stack_or_descriptors(top: int) -> None:
    """Moved up as they are met: neither Python's stack nor the limit of open files is in the way."""
    here = open_beneath(top, "a")
    for number in range(1500):
        os.mkdir(".0" if number % 2 else "d", dir_fd=here)  # the names that the removal makes up, too
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        deeper = open_beneath(here, ".0" if number % 2 else "d")
        os.close(here)
        here = deeper
    os.close(here)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
    try:
        remove_tree(top, "a")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert os.listdir(top) == []


def test_empty_directories_with_the_names_that_the_removal_makes_up(top: int) -> None:
    """rename(2) replaces an empty directory without a word."""
    for number in range(20):
        os.mkdir(f"a/.{number}", dir_fd=top)
        os.makedirs(f"/proc/self/fd/{top}/a/x{number}/d/e")
    remove_tree(top, "a")
    assert os.listdir(top) == []


def test_no_descriptor_is_left_open(top: int, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "top/link").symlink_to("a")
    for path in ("a/b", "link/b", "a/nothing", "a/file/x"):
        with contextlib.suppress(OSError):
            os.close(open_beneath(top, path))
    remove_tree(top, "a")
    assert len(os.listdir("/proc/self/fd")) == before
