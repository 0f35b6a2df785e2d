"""The layers of the design, held by the imports of every module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "chrootbuild"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(module: Path) -> set[str]:
    """Return every dotted name that a module imports, at its top or within a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module or "")
    return found


def users_of(package: str) -> set[str]:
    return {
        module.relative_to(PACKAGE).as_posix()
        for module in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports(module))
    }


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("doit", ("task", "commands/")),
        ("elftools", ("elf/",)),
        ("watchdog", ("watch",)),
        ("msgspec", ("schema.py", "target")),
    ],
)
def test_a_library_is_used_where_it_belongs(package: str, allowed: tuple[str, ...]) -> None:
    assert [user for user in sorted(users_of(package)) if not user.startswith(allowed)] == []


def test_values_import_nothing_of_the_package_but_values() -> None:
    for name in ("artifact.py", "errors.py", "paths.py", "spec.py", "text.py"):
        ours = {used for used in imports(PACKAGE / name) if used.startswith("chrootbuild.")}
        assert {used.split(".")[1] for used in ours} <= {"artifact", "errors", "text"}, name


@pytest.mark.parametrize("name", ["plan", "draft", "gather", "host", "target", "spec"])
def test_a_plan_is_made_without_a_root(name: str) -> None:
    writers = {
        f"chrootbuild.{module}" for module in ("root", "stage", "publish", "record", "fresh", "build")
    }
    assert imports(PACKAGE / f"{name}.py") & writers == set()


def test_the_null_build_imports_next_to_nothing() -> None:
    for name in ("__main__.py", "quick.py", "stamp.py", "places.py"):
        tree = ast.parse((PACKAGE / name).read_text())
        top = {
            alias.name if isinstance(node, ast.Import) else node.module
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        ours = {"chrootbuild", "chrootbuild.places", "chrootbuild.stamp"}
        assert top <= {"__future__", "sys", "os", "array", *ours}, name
