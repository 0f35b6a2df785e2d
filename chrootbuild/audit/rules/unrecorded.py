"""A root without a record: what it holds is compared with what a build would install."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.audit.facts import Entry, Facts, Rule, Summary
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.system.files import sha256_of

NO_RECORD = Rule(
    "no-record",
    "warning",
    "Without a record of what was installed nobody can tell what was changed since.",
    "chrootbuild build NAME makes one; a root that somebody else may have changed is best made anew",
)
UNLIKE = Rule(
    "unlike-source",
    "error",
    "There is no record, and it is not what a build would install: somebody changed it, or the source was upgraded.",
    "look at it (cmp), then chrootbuild build NAME replaces it",
)


def no_record(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Say that there is no record, or none that can be used."""
    if facts.record is None:
        more = "the sources alone are compared" if facts.planned is not None else "nothing is compared"
        yield NO_RECORD.warning("", f"there is no record of what was installed: {more}")


def unlike_source(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge content and link texts against the plan; owners and modes have rules of their own."""
    artifact = None if facts.planned is None else facts.planned.get(entry.path)
    if artifact is None or artifact.kind is Kind.NODE:
        return
    if artifact.kind is Kind.DIRECTORY:
        if not entry.is_directory:
            yield UNLIKE.error(entry.path, "it is not a directory")
    elif artifact.kind is Kind.LINK:
        text = facts.root.readlink(entry.path)
        if text != artifact.link:
            yield UNLIKE.error(
                entry.path, f"it leads to {text}, not to {artifact.link}" if text else "no link"
            )
    elif not entry.is_file:
        yield UNLIKE.error(entry.path, "it is not a regular file")
    elif entry.head is not None and _differs(entry, facts, artifact):
        yield UNLIKE.error(entry.path, "its content is not what a build would install")


def _differs(entry: Entry, facts: Facts, artifact: Artifact) -> bool:
    wanted = _digest(artifact)
    if wanted is None:
        return False
    fd = facts.root.open(entry.path)
    if fd is None:
        return False
    try:
        size, digest = wanted
        return os.fstat(fd).st_size != size or sha256_of(fd) != digest
    finally:
        os.close(fd)


def _digest(artifact: Artifact) -> tuple[int, str] | None:
    """Return the size and the sha256 of an artifact's content, None where it cannot be made."""
    if artifact.kind is Kind.FILE:
        try:
            fd = os.open(artifact.source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            info = os.fstat(fd)
            return (info.st_size, sha256_of(fd)) if stat.S_ISREG(info.st_mode) else None
        finally:
            os.close(fd)
    try:
        content = artifact.content if artifact.recipe is None else artifact.recipe.render()
    except Failure:
        return None
    return len(content), hashlib.sha256(content).hexdigest()
