"""The null build: nothing to do where the stamps of all targets of a build are still valid."""

from __future__ import annotations

import os

from chrootbuild.stamp import is_fresh, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from chrootbuild.stamp import Look

__all__ = ["MANUAL", "SYSTEM", "candidates", "fresh_targets", "nothing_to_do", "places"]

SYSTEM = "/etc/chrootbuild"  # the project of a machine that has no other
MANUAL = ".manual"  # NAME.manual.stamp: the target is built only when named


def nothing_to_do(argv: list[str]) -> bool:
    """Return whether ``chrootbuild [-C DIR] build [NAME ...]`` has nothing to do; False when unsure."""
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
        directory = "." if os.path.isdir("targets") else SYSTEM
    directory = os.path.realpath(directory)
    return fresh_targets(directory, places(directory, out)[1], names) is not None


def places(directory: str, out: str) -> tuple[str, str, str]:
    """Return a project's OUT, its state folder, and the folder of its locks, all real paths.

    Each OUT has a state of its own, for its own roots; locks are per target, whatever OUT.
    """
    base = "/var/lib/chrootbuild" if directory == SYSTEM else directory + "/.chrootbuild"
    default = "/srv/chroot" if directory == SYSTEM else directory + "/build"
    where = os.path.normpath(os.path.join(directory, out or default))
    if where == default:
        return where, base, base
    name = "".join(char if char.isalnum() else f"%{ord(char):02X}" for char in where)
    return where, f"{base}/out-{name[-200:]}", base


# Stale targets, (state, target) -> look: the build that follows does not look a second time.
STALE: dict[tuple[str, str], Look | None] = {}


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


def fresh_targets(directory: str, state: str, names: Sequence[str]) -> list[str] | None:
    """Return the targets of a build of ``names`` if all of them are up to date; else None."""
    wanted = candidates(directory, state, names)
    if wanted is None:
        return None
    for name in wanted:
        found = look(state, name)
        if found is None or found.changed:
            STALE[state, name] = found
            return None
    return wanted
