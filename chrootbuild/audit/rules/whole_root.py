"""Rules about the root as a whole: hard links out of it, unknown owners, drift, and its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from chrootbuild.artifact import Artifact
from chrootbuild.audit.facts import WRITE, Facts, Linked, Rule, Summary, can, others
from chrootbuild.audit.rules.permissions import in_program_place
from chrootbuild.compare.verify import verify
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.plan.make import top_of
from chrootbuild.root.stage import INSIDE, stage_place
from chrootbuild.rtld.model import Missing
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.rights.trust import refuse_untrusted

LINK = Rule(
    "hard-link",
    "error where the daemon's user can write it; else warning",
    "The file has a name outside the root as well: what is changed here changes there.",
    "make it a copy: cp -p FILE FILE.new && mv FILE.new FILE",
)
OWNER = Rule(
    "no-account",
    "warning",
    "Files of a number that no account has fall to whoever gets that number next.",
    "chown it to a user of the root's or the host's; or add the account in [accounts]",
)
DRIFT = Rule(
    "drift",
    "error",
    "It is not what was installed: somebody changed it.",
    "look at it (chrootbuild verify NAME), then chrootbuild build NAME repairs it",
)
EXTRA = Rule(
    "extra",
    "warning",
    "It was not installed, and is not in a directory that is declared.",
    "remove it, or declare where the daemon writes: [directories], seed",
)
PLACE = Rule(
    "untrusted-place",
    "error",
    "Who can write a directory above the root, the target file or the state decides what the next build does as root.",
    "move it, or take the right away",
)
UNREADABLE = Rule(
    "unreadable",
    "warning for a directory that is deeper than a path can be; else note",
    "What cannot be read cannot be judged.",
    "run audit as root; remove what is too deep, nobody can use it by its path",
)


def hard_links(facts: Facts, summary: Summary) -> Iterator[Finding]:
    """Judge files with more hard links than were met; links in a build's staging are ours."""
    leaving = {
        inode: linked for inode, linked in summary.links.items() if linked.met < linked.entry.info.st_nlink
    }
    if not leaving:
        return
    _count_staged(facts, leaving)
    for linked in leaving.values():
        entry, more = linked.entry, linked.entry.info.st_nlink - linked.met
        if more <= 0:
            continue
        names = "1 more name of this file is" if more == 1 else f"{more} more names of this file are"
        fact = f"{names} outside the root"
        if entry.is_file and any(
            can(person, entry, WRITE) for person in facts.people if person in entry.reach
        ):
            yield LINK.error(entry.path, f"{fact}, and the daemon's user can write it")
        else:
            yield LINK.warning(entry.path, fact)


def _count_staged(facts: Facts, leaving: dict[int, Linked]) -> None:
    try:
        top = stage_place(facts.root)[0]
    except (OSError, Failure):
        return
    found = (os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names)
    seen = [info for path in found if (info := _stat(path)) is not None]
    if top != facts.root.real(f"/{INSIDE}"):
        with contextlib.suppress(Failure):  # something is mounted there
            seen += [info for _, info in facts.root.walk(f"/{INSIDE}")]
    for info in seen:
        if info.st_dev == facts.root.dev and info.st_ino in leaving:
            leaving[info.st_ino].met += 1


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def owners(facts: Facts, summary: Summary) -> Iterator[Finding]:
    """Judge each id once, at its first path."""
    for kind, table, known, trusted in (
        ("uid", summary.uids, facts.knows_user, facts.trusted),
        ("gid", summary.gids, facts.knows_group, facts.trusted_groups),
    ):
        for number, counter in sorted(table.items()):
            if number not in trusted and not known(number):
                fact = f"{kind} {number} has no account, neither in the root nor in the sysroot"
                yield OWNER.warning(str(counter[0]), fact + others(counter))


def drift(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Yield verify's findings, one a path; mounts hide installed paths."""
    if facts.record is None:
        return  # unrecorded.py says so
    hidden = tuple(mount.path for mount in facts.mounts)
    for finding in verify(facts.record, facts.root, facts.bar, _top(facts)):
        if any(finding.path == path or finding.path.startswith(f"{path}/") for path in hidden):
            continue
        if (finding.closed and os.geteuid() != 0) or finding.rule == "unreadable":
            yield UNREADABLE.note(finding.path, finding.fact)
        elif finding.rule != "extra":
            yield DRIFT.error(finding.path, finding.fact)
        elif not in_program_place(finding.path):  # there foreign-program reports it
            yield EXTRA.warning(finding.path, finding.fact)


def _top(facts: Facts) -> Artifact | None:
    """Return the root directory as planned; None where the target cannot be satisfied."""
    try:
        return top_of(facts.target, Sysroot(facts.target.sysroot))
    except Failure:
        return None


def place(facts: Facts, _summary: Summary) -> Iterator[Finding]:
    """Judge the paths that determine the root's content, and all above them; only for root."""
    said = set()
    for path in facts.places:
        try:
            refuse_untrusted([path], what="what the root is built from")
        except Failure as failure:
            if failure.message not in said:
                said.add(failure.message)
                yield PLACE.error("", failure.message, *failure.details, failure.hint)


def unreadable(_facts: Facts, summary: Summary) -> Iterator[Finding]:
    """Note the files that could not be read, in one finding."""
    if summary.unreadable:
        fact = "its content cannot be read, and was not judged"
        yield UNREADABLE.note(str(summary.unreadable[0]), fact + others(summary.unreadable))


MISSING = Rule(
    "missing-library",
    "error; warning for the interpreter of a script",
    "A program that lacks a library does not start, or takes one from wherever somebody can put it.",
    "chrootbuild build NAME; chrootbuild locate FILE says which package has it",
)


def missing_libraries(facts: Facts, summary: Summary) -> Iterator[Finding]:
    """Compute the closure of every program and script within the root; nothing of it is run.

    A library alone is not judged: its program may load the ones it lacks.
    """
    sysroot = Sysroot(facts.root.path)
    resolver = Resolver(sysroot, system=facts.system)
    said: set[tuple[str, str]] = set()
    for path in summary.programs:
        kind = resolver.classify(path)
        if kind not in ("program", "script"):
            continue
        try:
            missing = resolver.program(path).missing
        except Failure as failure:
            yield MISSING.error(path, failure.message)
            continue
        for item in missing:
            if not item.optional and (item.name, item.by) not in said:
                said.add((item.name, item.by))
                yield _finding(path, kind, item)


def _finding(path: str, kind: str, item: Missing) -> Finding:
    by = "" if item.by == path else f", which {path} loads"
    searched = f"searched: {', '.join(item.searched)}"
    if kind == "script" and item.by == path:
        return MISSING.warning(path, f"{item.name}, its interpreter, is not in the root", searched)
    return MISSING.error(item.by, f"{item.name} is needed{by}, and is not in the root", searched)
