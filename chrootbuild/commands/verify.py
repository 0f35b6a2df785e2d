"""chrootbuild verify: a root against what was installed, byte for byte."""

from __future__ import annotations

import argparse
import json

from chrootbuild.commands import Context, complain
from chrootbuild.errors import Failure
from chrootbuild.findings import as_json, as_text
from chrootbuild.record import read_record
from chrootbuild.root import read_root
from chrootbuild.spec import Target
from chrootbuild.target import read_targets, select
from chrootbuild.verify import verify

PURPOSE = "compare a root with what was installed, byte for byte"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets; none: all that are not manual")
    parser.add_argument("--json", action="store_true", help="one object a line and target")


def run(context: Context, args: argparse.Namespace) -> int:
    """Print what differs; exit 1 where something does."""
    targets = read_targets(context.project)
    code = 0
    if not args.names:
        for failure in targets.failures.values():
            complain(failure)
            code = max(code, failure.code)
    for target in select(targets, args.names):
        try:
            code = max(code, _verify(context, target, args.json))
        except Failure as failure:
            complain(failure)
            code = max(code, failure.code)
    return code


def _verify(context: Context, target: Target, as_data: bool) -> int:
    root = read_root(target.root)
    record = read_record(context.project, target.name, target.root)
    if root is None or record is None:
        what = f"{target.root} is not there" if root is None else "there is no record of what was installed"
        raise Failure(f"cannot verify {target.name}: {what}", hint=f"chrootbuild build {target.name}")
    with root:
        findings = tuple(verify(record, root))
    if as_data:
        context.say(json.dumps(as_json(target.name, findings)))
    elif findings:
        context.say(as_text(target.name, findings))
        context.say(
            f"hint: chrootbuild build {target.name} repairs what was installed; look at what is extra"
        )
    return 1 if findings else 0
