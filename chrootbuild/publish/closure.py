"""Closure of a publish: the stale paths that go into a root together with one of them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from chrootbuild.artifact import Plan
from chrootbuild.paths import split


def publish_closure(plan: Plan, stale: Iterable[str], path: str) -> set[str]:
    """Return the stale paths that have to be published with ``path``.

    That is what is above it, what it brought in (a program's libraries), the
    links that lead to it, and, if a library is among them, all stale programs
    and libraries: an old libc must never stand beside a new loader.
    """
    waiting = set(stale)
    children: dict[str, list[str]] = {}
    for child, reasons in plan.reasons.items():
        for reason in reasons:
            if reason.parent:
                children.setdefault(reason.parent, []).append(child)
    wanted, todo = set(), [path]
    while todo:
        here = todo.pop()
        if here in wanted:
            continue
        wanted.add(here)
        artifact = plan.artifacts.get(here)
        todo.extend(artifact.after if artifact is not None else ())
        if artifact is not None and not artifact.implied:
            todo.extend(children.get(here, ()))
        todo.extend(other for other in waiting if _leads_to(plan, other, here))
        if here != "/":
            parent = split(here)[0]
            todo.extend([parent] if parent != "/" else [])
    chosen = wanted & waiting
    if any(plan.artifacts[here].elf == "library" for here in chosen if here in plan.artifacts):
        moving = {here for here in waiting if here in plan.artifacts and plan.artifacts[here].elf}
        for here in moving - chosen:
            chosen.add(here)
            while (here := split(here)[0]) != "/":
                chosen |= {here} & waiting
    return chosen


def _leads_to(plan: Plan, link: str, path: str) -> bool:
    artifact = plan.artifacts.get(link)
    if artifact is None or not artifact.link:
        return False
    text = artifact.link if artifact.link.startswith("/") else f"{split(link)[0]}/{artifact.link}"
    return os.path.normpath(text) == path
