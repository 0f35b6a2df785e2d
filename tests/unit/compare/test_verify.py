"""verify: every kind of drift, what is missing and what is extra; what is the daemon's is left alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from chrootbuild.compare.verify import verify
from chrootbuild.findings import Finding
from chrootbuild.root.tree import read_root
from chrootbuild.state.record import Installed, Record
from chrootbuild.system.signature import root_signature

UID, GID = os.geteuid(), os.getegid()


def _record(top: Path, seeds: tuple[str, ...] = ("/var/seed",)) -> Record:
    """Return a record of a tree as it is; var/open is the daemon's, seeds are left out."""
    entries = {}
    for path in sorted(top.rglob("*")):
        name, info = str(path)[len(str(top)) :], path.lstat()
        if name.startswith((*seeds, "/var/open/")):
            continue
        mode, proof = info.st_mode & 0o7777, root_signature(info)
        if path.is_symlink():
            entries[name] = Installed("link", 0, UID, GID, os.readlink(path), root=proof)
        elif path.is_dir():
            detail = "open" if name == "/var/open" else ""
            entries[name] = Installed("directory", mode, UID, GID, detail, root=proof)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entries[name] = Installed("file", mode, UID, GID, digest, mtime_ns=info.st_mtime_ns, root=proof)
    return Record(str(top), entries, seeds)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("etc/app", "var/open", "var/seed", "usr/lib"):
        (root / name).mkdir(parents=True)
    for name in ("etc/app/a", "etc/b", "usr/lib/liba.so.1.0", "var/open/x", "var/seed/y"):
        (root / name).write_text(name)
    (root / "usr/lib/liba.so.1").symlink_to("liba.so.1.0")
    return root


def _found(record: Record, top: Path) -> list[tuple[str, str, str]]:
    root = read_root(str(top))
    assert root is not None
    with root:
        findings: list[Finding] = list(verify(record, root))
    assert {finding.severity for finding in findings} <= {"error"}
    return sorted((finding.rule, finding.path, finding.message) for finding in findings)


def _same_size_and_mtime(top: Path) -> None:
    info = (top / "etc/b").stat()
    (top / "etc/b").write_text("ETC/B"[: info.st_size])
    os.utime(top / "etc/b", ns=(info.st_atime_ns, info.st_mtime_ns))


def _replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(top: Path) -> None:
        path = top / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        make(path)

    return change


DRIFT: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "nothing": (lambda _: None, []),
    "content": (lambda top: (top / "etc/b").write_text("longer than it was"), [("drift", "/etc/b")]),
    "content-of-equal-size-and-mtime": (_same_size_and_mtime, [("drift", "/etc/b")]),
    "mtime": (lambda top: os.utime(top / "etc/b", (1, 1)), [("drift", "/etc/b")]),
    "mode": (lambda top: (top / "etc/b").chmod(0o4755), [("drift", "/etc/b")]),
    "directory-mode": (lambda top: (top / "etc").chmod(0o1777), [("drift", "/etc")]),
    "xattr": (lambda top: os.setxattr(top / "etc/b", "user.x", b""), [("drift", "/etc/b")]),
    "link-text": (
        _replace("usr/lib/liba.so.1", lambda path: path.symlink_to("liba.so.1.1")),
        [("drift", "/usr/lib/liba.so.1")],
    ),
    "link-for-file": (_replace("etc/b", lambda path: path.symlink_to("app/a")), [("drift", "/etc/b")]),
    "fifo-for-file": (_replace("etc/b", os.mkfifo), [("drift", "/etc/b")]),
    "directory-for-file": (_replace("etc/b", os.mkdir), [("drift", "/etc/b")]),
    "link-for-directory": (
        _replace("etc/app", lambda path: path.symlink_to(".")),
        [("drift", "/etc/app"), ("missing", "/etc/app/a")],
    ),
    "missing-file": (lambda top: (top / "etc/b").unlink(), [("missing", "/etc/b")]),
    "missing-directory": (
        lambda top: shutil.rmtree(top / "etc/app"),
        [("missing", "/etc/app"), ("missing", "/etc/app/a")],
    ),
    "extra-file": (lambda top: (top / "etc/app/new\n").write_text(""), [("extra", "/etc/app/new\n")]),
    "extra-at-the-top": (lambda top: (top / "x").write_text(""), [("extra", "/x")]),
    "extra-tree-is-named-once": (
        lambda top: (top / "usr/new/deep/er").mkdir(parents=True),
        [("extra", "/usr/new")],
    ),
    "extra-beside-a-seed": (lambda top: (top / "var/other").mkdir(), [("extra", "/var/other")]),
    "in-an-open-directory": (lambda top: (top / "var/open/more").mkdir(), []),
    "in-a-seed": (lambda top: (top / "var/seed/y").write_text("the daemon's"), []),
    "a-seed-that-is-gone": (lambda top: shutil.rmtree(top / "var/seed"), []),
    "the-staging-inside": (lambda top: (top / ".chrootbuild").mkdir(), []),
}


@pytest.mark.parametrize("name", DRIFT)
def test_drift(top: Path, name: str) -> None:
    record = _record(top)
    change, wanted = DRIFT[name]
    change(top)
    assert [(rule, path) for rule, path, _ in _found(record, top)] == wanted


@pytest.mark.root
def test_owner(top: Path) -> None:
    record = _record(top)
    os.chown(top / "etc/b", 4242, 0)
    os.chown(top / "usr/lib/liba.so.1", 0, 4242, follow_symlinks=False)
    assert [path for _, path, _ in _found(record, top)] == ["/etc/b", "/usr/lib/liba.so.1"]


def test_memory_does_not_grow_with_what_is_in_the_root(top: Path) -> None:
    """Ten thousand names that somebody put there, and a file that is larger than any buffer."""
    with open(top / "etc/b", "wb") as file:
        file.truncate(256 << 20)
    record = _record(top)
    for number in range(10_000):
        (top / f"etc/app/extra-{number:05}").symlink_to("x")
    root = read_root(str(top))
    assert root is not None
    with root:
        tracemalloc.start()
        assert sum(1 for _ in verify(record, root)) == 10_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20
