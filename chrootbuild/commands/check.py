"""chrootbuild check: proof that a root serves."""

from __future__ import annotations

import argparse
import json

from chrootbuild.commands import Context, complain
from chrootbuild.errors import Failure
from chrootbuild.findings import as_json, as_text, failed
from chrootbuild.proof import prove
from chrootbuild.target import read_targets, select

PURPOSE = "prove that the service works inside its root"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets; none: all that are not manual")
    parser.add_argument("--json", action="store_true", help="one object a line and target")
    parser.add_argument("--logs", default="", metavar="DIR", help="keep there what was printed, as NAME.log")


def run(context: Context, args: argparse.Namespace) -> int:
    """Run [check] of each target; exit 1 where one does not serve."""
    targets = read_targets(context.project)
    code = 0
    if not args.names:
        for failure in targets.failures.values():
            complain(failure)
            code = max(code, failure.code)
    for target in select(targets, args.names):
        try:
            findings = prove(context.project, target, logs=args.logs)
        except Failure as failure:
            complain(failure)
            code = max(code, failure.code)
            continue
        if args.json:
            context.say(json.dumps(as_json(target.name, findings)))
        elif findings:
            context.say(as_text(target.name, findings))
        else:
            context.say(f"{target.name}  serves")
        code = max(code, 1 if failed(findings) else 0)
    return code
