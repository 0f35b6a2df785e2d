"""chrootbuild why: show the chains that bring a path into a root."""

from __future__ import annotations

import argparse

from chrootbuild.artifact import Plan
from chrootbuild.build.report import why_text
from chrootbuild.commands import Context
from chrootbuild.compare.assessment import make_plan
from chrootbuild.compare.explain import leads_to
from chrootbuild.errors import Failure
from chrootbuild.target.reader import read_target
from chrootbuild.text import did_you_mean


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="a target")
    parser.add_argument(
        "path", metavar="PATH", help="a path inside its root: /bin/sh, or its canonical path"
    )


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the chains, after the canonical path if it differs."""
    plan, _ = make_plan(context.project, read_target(context.project, args.name))
    path = leads_to(plan, args.path, last=False)
    if path not in plan.reasons:
        path = next((seed for seed in plan.seeds if path.startswith(f"{seed}/")), path)
    if path not in plan.reasons:
        raise _absent(plan, args.path, path)
    if path != args.path:
        context.say(f"{args.path} is {path}")
    context.say(why_text(plan, path).rstrip("\n"))
    return 0


def _absent(plan: Plan, asked: str, path: str) -> Failure:
    """Return the error for a path not in the plan: skipped, or unknown."""
    message = f"cannot find {asked} in the plan of {plan.target}"
    for left in plan.skipped:
        if path == left.path or path.startswith(left.path.rstrip("/") + "/"):
            return Failure(f"{message}: it is left out", details=(f"{left.path}  {left.reason}",))
    return Failure(
        message,
        hint=did_you_mean(asked, plan.reasons) or f"chrootbuild plan {plan.target} --json lists what is",
    )
