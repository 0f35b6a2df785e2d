"""Where a root may lie, and that no two roots share a place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chrootbuild.target.reader import read_targets
from tests.support.target_project import error, project, target

SYSTEM = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
]
SYSTEM += ["/srv", "/sys", "/tmp", "/usr", "/usr/lib", "/usr/local", "/var", "/var/lib", "/var/tmp"]
SYSTEM += ["/etc/x", "/usr/bin/x/y", "/usr/share/x", "/dev/shm/x", "/proc/1/root"]


@pytest.mark.parametrize("root", SYSTEM)
def test_not_on_the_system_itself(tmp_path: Path, root: str) -> None:
    text = error(tmp_path, f'\nroot = "{root}"')
    assert text.startswith(f"cannot use targets/x.toml:2: root: {root} cannot be a root: /")
    assert text.endswith(
        "belongs to the system\nhint: give it a directory of its own, such as /srv/chroot/x"
    )


@pytest.mark.parametrize("root", ["/", "//", "/..", "/usr/.."])
def test_not_the_whole_machine(tmp_path: Path, root: str) -> None:
    assert "/ cannot be a root: it is the sysroot itself" in error(tmp_path, f'root = "{root}"')
    other = f'root = "{root}"\nsysroot = "{tmp_path}/other"'
    assert "/ cannot be a root: it is above the sysroot" in error(tmp_path, other)


@pytest.mark.parametrize(
    "root",
    [
        *(
            "/opt/chroot",
            "/srv/x",
            "/home/u/x",
            "/var/chroot/x",
            "/usr/local/chroot",
            "/mnt/x",
            "/var/lib/x",
        ),
        *("/run/x", "/chroot", "/usr2/bin", "/etcetera", "//opt/x", "/opt/./x"),
    ],
)
def test_beside_the_system(tmp_path: Path, root: str) -> None:
    assert target(tmp_path, f'root = "{root}"').root == os.path.normpath("/" + root.lstrip("/"))


def test_a_link_into_the_system_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to("/usr")
    assert "/usr/bin belongs to the system" in error(tmp_path, 'root = "there/bin/x"')


@pytest.mark.parametrize(
    ("root", "words"),
    [
        (".", "it holds the target files"),
        ("targets", "it holds the target files"),
        ("targets/x", "it lies among the target files"),
        (".chrootbuild", "it holds the project's state"),
        (".chrootbuild/x", "it lies among the project's state"),
        ("..", "it holds the target files"),
    ],
)
def test_not_on_the_project(tmp_path: Path, root: str, words: str) -> None:
    assert words in error(tmp_path / "p", f'root = "{root}"')


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()


def test_not_on_its_own_sysroot(tmp_path: Path) -> None:
    for root, words in (
        ("tree", "it is the sysroot itself"),
        ("tree/etc", f"{tmp_path}/tree/etc belongs to the system"),
        ("tree/var", f"{tmp_path}/tree/var belongs to the system"),
        (".", "it is above the sysroot"),
    ):
        sysroot = "tree" if root != "." else "build/x/tree"
        root = root if root != "." else "build/x"
        assert words in error(tmp_path, f'root = "{root}"\nsysroot = "{sysroot}"'), root
    assert target(tmp_path, 'root = "tree/srv/x"\nsysroot = "tree"').root == f"{tmp_path}/tree/srv/x"


def test_the_same_root_twice_is_an_error_of_the_later(tmp_path: Path) -> None:
    found = read_targets(
        project(tmp_path, {"a.toml": "", "b.toml": '\nroot = "build/a"', "c.toml": 'root = "build/c"'})
    )
    assert list(found.targets) == ["a", "c"]
    assert str(found.failures["b"]) == (
        f"cannot use targets/b.toml:2: root: the root {tmp_path}/build/a of b is the same as that of a,"
        f" {tmp_path}/build/a\nhint: give each target a root of its own, beside the other"
    )


@pytest.mark.parametrize(
    ("earlier", "later", "words"),
    [
        ("/opt/c", "/opt/c/d/e", "the root /opt/c/d/e of b lies in that of a, /opt/c"),
        ("/opt/c/d/e", "/opt/c", "the root /opt/c of b holds that of a, /opt/c/d/e"),
    ],
)
def test_nested_roots(tmp_path: Path, earlier: str, later: str, words: str) -> None:
    files = {"a.toml": f'root = "{earlier}"', "b.toml": f'root = "{later}"', "c.toml": 'root = "/opt/cc"'}
    found = read_targets(project(tmp_path, files))
    assert list(found.targets) == ["a", "c"]
    assert words in str(found.failures["b"])


def test_roots_that_are_the_same_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "alias").symlink_to("build")
    found = read_targets(project(tmp_path, {"a.toml": "", "b.toml": 'root = "alias/a/inner"'}))
    assert list(found.targets) == ["a"]
    assert f"the root {tmp_path}/alias/a/inner of b lies in that of a" in str(found.failures["b"])


def test_a_target_that_is_wrong_takes_no_root(tmp_path: Path) -> None:
    found = read_targets(project(tmp_path, {"a.toml": 'root = "r"\nx = 1', "b.toml": 'root = "r"'}))
    assert list(found.targets) == ["b"]
