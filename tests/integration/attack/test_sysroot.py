"""Trees, names and account files of a hostile sysroot: success or one error, in bounded memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.limited import run
from tests.support.sandbox import state_of
from tests.support.sysroot import write

pytestmark = pytest.mark.root

TREE = 'files = ["/usr/share/x/"]\n'


def _many(top: Path) -> None:
    here = os.open(top / "usr/share/x", os.O_RDONLY)
    for number in range(20_000):
        os.mknod(f"{number}", 0o100644, dir_fd=here)
    os.close(here)


def _links(texts: dict[str, str]) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        for name, text in texts.items():
            (top / "usr/share/x" / name).symlink_to(text.format(out=top.parent / "victim"))

    return attack


def _two_trees(top: Path) -> None:
    """Two trees, each full of links into the other."""
    for number in range(200):
        (top / f"usr/share/x/{number}").symlink_to(f"../y/{number}")
        (top / f"usr/share/y/{number}").mkdir(parents=True)
        (top / f"usr/share/y/{number}/back").symlink_to("../../x")
        (top / f"usr/share/y/{number}/all").symlink_to("..")


def _hops(count: int) -> Callable[[Path], None]:
    def attack(top: Path) -> None:
        for number in range(count):
            (top / f"usr/share/x/{number}").symlink_to(f"{number + 1}")
        (top / f"usr/share/x/{count}").write_text("the end")

    return attack


def _doubling(top: Path) -> None:
    """Each link names the one before it twice: 2^60 steps for who does not count them."""
    (top / "usr/share/x/d0").mkdir()
    for number in range(1, 60):
        (top / f"usr/share/x/d{number}").symlink_to(f"d{number - 1}/../d{number - 1}")


def _deep(top: Path) -> None:
    """Deeper than a path can name: the rest is skipped, and listed."""
    here = os.open(top / "usr/share/x", os.O_RDONLY)
    for _ in range(2200):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def _names(top: Path) -> None:
    names = [
        "a\nb",
        "\x1b[2J",
        "x" * 255,
        "a\\b",
        "'",
        '"',
        "$(id)",
        "%s%n",
        "=",
        "*",
        "?",
        "[",
        "...",
        "-rf",
        "a:b",
    ]
    for name in (
        *(os.fsencode(name) for name in names),
        b"\xff\xfe",
        b" ",
        "\u202e".encode(),
        b"\r",
        b"\x7f",
    ):
        with open(os.fsencode(top / "usr/share/x/") + b"/" + name, "wb") as file:
            file.write(b"content")


def _special(top: Path) -> None:
    os.mkfifo(top / "usr/share/x/fifo")
    os.mknod(top / "usr/share/x/zero", 0o20666, os.makedev(1, 5))
    os.mknod(top / "usr/share/x/disk", 0o60666, os.makedev(254, 0))
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(top / "usr/share/x", os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)


def _setuid(top: Path) -> None:
    (top / "usr/share/x/su").write_text("#!/bin/sh\n")
    os.chown(top / "usr/share/x/su", 0, 0)
    (top / "usr/share/x/su").chmod(0o6777)


TREES: dict[str, Callable[[Path], None]] = {
    "links-to-itself-and-above": _links(
        {"a": ".", "b": "..", "c": "/usr/share/x", "d": "c/c/c/a/b", "e": "e"}
    ),
    "links-to-everything": _links({"a": "/", "b": "../../..", "c": "/usr", "d": "/etc"}),
    "links-out": _links({"a": "{out}/dir", "b": "../../../../victim/file", "c": "/../../../victim/file"}),
    "links-of-odd-text": _links(
        {"a": "x" * 4000, "b": "\n\x1b[2J", "c": "/" * 4000, "d": "./" * 2000 + "a"}
    ),
    "two-trees-of-links": _two_trees,
    "40-hops": _hops(39),
    "1000-hops": _hops(1000),
    "doubling-links": _doubling,
    "odd-names": _names,
    "special-files": _special,
    "setuid": _setuid,
}


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """Return a sysroot with an empty tree; a victim lies beside it."""
    write(tmp_path, {"victim/file": "the victim's\n", "victim/dir/one": "the victim's\n"})
    made = write(
        tmp_path / "sys", {"usr/share/x/": "", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "bin/sh": ""}
    )
    (tmp_path / "p/targets").mkdir(parents=True)
    yield made
    subprocess.run(["rm", "-rf", made, tmp_path / "p/build"], check=True)  # pytest cannot: 3,000 deep


def target(top: Path, text: str) -> Path:
    """Write target x and return the project."""
    project = top.parent / "p"
    (project / "targets/x.toml").write_text(f'sysroot = "{top}"\nos = "linux"\n{text}')
    return project


COMMANDS: tuple[tuple[str, ...], ...] = (
    *(("plan", "--json"), ("plan",), ("build",), ("build",), ("verify",), ("audit",), ("clean",)),
)


@pytest.mark.parametrize("name", TREES)
def test_a_tree(top: Path, name: str) -> None:
    TREES[name](top)
    project, before = target(top, TREE), state_of(top.parent / "victim")
    for words in COMMANDS:
        said = run(project, *words, "x")
        if words[0] != "audit":  # whose findings are the tree's
            assert said.decent().code == 0, (words, said.text[:2000])
        assert "Traceback" not in said.text
        assert "the victim's" not in said.text
        if words[0] == "build":
            assert not holds_the_victims(project)
    assert state_of(top.parent / "victim") == before


def holds_the_victims(project: Path) -> str:
    """Return which files of the root have the victim's content, by whichever link it was read."""
    done = subprocess.run(
        ["grep", "-rlI", "the victim's", project / "build"], capture_output=True, text=True
    )
    assert done.returncode in (0, 1, 2)
    return done.stdout


def test_what_is_too_deep_is_listed(top: Path) -> None:
    _deep(top)
    project = target(top, TREE)
    [skipped] = json.loads(run(project, "plan", "--json", "x").decent().text)["skipped"]
    assert skipped["reason"] == "its path is longer than a path can be"
    assert run(project, "build", "x").decent().code == 0
    assert run(project, "verify", "x").decent().code == 0


def test_a_directory_of_20000(top: Path) -> None:
    _many(top)
    said = run(target(top, TREE), "plan", "--json", "x").decent()
    assert len(json.loads(said.text)["artifacts"]) == 20_000 + 3


def _text(data: bytes, size: int = 0) -> Callable[[Path], None]:
    def attack(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        if size:
            os.truncate(path, size)

    return attack


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def attack(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return attack


TEXTS: dict[str, Callable[[Path], None]] = {
    "100-gb": _text(b"root:x:0:0::/:/bin/sh\n", 100 << 30),
    "200-mb-of-nul": _text(b"", 200 << 20),
    "60-mb-of-colons": _text(b":" * (60 << 20)),
    "a-line-of-60-mb": _text(b"x" * (60 << 20)),
    "100000-users": _text(b"".join(b"u%d:x:%d:%d::/:/bin/sh\n" % (n, n, n) for n in range(1000, 101_000))),
    "huge-numbers": _text(b"a:x:%d:1::/:\nb:x:-1:4294967296::/:\n" % (10**4000)),
    "odd-bytes": _text(b"a\x1b[2J:x:1:1:\xff\xfe:/\0:\r\nroot:x:0:0::/:\n"),
    "fifo": _instead(os.mkfifo),
    "zero": _instead(lambda path: os.mknod(path, 0o20666, os.makedev(1, 5))),
    "directory": _instead(Path.mkdir),
    "link-out": _instead(lambda path: path.symlink_to("../../victim/file")),
    "link-loop": _instead(lambda path: path.symlink_to(path.name)),
}
READERS = {
    "etc/passwd": '[accounts]\nmin_uid = 0\nusers = ["root"]\n',
    "etc/group": '[accounts]\nmin_uid = 0\nusers = ["root"]\n',
    "etc/shadow": '[accounts]\nusers = ["root"]\npasswords = ["root"]\n',
    "etc/localtime": 'timezone = "host"\n',
    "etc/master.passwd": '[accounts]\nformat = "freebsd"\nmin_uid = 0\nusers = ["root"]\n',
}


# All read their files alike: the other forms for the one that every target has.
OTHERS = ("100-gb", "60-mb-of-colons", "fifo", "zero", "link-out")


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path in READERS for name in TEXTS if path == "etc/passwd" or name in OTHERS],
)
def test_a_file_that_is_read(top: Path, path: str, name: str) -> None:
    write(top, {"etc/group": "root:x:0:\n", "etc/shadow": "root:*:::::::\n", "etc/localtime": "TZif"})
    TEXTS[name](top / path)
    project = target(top, READERS[path])
    run(project, "build", "x").decent()
    assert not holds_the_victims(project)
