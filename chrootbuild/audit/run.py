"""Security findings about a root: one walk gathers facts, and each rule judges them (docs/audit.md)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from chrootbuild.artifact import Artifact
from chrootbuild.audit.facts import Entry, Facts, Person, Summary
from chrootbuild.audit.listeners import read_listeners
from chrootbuild.audit.processes import mounts_in, processes
from chrootbuild.audit.rules import OF_EACH_PATH, OF_THE_WHOLE
from chrootbuild.audit.rules.whole_root import UNREADABLE
from chrootbuild.audit.users import people_of, read_accounts
from chrootbuild.audit.walk import walk
from chrootbuild.console import SILENT, Progress
from chrootbuild.elf.detect import detect_system
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.plan.make import plan, system_of
from chrootbuild.plan.programs import find_program
from chrootbuild.root.tree import Root, read_root
from chrootbuild.state.project import Project
from chrootbuild.state.record import Record, read_record
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target
from chrootbuild.text import printable_lines

_MANY = 100  # findings kept of one rule and severity


def audit(project: Project, target: Target, bar: Progress = SILENT) -> tuple[Finding, ...]:
    """Return what is dangerous in a target's root, by rule and path; an error among them: act.

    Nothing is changed, nothing of the root is run, and no link in it is followed. Findings that
    ``[audit] ignore`` silences become notes, with its reason. Raises Failure where there is no root.
    """
    root = read_root(target.root)
    if root is None:
        raise Failure(
            f"cannot audit {target.name}: {target.root} is not there",
            hint=f"chrootbuild build {target.name}",
        )
    with root:
        record = read_record(project, target.name, target.root)
        facts, notes = gather(project, target, root, record, bar)
        kept = _Kept(_ignored(target, Sysroot(root.path)))
        kept.take(notes)
        summary = Summary()
        bar.begin(0 if record is None else len(record.artifacts))
        for entry in walk(facts, lambda finding: kept.take([finding])):
            bar.step(entry.path, entry.info.st_size if entry.is_file else 0)
            summary.add(entry)
            kept.take(_judged(entry, facts))
        for rule in OF_THE_WHOLE:
            try:
                kept.take(rule(facts, summary))
            except Failure as failure:
                kept.take([UNREADABLE.note("", failure.message)])
        return tuple(kept.all())


def _judged(entry: Entry, facts: Facts) -> Iterator[Finding]:
    for rule in OF_EACH_PATH:
        try:
            yield from rule(entry, facts)
        except (Failure, OSError) as error:
            yield UNREADABLE.note(entry.path, getattr(error, "message", None) or str(error))


# -- facts before the walk -------------------------------------------------------------------


def gather(
    project: Project, target: Target, root: Root, record: Record | None, bar: Progress = SILENT
) -> tuple[Facts, tuple[Finding, ...]]:
    """Return the facts of a root known before the walk, and notes on those that could not be read."""
    sysroot, inside = Sysroot(target.sysroot), Sysroot(root.path)
    found, notes = processes(root.path), []
    accounts = read_accounts(target, root, sysroot)
    people: list[Person] = []
    try:
        for person in people_of(target, sysroot, accounts, found):
            if all(person.uid != known.uid for known in people):
                people.append(person)
    except Failure as failure:
        notes.append(UNREADABLE.note("", f"who the daemon is cannot be told: {failure.message}"))
    uid, gid = os.geteuid(), os.getegid()
    facts = Facts(
        target,
        root,
        _system(target, sysroot, inside),
        record,
        _planned(target, sysroot) if record is None else None,
        tuple(people),
        setuid=_canonical(inside, (item.value for item in target.setuid)),
        named=_canonical(inside, _programs(target, inside)),
        exact=_canonical(inside, (item.path for item in target.files)),
        free=_free(target, inside, record),
        # Without root the caller owns everything in the root, as root would else.
        trusted=frozenset({0, uid}),
        trusted_groups=frozenset({0} if uid == 0 else {0, gid}),
        mounts=mounts_in(root.path, found),
        processes=found,
        listeners=read_listeners(),
        places=(os.path.dirname(root.path), *target.read, project.state),
        knows_user=accounts.has_user,
        knows_group=accounts.has_group,
        bar=bar,
    )
    return facts, tuple(notes)


def _planned(target: Target, sysroot: Sysroot) -> Mapping[str, Artifact] | None:
    """Return what a build would install, None where the target cannot be satisfied."""
    try:
        return plan(target, sysroot).artifacts
    except Failure:
        return None


def _system(target: Target, sysroot: Sysroot, inside: Sysroot) -> str:
    """Return the system the root is for: as the plan says, else as the root's files show."""
    try:
        return system_of(target, sysroot)
    except Failure:
        return target.os or detect_system(inside, sorted(_canonical(inside, _programs(target, inside))))


def _programs(target: Target, inside: Sysroot) -> Iterator[str]:
    for item in target.binaries:
        path = item.value if "/" in item.value else find_program(inside, item.value)
        if path is not None:
            yield path


def _canonical(inside: Sysroot, paths: Iterable[str]) -> frozenset[str]:
    """Return the canonical forms of paths in the root; dangling ones are left out."""
    found = set()
    for path in paths:
        try:
            found.add(inside.canonical(path))
        except Failure:
            continue
    return frozenset(found)


def _free(target: Target, inside: Sysroot, record: Record | None) -> frozenset[str]:
    """Return the daemon-owned directories: as installed, else as the target declares them."""
    seeds = (item.value for item in target.seed)
    if record is not None:
        opened = {
            path
            for path, entry in record.artifacts.items()
            if entry.kind == "directory" and entry.detail == "open"
        }
        return frozenset(opened) | set(record.seeds) | _canonical(inside, seeds)
    places = (*target.directories, *seeds, *(item.value for item in target.mounts))
    return _canonical(inside, places) | (
        {"/var/run" if target.os == "freebsd" else "/dev"} if target.syslog else set()
    )


# -- findings --------------------------------------------------------------------------------


def _ignored(target: Target, inside: Sysroot) -> dict[str, tuple[str, str]]:
    """Return ``[audit] ignore`` as path (a tree with a slash at its end) -> (key, reason)."""
    found = {}
    for key, reason in target.audit_ignore.items():
        slash = "/" if key.endswith("/") else ""
        found[key] = (key, reason)
        for path in _canonical(inside, [key.rstrip("/")]):
            found[path + slash] = (key, reason)
    return found


@dataclass(slots=True)
class _Kept:
    """The findings so far, at most a hundred of each rule and severity: a daemon can cause any number."""

    ignored: dict[str, tuple[str, str]]
    used: set[str] = field(default_factory=set)
    groups: dict[tuple[str, str], dict[tuple[str, str], Finding]] = field(default_factory=dict)
    more: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, findings: Iterable[Finding]) -> None:
        """Add findings, the silenced ones as notes."""
        for finding in findings:
            kept = self._silenced(finding)
            group = self.groups.setdefault((kept.rule, kept.severity), {})
            key = (kept.path, kept.message)
            if key in group:
                continue
            if len(group) >= _MANY:
                self.more[kept.rule, kept.severity] = self.more.get((kept.rule, kept.severity), 0) + 1
            else:
                group[key] = kept

    def _silenced(self, finding: Finding) -> Finding:
        for path, (key, reason) in self.ignored.items():
            below = path.endswith("/") and (finding.path + "/").startswith(path)
            if finding.path and (finding.path == path or below):
                self.used.add(key)
                if finding.severity == "note":
                    return finding
                fact = finding.message.partition("\n")[0]
                message = f"ignored ({printable_lines(reason)}): {fact}"
                return replace(finding, severity="note", message=message, remedy="")
        return finding

    def all(self) -> Iterator[Finding]:
        """Yield all, sorted by path, then the counts above the limit and the ignores that matched nothing."""
        kept = (finding for group in self.groups.values() for finding in group.values())
        yield from sorted(kept, key=lambda finding: (finding.path, finding.rule))
        for (rule, severity), count in self.more.items():
            like = next(iter(self.groups[rule, severity].values()))
            yield replace(like, path="", message=f"{count} more like these", remedy="")
        for key, _ in dict.fromkeys(self.ignored.values()):
            if key not in self.used:
                yield Finding(
                    "note", "ignore", key, "[audit] ignore names it, and there is nothing to silence"
                )
