"""Tools that are in a root only while somebody is inside, as the article's clean-up asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from chrootbuild.build import Job, begin, finish, stage_one
from chrootbuild.errors import Failure
from chrootbuild.lock import locked
from chrootbuild.project import Project
from chrootbuild.spec import Target

__all__ = ["with_temporary"]


@contextlib.contextmanager
def with_temporary(project: Project, target: Target) -> Iterator[None]:
    """Have a target's temporary tools, with their libraries, in its root; they go at the end.

    The root stays locked meanwhile. They are in the record: if this process is
    killed, the next build finds that nothing needs them and removes them.
    Raises TryAgain, TargetError and Failure.
    """
    if not target.temporary:
        yield
        return
    more = replace(target, binaries=(*target.binaries, *target.temporary))
    with contextlib.ExitStack() as held:
        held.enter_context(locked(project, target.name))
        planned = begin(project, target, held=held).prepared.plan.artifacts
        job = begin(project, more, held=held, keep=False)
        extra = job.prepared.plan.artifacts.keys() - planned.keys()
        _publish(job, {path for path in extra if path in job.stale})
        try:
            yield
        finally:
            job = begin(project, target, held=held)
            _publish(job, {path for path in extra if path in job.stale})


def _publish(job: Job, paths: set[str]) -> None:
    if not paths:
        return
    for path in sorted(paths):
        change = job.stale[path]
        if change.artifact is not None:
            stage_one(job.prepared.target.root, change.artifact)
    try:
        finish(job, paths, quiet=True)
    except Failure as failure:
        raise Failure(f"cannot set up the temporary tools: {failure.message}", hint=failure.hint) from None
