"""A project in a folder of a test, written as a map from file to text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chrootbuild.errors import TargetError
from chrootbuild.state.project import Project
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_target, read_targets


def project(folder: Path, files: Mapping[str, str]) -> Project:
    """Write targets/FILE for each of ``files`` ("x.toml", "common/y.toml")."""
    (folder / "targets").mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / "targets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Project(str(folder), f"{folder}/.chrootbuild", f"{folder}/build")


def target(folder: Path, text: str, **others: str) -> Target:
    """Read ``text`` as targets/x.toml; ``others`` are includes by name, or ``learned``."""
    files = {"x.toml": text}
    for name, content in others.items():
        files["x.learned.toml" if name == "learned" else f"common/{name}.toml"] = content
    return read_target(project(folder, files), "x")


def error(folder: Path, text: str, **others: str) -> str:
    """Return the error of ``text`` as targets/x.toml, as it is printed."""
    import pytest  # not at the top: benchmarks use this module without it

    with pytest.raises(TargetError) as caught:
        target(folder, text, **others)
    assert caught.value.code == 3
    assert set(read_targets(project(folder, {})).failures) == {"x"}
    return str(caught.value)
