"""chrootbuild info: show one task, its sources, and why it is stale."""

from __future__ import annotations

import argparse

from chrootbuild.build.doit_run import run_doit
from chrootbuild.commands import Context


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME:/path", help="a task, as list --all shows it")


def run(context: Context, args: argparse.Namespace) -> int:
    """Show the task; exit 1 if it is stale, as doit does."""
    return run_doit(context.project, "info", [args.name])
