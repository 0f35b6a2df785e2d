"""Which targets there are, and which of them a command is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.errors import Failure, TargetError, UsageError
from chrootbuild.state.project import Project
from chrootbuild.target.reader import read_target, read_targets, select
from tests.support.target_project import project

FOUR = {"nginx.toml": "manual = true", "cvs.toml": "", "date.toml": "", "first.toml": ""}


def test_targets_are_sorted_by_name(tmp_path: Path) -> None:
    found = read_targets(project(tmp_path, {**FOUR, "cvs-2.toml": ""}))
    assert list(found.targets) == ["cvs", "cvs-2", "date", "first", "nginx"]


def test_without_names_all_that_are_not_manual(tmp_path: Path) -> None:
    targets = read_targets(project(tmp_path, FOUR))
    assert [target.name for target in select(targets, [])] == ["cvs", "date", "first"]
    assert select(targets, [], all_when_empty=False) == []


def test_a_manual_one_when_it_is_named(tmp_path: Path) -> None:
    targets = read_targets(project(tmp_path, FOUR))
    assert [target.name for target in select(targets, ["nginx", "cvs", "nginx"])] == ["nginx", "cvs"]


def test_an_unknown_name_gets_a_guess(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_target(project(tmp_path, FOUR), "ngnix")
    assert str(caught.value) == (
        'cannot find a target named "ngnix": targets/ has cvs, date, first, nginx\nhint: did you mean nginx?'
    )
    assert caught.value.code == 2


def test_a_wrong_one_is_known_and_says_what_is_wrong(tmp_path: Path) -> None:
    targets = read_targets(project(tmp_path, {**FOUR, "bad.toml": "x = 1"}))
    assert [target.name for target in select(targets, [])] == ["cvs", "date", "first"]
    with pytest.raises(TargetError, match=r"targets/bad.toml:1: x"):
        select(targets, ["cvs", "bad"])
    with pytest.raises(UsageError, match="targets/ has bad, cvs"):
        select(targets, ["other"])


def test_an_empty_project(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='named "a": targets/ has nothing'):
        select(read_targets(project(tmp_path, {})), ["a"])


def test_a_project_without_targets(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"cannot read .*/targets: No such file or directory"):
        read_targets(Project(str(tmp_path), f"{tmp_path}/s", f"{tmp_path}/b"))
