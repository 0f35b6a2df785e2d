"""Content that the owner of an installed file changes through a mapping, which leaves every time as it was."""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.compare.change import KEEP
from chrootbuild.state.stamp import is_fresh
from tests.support.sandbox import Sandbox, make_sandbox

pytestmark = pytest.mark.root

OWNER = 65534
WHERE = "etc/app/a.conf"


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Map a file as its owner does before a build, the page already written to and the mtime put back.

    The kernel takes the ctime at the first write to a clean page alone.
    """
    times = path.stat()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED) as view:
        view[0] = view[0]
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        yield view


def _change(box: Sandbox, view: mmap.mmap) -> None:
    before = (box.root / WHERE).stat()
    view[0] ^= 1
    after = (box.root / WHERE).stat()
    assert (before.st_ctime_ns, before.st_mtime_ns) == (after.st_ctime_ns, after.st_mtime_ns)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a tmpfs: a disk's pages are clean again once they were written back, at any moment."""
    folder = tmp_path / "memory"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _settle(box: Sandbox) -> None:
    """Build until the stamp holds: what was just written is looked at once more."""
    for _ in range(50):
        box.build()
        if is_fresh(str(box.state), "t") is not None:
            return
        time.sleep(0.02)
    raise AssertionError("no stamp")


def _exposed(folder: Path, how: str) -> Sandbox:
    box = make_sandbox(folder)
    source = box.sysroot / WHERE
    if how == "owner":
        os.chown(source, OWNER, OWNER)
    else:
        source.chmod(int(how, 8))
    box.build()
    return box


WAYS = ["owner", "0664", "0646"]


@pytest.mark.parametrize("how", WAYS)
def test_a_byte_changed_through_a_mapping_is_mended(memory: Path, how: str) -> None:
    """The mapping is older than the build that recorded the file, the byte younger."""
    box = _exposed(memory, how)
    with mapped(box.root / WHERE) as view:
        _settle(box)
        _change(box, view)
        change = box.plan().comparison.changes[f"/{WHERE}"]
        assert (change.action, change.reason) == ("replace", "content differs from what was installed")
        done = box.run("build")
        assert done.returncode == 0, done.stderr
        assert f"/{WHERE}  content differs" in done.stdout
    assert (box.root / WHERE).read_text() == f"{WHERE} 1\n"
    assert box.run("build").stdout == ""


@pytest.mark.parametrize("how", WAYS)
def test_a_build_in_which_nothing_of_it_is_stale_finds_it_as_well(memory: Path, how: str) -> None:
    """Another file's source changed: the root's files are not vouched for by what the last build saw."""
    box = _exposed(memory, how)
    with mapped(box.root / WHERE) as view:
        _settle(box)
        _change(box, view)
        (box.sysroot / "usr/share/app/one").write_text("other\n")
        assert box.run("build").returncode == 0
    assert (box.root / WHERE).read_text() == f"{WHERE} 1\n"


def test_what_only_we_can_write_is_not_read(tmp_path: Path) -> None:
    """Its signature proves it, so that a null build costs nothing more."""
    box = make_sandbox(tmp_path)
    _settle(box)
    assert b"\0r\0" not in (box.state / "t.stamp").read_bytes()
    assert all(change.action == KEEP for change in box.plan().comparison.changes.values())
