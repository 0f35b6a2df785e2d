"""Twelve real services: a target file with hardly more than the program, then learn, build, check.

What a trace cannot tell is in the target: the program, configuration and data, and accounts that
only the root has. tests/samples/cases.json has the budgets: copying everything fails.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.cases import CASES, DATA, target_file
from tests.support.confine_lab import leftovers
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.strace, pytest.mark.namespaces]


def _case(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.package(*CASES[name]["packages"]))


def size(root: Path) -> tuple[int, int]:
    """Return the number of regular files outside the case's own data, and their bytes."""
    count = total = 0
    for directory, folders, files in os.walk(root):
        if directory == f"{root}{DATA}":
            folders.clear()
            continue
        for name in files:
            info = os.lstat(f"{directory}/{name}")
            if stat.S_ISREG(info.st_mode):
                count, total = count + 1, total + info.st_size
    return count, total


def hashes(root: Path, case: Mapping[str, Any]) -> str:
    """Return the shadow file of a root that its target does not give itself."""
    path = root / "etc/shadow"
    return path.read_text() if path.exists() and "/etc/shadow" not in case["text"] else ""


@pytest.mark.parametrize("name", [_case(name) for name in CASES])
def test_it_is_learned_built_and_served(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    shop = Workshop(tmp_path / "project", Path("/"))
    shop.write_targets({"x.toml": target_file(case)})
    before = leftovers()

    said = shop.run("learn", "x")
    assert said.splitlines()[-1] == "x  serves"
    learned = (shop.folder / "targets/x.learned.toml").read_bytes()
    assert b"/etc/shadow" not in learned

    assert "x  serves" in shop.run("learn", "x")
    assert (shop.folder / "targets/x.learned.toml").read_bytes() == learned

    shop.settle()
    assert "error" not in shop.run("check", "x")
    files, total = size(shop.root)
    assert files <= case["budget"]["files"]
    assert total <= case["budget"]["bytes"]
    assert [path for path in case["must_not_exist"] if os.path.lexists(f"{shop.root}{path}")] == []
    assert hashes(shop.root, case) == ""
    assert leftovers() == before
