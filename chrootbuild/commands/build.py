"""chrootbuild build: ``doit`` in the project folder, without a dodo.py."""

from __future__ import annotations

import argparse

from chrootbuild.build.doit_run import run_doit
from chrootbuild.commands import Context


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME[:/path]", help="targets, or single paths of them")
    parser.add_argument(
        "-n", "--jobs", type=int, default=None, metavar="N", help="stage N artifacts at once"
    )


def run(context: Context, args: argparse.Namespace) -> int:
    """Build the named targets, or all that are not manual."""
    return run_doit(context.project, "run", args.names, jobs=args.jobs, looks=context.looks)
