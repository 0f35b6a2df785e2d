"""The whole proof of one target: its root verified, then ``[check]`` run, with the numbers and nodes it needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from chrootbuild.artifact import Plan
from chrootbuild.check.trial import check
from chrootbuild.compare.assessment import make_plan
from chrootbuild.compare.verify import verify
from chrootbuild.console import SILENT, Progress
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding, failed
from chrootbuild.plan.users import refuse_foreign, users_of
from chrootbuild.propose.model import Known
from chrootbuild.propose.propose import missing
from chrootbuild.root.tree import read_root
from chrootbuild.state.project import Project
from chrootbuild.state.record import read_record
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target
from chrootbuild.trace.follow import follow
from chrootbuild.trace.open import detect, parse

_SHOWN = 20  # paths that drifted


def prove(
    project: Project,
    target: Target,
    planned: tuple[Plan, Sysroot] | None = None,
    *,
    logs: str = "",
    explain: bool = True,
    bar: Progress = SILENT,
) -> tuple[Finding, ...]:
    """Return what ``[check]`` showed; an error among the findings: the root does not serve.

    A root that drifted is not run at all. ``planned`` is what make_plan returned, where the caller
    has it. ``logs`` is a directory for what was printed. With ``explain`` a check that failed is run
    again under strace(1), for the paths that were missing. Raises Failure where nothing can be proven.
    """
    root = read_root(target.root)
    record = read_record(project, target.name, target.root)
    if root is None or record is None:
        raise Failure(
            f"cannot check {target.name}: {target.root} was not built",
            hint=f"chrootbuild build {target.name}",
        )
    refuse_foreign(target, "check")
    with root:
        # Extra files are no reason: a daemon may have left them. What drifted is not run.
        drifted = tuple(
            itertools.islice((item for item in verify(record, root, bar) if item.rule != "extra"), _SHOWN)
        )
    if drifted:
        hint = Finding(
            "note", "drift", "", f"nothing was run; repair it first: chrootbuild build {target.name}"
        )
        return (*drifted, hint)
    plan, sysroot = planned or make_plan(project, target)
    findings = check(
        target,
        target.root,
        users=users_of(target, sysroot),
        devices=plan.devices,
        logs=logs,
        explain=(lambda trace: _explain(trace, plan, sysroot)) if explain else None,
        bar=bar,
    )
    if failed(findings) and any(item.rule == "missing" and item.path for item in findings):
        learn = f"chrootbuild learn {target.name} adds what is missing"
        findings = (*findings, Finding("note", "missing", "", learn))
    return findings


def _explain(trace: str, plan: Plan, sysroot: Sysroot) -> Iterable[tuple[str, str]]:
    """Yield each path, and a line about it, that a failing run asked for in vain and the sysroot has."""
    with open(trace, "rb") as file:
        if not file.read(1):
            return
        file.seek(0)
        head = file.read(1 << 16)
        file.seek(0)
        calls = parse(file, detect(head, "the trace"))
        proposals = missing(follow(calls), sysroot, Known(plan.artifacts))
    for entry in proposals.entries:
        path = entry.value if entry.value.startswith("/") else ""
        yield path, f"{entry.value}  {entry.reason}; in the target file: {entry.key}"
