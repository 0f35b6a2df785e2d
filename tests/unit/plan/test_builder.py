"""The plan while it is drawn up: who wins, who has to agree, and what stands above."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.artifact import Artifact, Kind, Origin, Reason
from chrootbuild.errors import TargetError
from chrootbuild.paths import join, split
from chrootbuild.plan.builder import DECLARED, DESCRIBED, FOUND, NAMED, PlanBuilder, blame
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot

ONE, TWO = Reason("one"), Reason("two")
HERE, THERE = Origin("targets/x.toml", "files", 3), Origin("targets/x.toml", "files", 4)


@pytest.fixture
def builder(tmp_path: Path) -> PlanBuilder:
    return PlanBuilder(Sysroot(str(tmp_path)), "targets/x.toml")


def copy(path: str, source: str, mode: int = 0o644) -> Artifact:
    return Artifact(path, Kind.FILE, mode, source=source, sources=(source,))


def folder(path: str, mode: int = 0o755, *, implied: bool = False, open: bool = False) -> Artifact:  # noqa: A002
    return Artifact(path, Kind.DIRECTORY, mode, implied=implied, open=open)


@pytest.mark.parametrize(("path", "parts"), [("/a", ("/", "a")), ("/a/b", ("/a", "b")), ("/", ("/", ""))])
def test_split_and_join(path: str, parts: tuple[str, str]) -> None:
    assert split(path) == parts
    assert join(*parts) == path


@pytest.mark.parametrize(("low", "high"), [(FOUND, DESCRIBED), (DESCRIBED, NAMED), (NAMED, DECLARED)])
def test_the_higher_rank_wins_whoever_comes_first(builder: PlanBuilder, low: int, high: int) -> None:
    builder.add(copy("/a", "/low"), ONE, rank=low)
    builder.add(copy("/a", "/high"), TWO, rank=high)
    builder.add(copy("/a", "/other"), TWO, rank=low)
    assert builder.artifacts["/a"].source == "/high"
    assert builder.rank("/a") == high
    assert list(builder.reasons["/a"]) == [ONE, TWO]


def test_one_file_found_twice_keeps_the_first_words(builder: PlanBuilder) -> None:
    builder.add(copy("/a", "/s", 0o600), ONE)
    builder.add(copy("/a", "/s", 0o644), TWO)
    assert builder.artifacts["/a"].mode == 0o600


def test_one_file_named_twice_has_to_be_one(builder: PlanBuilder) -> None:
    builder.add(copy("/a", "/s", 0o600), ONE, rank=NAMED, origin=HERE)
    with pytest.raises(TargetError) as caught:
        builder.add(copy("/a", "/s", 0o644), TWO, rank=NAMED, origin=THERE)
    assert caught.value.details == ("targets/x.toml:3: files", "targets/x.toml:4: files")


def test_an_implied_directory_gives_way_and_stays_open_when_either_is(builder: PlanBuilder) -> None:
    builder.add(folder("/a", implied=True), ONE)
    builder.add(folder("/a", 0o700), TWO)
    builder.add(folder("/a", implied=True), TWO)
    builder.add(folder("/a", 0o700, open=True), TWO)
    assert builder.artifacts["/a"] == folder("/a", 0o700, open=True)


def test_parents_are_implied_up_to_one_that_is_described(builder: PlanBuilder) -> None:
    builder.add(folder("/a", 0o700), ONE)
    builder.add(copy("/a/b/c/d", "/s"), ONE)
    builder.imply_parents("/seed/x")
    implied = {path for path, artifact in builder.artifacts.items() if artifact.implied}
    assert implied == {"/a/b", "/a/b/c", "/seed"}
    assert builder.artifacts["/a"].mode == 0o700
    assert list(builder.reasons["/a/b"]) == [Reason("lies in it", "/a/b/c")]


def test_a_file_cannot_hold_anything(builder: PlanBuilder) -> None:
    builder.add(copy("/a", "/s"), ONE, origin=HERE)
    builder.add(copy("/a/b", "/s"), ONE)
    with pytest.raises(TargetError, match="cannot put two things at /a: a file and a directory"):
        builder.imply_parents()


def test_a_link_that_many_paths_go_through_has_a_few_reasons(builder: PlanBuilder, tmp_path: Path) -> None:
    (tmp_path / "lib").symlink_to("usr/lib")
    for number in range(100):
        builder.place(f"/lib/{number}", Reason(f"reason {number}"))
    assert len(builder.reasons["/lib"]) == 8


def test_dots_in_a_path_are_resolved_behind_links(builder: PlanBuilder, tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    assert builder.place("/lib/../share/./x", ONE) == "/usr/share/x"
    assert builder.where("/lib/../share/./x") == "/usr/share/x"


def test_what_cannot_be_read_is_blamed_on_its_entry() -> None:
    with pytest.raises(TargetError) as caught, blame(HERE):
        raise Unreadable("/x", 13, hint="look")
    assert str(caught.value) == "cannot read /x: Permission denied (targets/x.toml:3: files)\nhint: look"
