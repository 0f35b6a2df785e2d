"""The null build: true where the stamps of all targets that a build would look at still hold."""

from __future__ import annotations

import os

from chrootbuild.stamp import is_fresh

__all__ = ["MANUAL", "fresh_targets", "nothing_to_do"]

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
    if any(name.startswith("-") or ":" in name or "=" in name for name in names):
        return False
    if not directory:
        directory = "." if os.path.isdir("targets") else "/etc/chrootbuild"
    directory = os.path.realpath(directory)
    state = "/var/lib/chrootbuild" if directory == "/etc/chrootbuild" else directory + "/.chrootbuild"
    return fresh_targets(directory, state, out, names) is not None


def fresh_targets(directory: str, state: str, out: str, names: list[str]) -> list[str] | None:
    """Return the targets that a build of ``names`` would look at, if all are fresh; else None."""
    try:
        all_names = [
            name[:-5]
            for name in os.listdir(directory + "/targets")
            if name.endswith(".toml") and not name.endswith(".learned.toml")
        ]
    except OSError:
        return None
    if out != _out_of(state) or not all_names or not set(names) <= set(all_names):
        return None
    fresh = []
    for name in names or sorted(all_names):
        if is_fresh(state, name) is not None:
            fresh.append(name)
        elif names or is_fresh(state, name + MANUAL) is None:
            return None
    return fresh


def _out_of(state: str) -> str:
    """Return the OUT that the stamps were written with."""
    try:
        with open(f"{state}/out", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return "\0"
