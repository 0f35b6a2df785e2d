"""Filesystems that are full, read-only, stacked, or know little; each in a mount of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.build.job import begin, run
from chrootbuild.errors import Failure
from tests.support.sandbox import TARGET, Sandbox, make_sandbox
from tests.support.trees import tree

pytestmark = pytest.mark.root


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    yield make_sandbox(tmp_path)
    while True:
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split()[4] for line in file if line.split()[4].startswith(f"{tmp_path}/")]
        if not mounts:
            break
        subprocess.run(["umount", mounts[-1]], check=True)


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def _fresh(tmp_path: Path, word: str) -> dict[str, str]:
    other = make_sandbox(tmp_path / f"fresh-{word}")
    other.edit(word)
    other.build()
    return tree(other.root)


def _ext4(box: Sandbox) -> None:
    image = box.top / "image"
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    _mount("-o", "loop", image, box.root)
    (box.root / "lost+found").rmdir()


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "ext4", "bind"])
def test_a_root_that_is_a_mount_point(box: Sandbox, tmp_path: Path, kind: str) -> None:
    box.root.mkdir(parents=True)
    if kind == "ext4":
        _ext4(box)
    elif kind == "bind":  # of the same filesystem: only the mount itself tells
        (tmp_path / "real").mkdir()
        _mount("--bind", tmp_path / "real", box.root)
    else:
        _mount("-t", kind, "none", box.root)
    for word in ("1", "2", "3"):
        box.edit(word)
        with begin(box.project, box.target()) as job:
            stage = box.root / ".chrootbuild"
            assert not box.stage.exists()
            assert (stage.stat().st_uid, stage.stat().st_mode & 0o7777) == (0, 0o700)
            run(job)
        assert tree(box.root) == _fresh(tmp_path, word)
        assert box.verify() == []
        assert box.build() == 0
    box.clean()
    assert tree(box.root) == {}


@pytest.mark.parametrize("upper", ["same", "tmpfs"])
def test_a_root_in_an_overlay(box: Sandbox, tmp_path: Path, upper: str) -> None:
    """What was built below is replaced above: there a directory of the lower layer cannot be exchanged."""
    box.build()
    lower, layers = tmp_path / "lower", tmp_path / "layers"
    os.rename(box.root.parent, lower)
    box.root.parent.mkdir()
    layers.mkdir()
    if upper == "tmpfs":
        _mount("-t", "tmpfs", "none", layers)
    (layers / "upper").mkdir()
    (layers / "work").mkdir()
    below = tree(lower)
    options = f"lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work"
    _mount("-t", "overlay", "-o", options, "none", box.root.parent)
    for word in ("2", "3"):
        box.edit(word)
        box.build()
        assert tree(box.root) == _fresh(tmp_path, word)
        assert box.verify() == []
        assert box.build() == 0
    assert tree(lower) == below


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_filesystem(box: Sandbox, what: str) -> None:
    box.root.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", "size=1m,nr_inodes=60", "none", box.root)
    box.build()
    before = tree(box.root)
    box.edit("2")
    if what == "bytes":
        (box.sysroot / "usr/share/app/big").write_bytes(os.urandom(2 << 20))
    else:
        for number in range(50):
            (box.sysroot / f"usr/share/app/many-{number}").write_text("")
    result = box.run("build", "t")
    assert result.returncode == 1
    assert "No space left on device" in result.stderr
    assert "hint: make room" in result.stderr
    assert "Traceback" not in result.stderr
    assert {
        path: line for path, line in tree(box.root).items() if not path.startswith("/.chrootbuild")
    } == before
    for path in (box.sysroot / "usr/share/app").glob("[bm]*"):
        path.unlink()
    box.build()
    assert (box.root / "usr/share/app/one").read_text() == "one 2\n"
    assert set(tree(box.root)) == set(before)


def test_a_read_only_filesystem(box: Sandbox) -> None:
    box.build()
    _mount("--bind", box.root.parent, box.root.parent)
    _mount("-o", "remount,ro,bind", box.root.parent)
    before = tree(box.root)
    box.edit("2")
    for command in ("build", "clean"):
        result = box.run(command, "t")
        assert result.returncode == 1
        assert "Read-only file system" in result.stderr
        assert "Traceback" not in result.stderr
    assert box.run("plan", "t").returncode == 0
    assert box.run("verify", "t").returncode == 0
    assert tree(box.root) == before


def test_the_daemons_own_mount_is_left_alone(box: Sandbox) -> None:
    box.write_target(TARGET.replace("[text]", 'mounts = ["/proc"]\n[text]'))
    box.build()
    _mount("-t", "proc", "none", box.root / "proc")
    _mount("-t", "tmpfs", "none", box.root / "var/app")
    (box.root / "var/app/data").write_text("the daemon's")
    box.edit("2")
    assert box.build() > 0
    assert box.build() == 0
    assert box.verify() == []
    with pytest.raises(Failure, match="another filesystem is mounted there"):
        box.clean()
    assert (box.root / "var/app/data").read_text() == "the daemon's"


def test_sources_on_another_filesystem(box: Sandbox) -> None:
    _mount("-t", "tmpfs", "none", box.sysroot / "usr/share/app")
    (box.sysroot / "usr/share/app/one").write_text("there")
    box.build()
    assert (box.root / "usr/share/app/one").read_text() == "there"
    box.edit("2")
    box.build()
    assert (box.root / "usr/share/app/one").read_text() == "one 2\n"


def test_a_source_that_changes_while_it_is_read(box: Sandbox) -> None:
    """What is recorded is what was copied: a writer that never rests ends in one error, or in what is consistent."""
    source = box.sysroot / "usr/share/app/one"
    source.write_bytes(b"a" * (1 << 20))
    child = os.fork()
    if child == 0:
        try:
            while True:
                for letter in (b"a", b"b"):
                    with open(source, "r+b") as file:
                        file.write(letter * (1 << 20))
        finally:
            os._exit(0)
    try:
        for _ in range(10):
            failures = box.try_to(box.build)
            assert all("it changes while it is read" in str(failure) for failure in failures)
            assert failures or box.verify() == []
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    box.build()
    assert (box.root / "usr/share/app/one").read_bytes() == source.read_bytes()
    assert box.verify() == []


def test_a_default_acl_of_the_parent_is_not_inherited(box: Sandbox) -> None:
    box.root.parent.mkdir(parents=True)
    # u::rwx,u:65534:rwx,g::r-x,m::rwx,o::r-x in the form of linux/posix_acl_xattr.h
    entries = [
        (1, 7, 0xFFFFFFFF),
        (2, 7, 65534),
        (4, 5, 0xFFFFFFFF),
        (0x10, 7, 0xFFFFFFFF),
        (0x20, 5, 0xFFFFFFFF),
    ]
    value = (2).to_bytes(4, "little")
    for tag, bits, number in entries:
        value += tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + number.to_bytes(4, "little")
    os.setxattr(box.root.parent, "system.posix_acl_default", value)
    box.build()
    assert box.verify() == []
    made = [path for path in box.root.rglob("*") if not path.is_symlink()]
    assert {name for path in made for name in os.listxattr(path)} == set()


def test_more_directories_than_descriptors(box: Sandbox) -> None:
    for number in range(200):
        (box.sysroot / f"usr/share/app/d{number}").mkdir()
        (box.sysroot / f"usr/share/app/d{number}/f").write_text("")
    for word in ("1", "2"):
        box.edit(word)
        result = box.run("build", "t", before=("prlimit", "--nofile=128"))
        assert result.returncode == 0, result.stderr
    assert (box.root / "usr/share/app/d199/f").read_text() == "f 2\n"
    assert box.run("verify", "t", before=("prlimit", "--nofile=128")).returncode == 0
    assert box.run("clean", "t", before=("prlimit", "--nofile=128")).returncode == 0
