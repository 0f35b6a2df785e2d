"""chrootbuild clean: remove the installed paths, and nothing else."""

from __future__ import annotations

import argparse

from chrootbuild.build.clean import clean
from chrootbuild.commands import Context
from chrootbuild.target.reader import read_targets, select


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="+", metavar="NAME[:/path]", help="targets, or single paths of them")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be removed")


def run(context: Context, args: argparse.Namespace) -> int:
    """Clean the named targets."""
    targets = read_targets(context.project)
    for name in args.names:
        target, _, path = name.partition(":")
        for found in select(targets, [target]):
            clean(context.project, found, path, dry=args.dry_run)
    return 0
