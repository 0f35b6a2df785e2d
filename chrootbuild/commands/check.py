"""chrootbuild check: prove that a root's service works."""

from __future__ import annotations

import argparse
import json

from chrootbuild.check.prove import prove
from chrootbuild.commands import Context
from chrootbuild.commands.each import add_arguments, each_target
from chrootbuild.console import progress
from chrootbuild.findings import as_json, as_text, failed
from chrootbuild.target.model import Target


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_arguments(parser)
    parser.add_argument("--logs", default="", metavar="DIR", help="keep there what was printed, as NAME.log")


def run(context: Context, args: argparse.Namespace) -> int:
    """Run [check] of each target; exit 1 if one fails."""
    return each_target(context, args.names, lambda target: _check(context, target, args))


def _check(context: Context, target: Target, args: argparse.Namespace) -> int:
    with progress(f"check {target.name}") as bar:
        findings = prove(context.project, target, logs=args.logs, bar=bar)
    if args.json:
        context.say(json.dumps(as_json(target.name, findings)))
    elif findings:
        context.say(as_text(target.name, findings))
    else:
        context.say(f"{target.name}  serves")
    return 1 if failed(findings) else 0
