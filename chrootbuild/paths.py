"""Absolute paths as text: taken apart, judged, and walked through links, whatever tree they are in."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

MAX_LINKS = 40  # as the kernel: path_resolution(7)


class LinkLoopError(OSError):
    """ELOOP: a path that leads over more than MAX_LINKS links; ``filename`` is one of them."""


def split(path: str) -> tuple[str, str]:
    """Return the parent directory ("/" at the top) and the name."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def join(parent: str, name: str) -> str:
    """Return the path of ``name`` in ``parent``."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def safe(path: str) -> bool:
    """Return whether a path has the form of an artifact's: absolute, canonical, no NUL.

    Raises AttributeError or ValueError where it is no path at all.
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


def components(path: str) -> list[str]:
    """Return the components, last first (a stack), without empty ones and single dots."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def walk(path: str, readlink: Callable[[str], str | None], *, start: str = "/", last: bool = True) -> str:
    """Return the canonical path that ``path`` leads to: path_resolution(7), in a tree that ``readlink`` tells of.

    ``readlink`` is asked for each component in its turn, by its canonical path, and returns the
    text of the link there, or None. What it raises is passed on. A relative path begins at
    ``start``. With ``last=False`` a link at the end is not followed, and not asked for.
    Raises LinkLoopError.
    """
    here, todo, links = "/" if path.startswith("/") else start, components(path), 0
    while todo:
        part = todo.pop()
        if part == "..":
            here = split(here)[0]
            continue
        child = join(here, part)
        text = readlink(child) if todo or last else None
        if text is None:
            here = child
            continue
        links += 1
        if links > MAX_LINKS:
            raise LinkLoopError(errno.ELOOP, os.strerror(errno.ELOOP), child)
        todo += components(text)
        if text.startswith("/"):
            here = "/"
    return here
