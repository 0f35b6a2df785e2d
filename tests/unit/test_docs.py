"""The pages speak of what is there: the map of docs/inside.md, and the paths that pages name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
PACKAGE = TOP / "chrootbuild"
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").glob("*.md")])
TOGETHER = {
    "Top files",
    "enter",
    "check",
    "learn",
    "hostside",
    "new",
}  # sections that say the package with each
PLACEHOLDER = re.compile(r"NAME|PACKAGE|THEME")


def named_in_the_map() -> list[str]:
    """Return the modules that the map names, as paths without .py."""
    text = (TOP / "docs" / "inside.md").read_text()
    body = text.partition("\n## The map\n")[2].partition("\n## ")[0]
    found: list[str] = []
    prefix = ""
    for line in body.splitlines():
        if heading := re.match(r"\*\*([^*]+)\*\*", line):
            packages = heading[1].split(", ")
            prefix = "" if TOGETHER.issuperset(packages) else f"{packages[0]}/"
        elif line.startswith("- "):
            found += [prefix + name for name in re.findall(r"`([^`]+)`", line.partition(": ")[0])]
    return found


def modules() -> list[str]:
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted(path.as_posix() for path in paths if path.name != "__init__")


def test_the_map_names_every_module_once_and_no_other() -> None:
    assert sorted(named_in_the_map()) == modules()


def test_the_map_goes_in_the_order_of_the_packages() -> None:
    from tests.test_architecture import LAYERS

    order = [line.split()[0] for line in LAYERS.strip().splitlines()]
    rooms = [name.partition("/")[0] for name in named_in_the_map() if "/" in name]
    ranks = [order.index(room) for room in rooms if room not in ("enter", "check", "learn")]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    paths = re.findall(r"\b(?:tests|docs)/[\w./*-]*\w/?", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [path for path in paths if not PLACEHOLDER.search(path) and not list(TOP.glob(path))]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert missing == []
