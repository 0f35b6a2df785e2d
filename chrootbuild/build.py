"""One target's build, step by step: what tasks.py hands to doit, and what a publish leaves behind."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from chrootbuild.artifact import Artifact, Plan
from chrootbuild.change import Change, Comparison, by_directory
from chrootbuild.errors import Failure
from chrootbuild.journal import is_pending
from chrootbuild.lock import locked
from chrootbuild.paths import split
from chrootbuild.plancache import cached_plan
from chrootbuild.prepare import Prepared, make_plan, prepare_cached, prepare_made
from chrootbuild.project import Project
from chrootbuild.publish import Published, publish, recover
from chrootbuild.record import Installed, Record, write_record
from chrootbuild.report import changes_text
from chrootbuild.root import Root, open_root, read_root
from chrootbuild.seed import stage_seeds
from chrootbuild.spec import Target
from chrootbuild.stage import Stage, clear_stage, note, noted, open_stage, stage_artifact
from chrootbuild.stamp import Look, drop_stamp
from chrootbuild.trust import refuse_untrusted
from chrootbuild.vouching import changed_since, stamp, touches

__all__ = [
    "Job",
    "abandon",
    "begin",
    "begin_cached",
    "finish",
    "forget_stage",
    "stage_one",
    "together",
]


@dataclass(frozen=True, slots=True)
class Job:
    """A target that is being built, its lock held until the process ends or ``lock`` is closed."""

    project: Project
    prepared: Prepared
    lock: contextlib.ExitStack

    @property
    def name(self) -> str:
        """The target's name."""
        return self.prepared.target.name

    @property
    def stale(self) -> Mapping[str, Change]:
        """What there is to do, by path."""
        return self.prepared.comparison.stale

    @property
    def unplanted(self) -> tuple[str, ...]:
        """The seeds that were never planted."""
        record = self.prepared.record
        known = set(() if record is None else record.seeds)
        return tuple(path for path in self.prepared.plan.seeds if path not in known)


def begin(
    project: Project,
    target: Target,
    *,
    wait: float = 0.0,
    held: contextlib.ExitStack | None = None,
    keep: bool = True,
) -> Job:
    """Lock a target, complete what was broken off, plan and compare; the staging is left empty.

    ``held`` is a lock that the caller has already. Without ``keep`` this plan
    is not what later builds shall go by. Raises TryAgain where somebody else
    is at work, TargetError and Failure.
    """
    with contextlib.ExitStack() as stack:
        refuse_untrusted([project.state], what="the state folder")
        if held is None:
            stack.enter_context(locked(project, target.name, wait))
        # The plan first: a target that cannot be satisfied leaves nothing behind, not even a folder.
        made, host = make_plan(project, target, keep=keep)
        with open_root(target.root) as root:
            recover(project, target.name, root)
            prepared = prepare_made(project, target, made, host, root)
            return _begun(Job(project, prepared, held or stack.pop_all()), root, keep=keep)


def begin_cached(project: Project, name: str, look: Look | None = None) -> Job | None:
    """Do what ``begin`` does with a target's last plan; None where that does not hold any more.

    What a ``look`` at the stamp found unchanged a moment ago is not looked at again.
    """
    with contextlib.ExitStack() as stack:
        refuse_untrusted([project.state], what="the state folder")
        stack.enter_context(locked(project, name))
        changed = changed_since(project, name, look)
        cached = cached_plan(project, name, changed)
        if cached is None:
            return None
        with open_root(cached.target.root) as root:
            if recover(project, name, root) or touches(changed, root.path):
                changed = None
            prepared = prepare_cached(project, cached, root, changed)
            return _begun(Job(project, prepared, stack.pop_all()), root)


def _begun(job: Job, root: Root, *, keep: bool = True) -> Job:
    try:
        forget_stage(job.prepared.target.root)
        clear_stage(root)
        if job.stale or job.unplanted or not keep:
            drop_stamp(job.project, job.name)
            os.close(open_stage(root).fd)
        else:
            _settle(job.project, job.prepared, root)
    except BaseException:
        job.lock.close()
        raise
    return job


def _settle(project: Project, prepared: Prepared, root: Root) -> None:
    """Nothing is stale: write down what was seen, so that the next time is fast."""
    target, record = prepared.target, prepared.record
    known = {
        path: entry for path, entry in prepared.comparison.known.items() if path in prepared.plan.artifacts
    }
    seeds = () if record is None else record.seeds
    settled = Record(target.root, known, seeds, inode=os.fstat(root.fd).st_ino)
    if settled != record:
        write_record(project, target.name, settled)
    stamp(project, prepared, settled)


def stage_one(root_path: str, artifact: Artifact) -> None:
    """Make one artifact in the staging directory of a root; raises Failure."""
    stage = _stage_of(root_path)
    note(stage, artifact.path, stage_artifact(stage, artifact))


# The staging directories that this process works in, by its number: doit's workers are forked.
_STAGES: dict[tuple[int, str], Stage] = {}
_OPENING = threading.Lock()


def _stage_of(root_path: str) -> Stage:
    with _OPENING:
        stage = _STAGES.get((os.getpid(), root_path))
        if stage is None:
            root = read_root(root_path)
            if root is None:
                raise Failure(f"cannot build in {root_path}: the root is gone", hint="build again")
            with root:
                stage = _STAGES[os.getpid(), root_path] = open_stage(root)
    return stage


def forget_stage(root_path: str) -> None:
    """Close the staging directory that this process works in, if it does."""
    with _OPENING:
        stage = _STAGES.pop((os.getpid(), root_path), None)
        if stage is not None:
            os.close(stage.fd)


def finish(
    job: Job, paths: Iterable[str] | None = None, *, quiet: bool = False, stamped: bool = True
) -> Published:
    """Publish what was staged, of ``paths`` alone where they are given; prints what was done, unless ``quiet``.

    Without ``stamped`` the stamp is left to the caller. Raises Failure.
    """
    prepared, project = job.prepared, job.project
    target = prepared.target
    forget_stage(target.root)
    root = read_root(target.root)
    if root is None:
        raise Failure(f"cannot build in {target.root}: the root is gone", hint="build again")
    with root, open_stage(root) as stage:
        staged = noted(stage, prepared.plan.artifacts)
        comparison = prepared.comparison if paths is None else _only(prepared.comparison, set(paths))
        _require(comparison, staged)
        seeds = () if prepared.record is None else prepared.record.seeds
        new = job.unplanted if paths is None else ()
        stage_seeds(root, stage, {path: prepared.plan.seeds[path] for path in new})
        published = publish(
            project, target.name, root, stage, comparison, staged, (seeds, new), base=prepared.record
        )
    if paths is None and stamped:
        stamp(project, replace(prepared, record=published.record), published.record)
    if not quiet:
        _tell(changes_text(target.name, target.root, comparison.stale, published, prepared.record is None))
    return published


def _tell(text: str) -> None:
    """Print what was done. It is done whether somebody reads it or not."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise Failure(
            f"cannot write to standard output: {error.strerror}", hint="the build is done"
        ) from None


def abandon(job: Job) -> None:
    """Remove what a job staged and did not publish: on a full disk it would keep it full.

    A publish that was broken off is left for the next build. Raises Failure.
    """
    if is_pending(job.project, job.name):
        return
    target = job.prepared.target
    forget_stage(target.root)
    root = read_root(target.root)
    if root is not None:
        with root:
            clear_stage(root)


def _only(comparison: Comparison, paths: set[str]) -> Comparison:
    """Return the comparison without what is stale and not among ``paths``; its record stays as it is."""
    changes = {
        path: change
        for path, change in comparison.changes.items()
        if path in paths or change.action == "keep"
    }
    return replace(comparison, changes=changes, children=by_directory(changes))


def _require(comparison: Comparison, staged: Mapping[str, Installed]) -> None:
    for path, change in comparison.stale.items():
        if change.artifact is not None and path not in staged:
            raise Failure(f"cannot publish: {path} was not staged", hint="build again; nothing was changed")


def together(plan: Plan, stale: Iterable[str], path: str) -> set[str]:
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
