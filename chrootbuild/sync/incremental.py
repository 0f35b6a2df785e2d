"""What watch remembers of a target between two refreshes, so that one changed file costs one copied file.

As long as only the content of copied files changes, plan and record in memory are as good as
new ones: the rules are those of plancache.py. The root itself is looked at again by the sweeps.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from chrootbuild.artifact import Kind
from chrootbuild.build.job import Job, begin, opened
from chrootbuild.build.stamping import stamp
from chrootbuild.compare.assessment import Assessment
from chrootbuild.compare.change import KEEP, Change, Comparison
from chrootbuild.compare.compare import compare
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.reader import read
from chrootbuild.plan.cache import digest_of, same_but_content, same_names
from chrootbuild.publish.journal import is_pending
from chrootbuild.publish.publish import Published
from chrootbuild.root.tree import Root, open_root
from chrootbuild.state.lock import locked
from chrootbuild.state.project import Project
from chrootbuild.state.record import Record, record_signature
from chrootbuild.system.signature import Signature, signature
from chrootbuild.target.model import Target


@dataclass(frozen=True, slots=True)
class Memory:
    """A target as it was when its last refresh ended: nothing is stale."""

    assessment: Assessment
    record: Signature  # of the file: another build changes it
    notes: Mapping[str, Any]  # listed, missing, sources: as plancache has them
    inputs: frozenset[str]
    made_from: Mapping[str, tuple[str, ...]]  # a source: the paths in the root that are copies of it
    names: frozenset[str]  # every path that the plan depends on, those that were absent too
    directories: frozenset[str]  # where all of them are

    def concerns(self, path: str) -> bool:
        """Tell whether something that happened to a path may matter to this target."""
        return path in self.names or os.path.dirname(path) in self.notes["listed"]


def remember(project: Project, assessment: Assessment, record: Record) -> Memory | None:
    """Return what can be remembered of a build, under its lock; None where the plan was not made anew."""
    sysroot, seen = assessment.sysroot, record_signature(project, assessment.target.name)
    if sysroot is None or seen is None:
        return None
    missing = {f"{place}/{name}" for place, names in sysroot.missing.items() for name in names}
    target = assessment.target
    names = frozenset((*sysroot.seen, *sysroot.owners, *missing, *target.read, *target.absent))
    directories = {os.path.dirname(path) for path in names}
    directories |= {path for path, entry in sysroot.seen.items() if stat.S_ISDIR(entry[3])}
    made_from: dict[str, tuple[str, ...]] = {}
    for path, artifact in assessment.plan.artifacts.items():
        if artifact.kind is Kind.FILE:
            made_from[artifact.source] = (*made_from.get(artifact.source, ()), path)
    notes = {
        "listed": {path: digest_of("\0".join(sorted(listed))) for path, listed in sysroot.listed.items()},
        "missing": sysroot.missing,
        "sources": _sources(project, assessment),
    }
    return Memory(
        _settled(replace(assessment, sysroot=None), record),
        seen,
        notes,
        frozenset(sysroot.inputs),
        made_from,
        names,
        frozenset(directories),
    )


def _settled(assessment: Assessment, record: Record) -> Assessment:
    """Return the target with its new record, nothing stale."""
    changes = {
        path: change
        if change.action == KEEP and not change.reason
        else Change(path, KEEP, "", change.artifact)
        for path, change in assessment.comparison.changes.items()
        if change.artifact is not None
    }
    comparison = Comparison(
        changes, record.artifacts, assessment.comparison.children, assessment.comparison.skipped
    )
    return replace(assessment, record=record, comparison=comparison)


def _sources(project: Project, assessment: Assessment) -> dict[str, list[Any]]:
    """Return for each copied file its owner and a digest of what a linker goes by.

    What is not as it was planned with any more is left out: that makes a new plan.
    """
    memo = Memo.load(f"{project.state}/{assessment.target.name}.memo")
    found: dict[str, list[Any]] = {}
    for artifact in assessment.plan.artifacts.values():
        if artifact.kind is not Kind.FILE or artifact.source in found:
            continue
        with contextlib.suppress(OSError):
            info = os.lstat(artifact.source)
            facts = memo.get(artifact.source, info) if artifact.elf else None
            if artifact.elf and facts is None:
                fd = os.open(artifact.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    facts = read(fd, info.st_size)
                    info = os.fstat(fd)
                finally:
                    os.close(fd)
            if signature(info) == assessment.seen.get(artifact.source):
                digest = "" if facts is None else digest_of(repr(facts))
                found[artifact.source] = [info.st_uid, info.st_gid, digest]
    return found


# -- the next refresh ----------------------------------------------------------------------


@dataclass(slots=True)
class Remembering:
    """The steps of a refresh (refresh.Steps) with a memory: by it where it holds, else anew."""

    memory: Memory | None = None
    changed: set[str] = field(default_factory=set)  # what happened to which paths
    anew: bool = True  # make a new plan in any case
    unstamped: bool = False  # the stamp is still to be written

    def begin(self, project: Project, target: Target, wait: float) -> Job:
        """Lock, plan and compare; raises as build.begin does."""
        job = None
        if self.memory is not None and not self.anew:
            job = _begin_known(project, self.memory, self.changed, wait)
        return job or begin(project, target, wait=wait)

    def done(self, job: Job, published: Published | None) -> None:
        """Take the state after a build as the new memory; the lock is still held."""
        memory = self.memory
        record = job.assessment.record if published is None else published.record
        self.unstamped = self.unstamped or (published is not None and not job.stamps)
        if job.assessment.sysroot is not None:
            self.memory = None if record is None else remember(job.project, job.assessment, record)
            self.unstamped = False
        elif memory is not None and record is not None:
            seen = record_signature(job.project, job.name)
            self.memory = (
                None
                if seen is None
                else replace(memory, assessment=_settled(job.assessment, record), record=seen)
            )
        self.changed = set()
        self.anew = self.memory is None

    def write_stamp(self, project: Project) -> None:
        """Write the stamp that quick refreshes left out, so that other builds are quick as well."""
        self.unstamped = False
        memory = self.memory
        if memory is None or memory.assessment.record is None:
            return
        name = memory.assessment.target.name
        with locked(project, name):
            if record_signature(project, name) == memory.record:
                stamp(project, memory.assessment, memory.assessment.record)


def _begin_known(project: Project, memory: Memory, changed: Iterable[str], wait: float) -> Job | None:
    """Lock and compare what changed alone; None where that is not enough. Raises TryAgain and Failure."""
    assessment, target = memory.assessment, memory.assessment.target
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(project, target.name, wait))
        if record_signature(project, target.name) != memory.record:
            return None
        if is_pending(project, target.name):
            return None
        now = _content_changes(memory, changed)
        if now is None:
            return None
        with open_root(target.root) as root:
            if assessment.record is None or os.fstat(root.fd).st_ino != assessment.record.inode:
                return None
            # Writing the stamp takes longer than all the rest: it is left for later.
            job = Job(project, _compared(memory, now, root), stack, stamps=False)
            job = opened(job, root) if job.stale else job
            return replace(job, lock=stack.pop_all())


def _content_changes(memory: Memory, changed: Iterable[str]) -> dict[str, Signature] | None:
    """Return the sources of which the content alone changed; None: a new plan is due."""
    seen, owners = memory.assessment.seen, memory.assessment.owners
    now: dict[str, Signature] = {}
    places: set[str] = set()
    try:
        for path in changed:
            entry, owner = seen.get(path), owners.get(path)
            if owner is not None or (entry is not None and stat.S_ISDIR(entry[3])):
                info = os.lstat(path)
                if owner is not None and (info.st_ino, info.st_uid, info.st_gid, info.st_mode) != owner:
                    return None
                places.add(path)
            elif entry is None:
                places.add(os.path.dirname(path))
            else:
                info = os.lstat(path)
                if signature(info) == entry:
                    continue
                if path in memory.inputs or info.st_mode != entry[3]:
                    return None
                if not same_but_content(memory.notes, path, info):
                    return None
                now[path] = signature(info)
        for place in places:
            if not same_names(memory.notes, place):
                return None
    except OSError:
        return None
    return now


def _compared(memory: Memory, now: Mapping[str, Signature], root: Root) -> Assessment:
    """Return the target with what its changed sources are copied to held against the root."""
    assessment = memory.assessment
    assert assessment.record is not None
    paths = [path for source in now for path in memory.made_from.get(source, ())]
    part = replace(assessment.plan, artifacts={path: assessment.plan.artifacts[path] for path in paths})
    known = assessment.record.artifacts
    record = replace(assessment.record, artifacts={path: known[path] for path in paths if path in known})
    found = compare(part, record, root, now)
    comparison = replace(
        assessment.comparison,
        changes={**assessment.comparison.changes, **found.changes},
        known={**assessment.comparison.known, **found.known},
    )
    return replace(assessment, comparison=comparison, seen={**assessment.seen, **now})
