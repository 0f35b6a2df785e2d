"""A build after a change looks at no more than what its stamp did not find unchanged; that must hide nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from chrootbuild.build import job as builds
from chrootbuild.root.tree import Root
from chrootbuild.state.project import find_project
from chrootbuild.state.stamp import look
from tests.support.sysroot import write
from tests.support.workshop import Workshop

pytestmark = pytest.mark.root

TARGET = 'sysroot = "{top}"\nos = "linux"\nfiles = ["/etc/", "/srv/"]\n'
NOTHING: dict[str, str] = {}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """A target of text files that is built, and proven to be."""
    shop = Workshop(tmp_path, tmp_path / "sysroot")
    write(
        shop.top,
        {
            "/etc/one": "1\n",
            "/etc/two": "2\n",
            "/srv/www/a": "a\n",
            "/srv/www/b": "b\n",
            "/srv/link": "-> www",
        },
    )
    shop.write_targets({"x.toml": TARGET.format(top=shop.top)})
    shop.settle()
    return shop


def replace_file(path: Path, text: str) -> None:
    """Write a new file over an old one, as a package manager does."""
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def text_of(shop: Workshop) -> dict[str, str]:
    return {
        str(path.relative_to(shop.root)): path.read_text() for path in shop.root.rglob("*") if path.is_file()
    }


def test_only_what_changed_is_looked_at(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(shop.top / "etc/one", "one\n")
    project = find_project(str(shop.folder), None)
    found = look(project.state, "x")
    assert found is not None
    assert {path.removeprefix(str(shop.top)) for path in found.changed} == {"/etc/one", "/etc"}
    looked = []
    lstat = Root.lstat

    def noting(root: Root, path: str) -> os.stat_result | None:
        looked.append(path)
        return lstat(root, path)

    monkeypatch.setattr(Root, "lstat", noting)
    job = builds.begin_cached(project, "x", found)
    assert job is not None
    job.close()
    assert list(job.stale) == ["/etc/one"]
    assert set(looked) == {"/etc/one"}


def test_a_change_in_the_root_beside_one_of_a_source(shop: Workshop) -> None:
    replace_file(shop.top / "etc/one", "one\n")
    (shop.root / "srv/www/a").write_text("planted\n")
    (shop.root / "etc/two").chmod(0o600)
    assert shop.build().keys() == {"/etc/one", "/etc/two", "/srv/www/a"}
    assert text_of(shop) == {"etc/one": "one\n", "etc/two": "2\n", "srv/www/a": "a\n", "srv/www/b": "b\n"}


def test_a_directory_of_the_root_that_is_a_link_to_itself_now(shop: Workshop) -> None:
    """All below it is unchanged, by that name; a build that believed it would lose it."""
    replace_file(shop.top / "etc/one", "one\n")
    (shop.root / "srv/www").rename(shop.root / "moved")
    (shop.root / "srv/www").symlink_to("../moved")
    shop.build()
    assert not (shop.root / "srv/www").is_symlink()
    assert (shop.root / "srv/www/a").read_text() == "a\n"


def test_another_root_under_the_same_name(shop: Workshop) -> None:
    replace_file(shop.top / "etc/one", "one\n")
    old = shop.root.with_name("old")
    shop.root.rename(old)
    shutil.copytree(old, shop.root, symlinks=True, copy_function=os.link)
    (shop.root / "etc/two").unlink()
    shop.build()
    assert text_of(shop)["etc/two"] == "2\n"


@pytest.mark.parametrize("name", ["x.record", "x.plan"])
def test_a_record_or_plan_of_another_time_is_not_believed(shop: Workshop, name: str) -> None:
    """Brought back from a backup, say: what the stamp vouches for is not what they say."""
    state = shop.folder / ".chrootbuild"
    old = (state / name).read_bytes()
    replace_file(shop.top / "etc/two", "two\n")
    shop.settle()
    (state / name).write_bytes(old)
    replace_file(shop.top / "etc/one", "one\n")
    shop.build()
    assert text_of(shop)["etc/one"] == "one\n"
    assert text_of(shop)["etc/two"] == "two\n"
    assert not shop.changes()


def test_a_look_is_worth_nothing_after_another_build(shop: Workshop) -> None:
    project = find_project(str(shop.folder), None)
    replace_file(shop.top / "etc/one", "one\n")
    before = look(project.state, "x")
    shop.settle()
    (shop.root / "etc/two").write_text("planted\n")
    job = builds.begin_cached(project, "x", before)
    assert job is not None
    job.close()
    assert list(job.stale) == ["/etc/two"]


def test_what_was_changed_twice_is_new_once(shop: Workshop) -> None:
    """The second change is found by the stamp of the build after the first, and then there is peace."""
    for text in ("one\n", "uno\n"):
        replace_file(shop.top / "etc/one", text)
        assert shop.build().keys() == {"/etc/one"}
        assert shop.build() == NOTHING
        assert (shop.root / "etc/one").read_text() == text


def test_two_targets_that_are_stale_at_once(shop: Workshop) -> None:
    """Each is built by the look at its own stamp, drift in the root of one included."""
    shop.write_targets({"y.toml": TARGET.format(top=shop.top)})
    while shop.run("build"):
        pass
    other = shop.folder / "build/y"
    replace_file(shop.top / "etc/one", "one\n")
    (other / "etc/two").write_text("planted\n")
    built = shop.run("build")
    assert built.count("/etc/one  ") == 2
    assert built.count("/etc/two  ") == 1
    assert (shop.root / "etc/one").read_text() == (other / "etc/one").read_text() == "one\n"
    assert (other / "etc/two").read_text() == "2\n"
    assert shop.run("build") == ""
