"""The null build: nothing to do where the stamps of all targets of a build are still valid."""

from __future__ import annotations

import os

from chrootbuild.state.places import MANUAL, SYSTEM, places
from chrootbuild.state.stamp import is_fresh, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chrootbuild.state.stamp import Look

    Looks = Mapping[tuple[str, str], Look | None]  # by state folder and target


def look_for(argv: list[str]) -> Looks | None:
    """Look at the stamps of ``chrootbuild [-C DIR] build [NAME ...]``; None when unsure which they are."""
    directory, out, words = "", os.environ.get("CHROOTBUILD_OUT", ""), list(argv)
    while words and words[0] != "build":
        word = words.pop(0)
        if word == "-C" and words:
            directory = words.pop(0)
        elif word.startswith("out="):
            out = word[4:]
        else:
            return None
    names = words[1:]
    if not directory:
        directory = "." if os.path.isdir("targets") else SYSTEM
    directory = os.path.realpath(directory)
    return look_at(directory, places(directory, out)[1], names)


def candidates(directory: str, state: str, names: Sequence[str]) -> list[str] | None:
    """Return the targets of a build of ``names``, without reading a target file; None when unsure.

    Without names, manual targets are left out.
    """
    if any(name.startswith("-") or ":" in name or "*" in name for name in names):
        return None
    try:
        all_names = [
            name[:-5]
            for name in os.listdir(directory + "/targets")
            if name.endswith(".toml") and not name.endswith(".learned.toml")
        ]
    except OSError:
        return None
    if not all_names or not set(names) <= set(all_names):
        return None
    return list(names) or [name for name in sorted(all_names) if is_fresh(state, name + MANUAL) is None]


def look_at(directory: str, state: str, names: Sequence[str]) -> Looks | None:
    """Return what a look at the stamps of the targets of a build found, up to the first that is stale.

    They are not looked at a second time in this process. None when unsure which targets it is about.
    """
    wanted = candidates(directory, state, names)
    if wanted is None:
        return None
    found: dict[tuple[str, str], Look | None] = {}
    for name in wanted:
        found[state, name] = look(state, name)
        if not holds(found[state, name]):
            break
    return found


def holds(found: Look | None) -> bool:
    """Tell whether a look found a target fresh."""
    return found is not None and not found.changed


def nothing_stale(looks: Looks | None) -> bool:
    """Tell whether all targets of a build are fresh; False when unsure."""
    return looks is not None and all(map(holds, looks.values()))
