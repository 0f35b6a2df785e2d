"""The null build: true where the stamps of all targets that a build would look at still hold."""

from __future__ import annotations

import os

from chrootbuild.stamp import is_fresh

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MANUAL", "candidates", "fresh_targets", "nothing_to_do"]

MANUAL = ".manual"  # NAME.manual.stamp: the target is built only when named


def nothing_to_do(argv: list[str]) -> bool:
    """Tell whether ``chrootbuild [-C DIR] build [NAME ...]`` has nothing to do; False when unsure."""
    directory, out, words = "", os.environ.get("CHROOTBUILD_OUT", ""), list(argv)
    while words and words[0] != "build":
        word = words.pop(0)
        if word == "-C" and words:
            directory = words.pop(0)
        elif word.startswith("out="):
            out = word[4:]
        else:
            return False
    names = words[1:]
    if not directory:
        directory = "." if os.path.isdir("targets") else "/etc/chrootbuild"
    directory = os.path.realpath(directory)
    state = "/var/lib/chrootbuild" if directory == "/etc/chrootbuild" else directory + "/.chrootbuild"
    return fresh_targets(directory, state, out, names) is not None


# What was found stale in this process: it is not looked at a second time, but built.
STALE: set[tuple[str, str]] = set()


def candidates(directory: str, state: str, out: str, names: Sequence[str]) -> list[str] | None:
    """Return the targets that a build of ``names`` is about, read from no target file; None when unsure.

    Without names those are left out that are built only when named.
    """
    if any(name.startswith("-") or ":" in name or "*" in name for name in names) or out != _out_of(state):
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


def fresh_targets(directory: str, state: str, out: str, names: Sequence[str]) -> list[str] | None:
    """Return the targets that a build of ``names`` is about, if all of them are fresh; else None."""
    wanted = candidates(directory, state, out, names)
    if wanted is None:
        return None
    for name in wanted:
        if is_fresh(state, name) is None:
            STALE.add((state, name))
            return None
    return wanted


def _out_of(state: str) -> str:
    """Return the OUT that the stamps were written with."""
    try:
        with open(f"{state}/out", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return "\0"
