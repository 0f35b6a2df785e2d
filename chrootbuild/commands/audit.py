"""chrootbuild audit: find security problems in a root."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from chrootbuild.audit.run import audit
from chrootbuild.commands import Context
from chrootbuild.commands.each import add_arguments, each_target
from chrootbuild.console import progress
from chrootbuild.findings import Finding, as_json, as_text, failed
from chrootbuild.target.model import Target


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_arguments(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the findings; exit 1 where one is an error."""
    return each_target(context, args.names, lambda target: _audit(context, target, args.json))


def _audit(context: Context, target: Target, as_data: bool) -> int:
    with progress(f"audit {target.name}") as bar:
        findings = audit(context.project, target, bar)
    if as_data:
        context.say(json.dumps(as_json(target.name, findings)))
    elif findings:
        context.say(as_text(target.name, _remedies_once(findings)))
    else:
        context.say(f"{target.name}  nothing found")
    return 1 if failed(findings) else 0


def _remedies_once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings, with a rule's remedy only on its last one of each severity."""
    kept = list(findings)
    last = {(finding.rule, finding.severity): index for index, finding in enumerate(kept)}
    for index, finding in enumerate(kept):
        yield finding if index == last[finding.rule, finding.severity] else replace(finding, remedy="")
