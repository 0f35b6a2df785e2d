"""Paths of a root: text that is taken apart and walked, whatever tree they are in."""

from __future__ import annotations

import os

__all__ = ["join", "safe", "split"]


def split(path: str) -> tuple[str, str]:
    """Return the parent directory ("/" at the top) and the name."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def join(parent: str, name: str) -> str:
    """Return the path of ``name`` in ``parent``."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def safe(path: str) -> bool:
    """Tell whether a path has the form of an artifact's: absolute, canonical, no NUL.

    Raises AttributeError or ValueError for what is no path at all.
    """
    if not path.isascii():
        os.fsencode(path)  # ValueError: nothing on a filesystem can have that name
    closed = path + "/"
    return (
        path[:1] == "/"
        and "//" not in closed
        and "/./" not in closed
        and "/../" not in closed
        and "\0" not in path
    )
