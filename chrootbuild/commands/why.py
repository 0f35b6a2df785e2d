"""chrootbuild why: the chains that bring a path into a root."""

from __future__ import annotations

import argparse
from difflib import get_close_matches

from chrootbuild.artifact import Plan
from chrootbuild.commands import Context
from chrootbuild.errors import Failure
from chrootbuild.prepare import make_plan
from chrootbuild.report import why_text
from chrootbuild.target import read_target

PURPOSE = "show what brings a path into a root"
_MAX_LINKS = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="a target")
    parser.add_argument(
        "path", metavar="PATH", help="a path inside its root: /bin/sh, or its canonical path"
    )


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the chains, the canonical path first where it is another one."""
    plan, _ = make_plan(context.project, read_target(context.project, args.name))
    path = canonical(plan, args.path)
    if path not in plan.reasons:
        near = get_close_matches(args.path, plan.reasons, 1)
        raise Failure(
            f"cannot find {args.path} in the plan of {plan.target}",
            hint=f"did you mean {near[0]}?" if near else f"chrootbuild plan {plan.target} lists what is",
        )
    if path != args.path:
        context.say(f"{args.path} is {path}")
    context.say(why_text(plan, path).rstrip("\n"))
    return 0


def canonical(plan: Plan, path: str) -> str:
    """Return the artifact that a path inside the root leads to, by the links of the plan alone.

    The last component's own link is kept: why a link is there is a question, too.
    """
    here, parts, hops = "", [part for part in path.split("/") if part not in ("", ".")], 0
    parts.reverse()
    while parts:
        part = parts.pop()
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        child = f"{here}/{part}"
        artifact = plan.artifacts.get(child)
        if artifact is not None and artifact.link and parts and hops < _MAX_LINKS:
            hops += 1
            parts.extend(word for word in reversed(artifact.link.split("/")) if word not in ("", "."))
            here = "" if artifact.link.startswith("/") else here
        else:
            here = child
    return here or "/"
