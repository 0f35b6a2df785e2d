"""Tools that are in a root only while somebody is inside, as the article's clean-up asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from chrootbuild.build.job import Job, begin, run
from chrootbuild.errors import Failure
from chrootbuild.state.lock import locked
from chrootbuild.state.project import Project
from chrootbuild.target.model import Target


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
    with locked(project, target.name):
        with begin(project, target, held=True) as job:
            planned = job.assessment.plan.artifacts
        with begin(project, more, held=True, keep=False) as job:
            extra = job.assessment.plan.artifacts.keys() - planned.keys()
            _change(job, extra)
        try:
            yield
        finally:
            with begin(project, target, held=True) as job:
                _change(job, extra)


def _change(job: Job, paths: AbstractSet[str]) -> None:
    """Install or remove the tools, and nothing else that is stale."""
    try:
        run(job.only(paths))
    except Failure as failure:
        raise Failure(f"cannot set up the temporary tools: {failure.message}", hint=failure.hint) from None
