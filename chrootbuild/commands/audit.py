"""chrootbuild audit: what is dangerous in a root."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from chrootbuild.audit import audit
from chrootbuild.commands import Context, complain
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding, as_json, as_text, failed
from chrootbuild.target import read_targets, select

PURPOSE = "show what is dangerous in a root"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets; none: all that are not manual")
    parser.add_argument("--json", action="store_true", help="one object a line and target")


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the findings; exit 1 where one is an error."""
    targets = read_targets(context.project)
    code = 0
    if not args.names:
        for failure in targets.failures.values():
            complain(failure)
            code = max(code, failure.code)
    for target in select(targets, args.names):
        try:
            findings = audit(context.project, target)
        except Failure as failure:
            complain(failure)
            code = max(code, failure.code)
            continue
        if args.json:
            context.say(json.dumps(as_json(target.name, findings)))
        elif findings:
            context.say(as_text(target.name, _remedies_once(findings)))
        else:
            context.say(f"{target.name}  nothing found")
        code = max(code, 1 if failed(findings) else 0)
    return code


def _remedies_once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings, a rule's remedy only with its last in a row of one severity: it is the same for all."""
    kept = list(findings)
    last = {(finding.rule, finding.severity): index for index, finding in enumerate(kept)}
    for index, finding in enumerate(kept):
        if index == last[finding.rule, finding.severity]:
            yield finding
        else:
            lines = [line for line in finding.message.split("\n") if not line.startswith("remedy: ")]
            yield replace(finding, message="\n".join(lines))
