"""chrootbuild plan: show the steps of a build, and why; changes nothing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from chrootbuild.artifact import Kind
from chrootbuild.build.report import all_chains
from chrootbuild.commands import Context
from chrootbuild.commands.each import add_arguments, each_target
from chrootbuild.compare.assessment import Assessment, assess
from chrootbuild.console import table, warn
from chrootbuild.system.processes import running_on
from chrootbuild.target.model import Target
from chrootbuild.text import printable

_SHOWN = 10  # skipped paths shown; --json has all


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_arguments(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the plan, compared with record and root."""
    return each_target(context, args.names, lambda target: _plan(context, target, args.json))


def _plan(context: Context, target: Target, as_data: bool) -> int:
    assessment = assess(context.project, target)
    if not as_data:
        context.say(as_text(assessment))
        return 0
    context.say(json.dumps(as_json(assessment)))
    for warning in assessment.plan.warnings:
        warn(f"{target.name}: {warning}")
    return 0


def as_json(assessment: Assessment) -> dict[str, Any]:
    """Return one target's plan in the documented JSON form."""
    plan, comparison = assessment.plan, assessment.comparison
    why = all_chains(plan)
    artifacts = []
    for path, change in comparison.changes.items():
        artifact = change.artifact
        known = comparison.known.get(path)
        if artifact is None and known is None:
            continue
        seen = artifact or known
        assert seen is not None
        link = seen.kind == Kind.LINK
        artifacts.append(
            {
                "path": path,
                "kind": str(seen.kind),
                "action": change.action,
                "reason": change.reason,
                "mode": None if link else f"{seen.mode:04o}",
                "owner": f"{seen.uid}:{seen.gid}",
                "sources": list(artifact.sources) if artifact else [],
                "why": why.get(path, []),
            }
        )
    artifacts += _seeds(assessment, why)
    skipped = [*plan.skipped, *comparison.skipped]
    return {
        "target": plan.target,
        "root": plan.root,
        "artifacts": sorted(artifacts, key=lambda entry: str(entry["path"])),
        "skipped": [{"path": item.path, "reason": item.reason} for item in skipped],
    }


def _seeds(assessment: Assessment, why: dict[str, list[list[str]]]) -> Iterable[dict[str, Any]]:
    planted = () if assessment.record is None else assessment.record.seeds
    for path, artifacts in assessment.plan.seeds.items():
        top = artifacts[0]
        done = path in planted
        yield {
            "path": path,
            "kind": "seed",
            "action": "keep" if done else "install",
            "reason": "" if done else "never seeded",
            "mode": f"{top.mode:04o}",
            "owner": f"{top.uid}:{top.gid}",
            "sources": [artifact.source for artifact in artifacts if artifact.source],
            "why": why.get(path, []),
        }


def as_text(assessment: Assessment) -> str:
    """Return one target's plan as text."""
    plan, comparison = assessment.plan, assessment.comparison
    stale = comparison.stale
    rows = [(change.action, path, change.reason) for path, change in stale.items()]
    planted = () if assessment.record is None else assessment.record.seeds
    rows += [("install", path, "never seeded") for path in plan.seeds if path not in planted]
    lines = [f"{plan.target}  {printable(plan.root)}", *table(rows)]
    lines += table(("warning", text) for text in plan.warnings)
    lines += table(("skipped", item.path, item.reason) for item in plan.skipped[:_SHOWN])
    if len(plan.skipped) > _SHOWN:
        lines.append(f"  skipped  {len(plan.skipped) - _SHOWN} more; --json lists them")
    if comparison.skipped:
        lines.append(f"  without root {len(comparison.skipped)} owners and nodes are left as they are")
    summary = f"{len(rows)} of {len(comparison.changes) + len(plan.seeds)} to change"
    going = [path for path, change in stale.items() if change.action in ("replace", "remove")]
    running = running_on(plan.root, going)
    if running:
        names = ", ".join(f"{name} (pid {pid})" for pid, name in running)
        verb = "1 program runs" if len(running) == 1 else f"{len(running)} programs run"
        summary += f"; {verb} on files that will go: {names}"
    return "\n".join([*lines, summary])
