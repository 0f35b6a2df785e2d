"""chrootbuild list: list the targets, with --all their tasks."""

from __future__ import annotations

import argparse

from chrootbuild.build.doit_run import run_doit
from chrootbuild.commands import Context


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets")
    parser.add_argument("-a", "--all", action="store_true", help="every task, one an artifact")
    parser.add_argument("-s", "--status", action="store_true", help="R: to be run, U: up to date")


def run(context: Context, args: argparse.Namespace) -> int:
    """List targets or tasks."""
    options = [*(["--all"] if args.all else []), *(["--status"] if args.status else [])]
    return run_doit(context.project, "list", [*options, *args.names])
