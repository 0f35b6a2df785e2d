"""A target's own links in a trace: what is asked for through one is what it leads to in the sysroot."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from chrootbuild.artifact import Kind, Plan
from chrootbuild.host import Host
from chrootbuild.paths import MAX_LINKS, join, split
from chrootbuild.trace.access import Access, Event

__all__ = ["own_links", "through"]


def own_links(plan: Plan, host: Host) -> dict[str, str]:
    """Return the links that the sysroot has not, or otherwise: their paths and texts."""
    links: dict[str, str] = {}
    for path, artifact in plan.artifacts.items():
        if artifact.kind is Kind.LINK:
            info = host.lstat(path)
            if info is None or not stat.S_ISLNK(info.st_mode) or host.readlink(path) != artifact.link:
                links[path] = artifact.link
    return links


def through(events: Iterable[Event], links: Mapping[str, str]) -> Iterator[Event]:
    """Yield the events, and behind each that goes through one of the links the same with the path beyond it."""
    for event in events:
        yield event
        if links and isinstance(event, Access) and event.path.startswith("/"):
            path = _resolved(event.path, links)
            if path != event.path:
                yield replace(event, path=path, real="")


def _resolved(path: str, links: Mapping[str, str]) -> str:
    """Return a path with the links' texts in their places, and all else in it as it was asked for.

    Not by ``paths.walk``: what else is a link in it, only the sysroot can tell, and its ".." with it.
    """
    for _ in range(MAX_LINKS):
        link = next((above for above in _above(path) if above in links), "")
        if not link:
            return path
        text = links[link]
        base = text if text.startswith("/") else join(split(link)[0], text)
        path = f"{base.rstrip('/')}{path[len(link) :]}" or "/"
    return path


def _above(path: str) -> Iterator[str]:
    """Yield the directories above a path from the top, and it."""
    parts = path.split("/")
    for count in range(2, len(parts) + 1):
        yield "/".join(parts[:count])
