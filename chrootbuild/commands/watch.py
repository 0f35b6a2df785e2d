"""chrootbuild watch: stay, and refresh as sources change."""

from __future__ import annotations

import argparse

from chrootbuild.commands import Context
from chrootbuild.commands.refresh import add_checks, options_of, seconds


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets; none: all that are not manual")
    parser.add_argument(
        "--quiet",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="refresh when nothing has changed for so long (default: 2)",
    )
    add_checks(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Watch until SIGTERM or SIGINT; SIGHUP rereads everything."""
    from chrootbuild.sync.watch import watch

    return watch(context.project, args.names, options_of(args), args.quiet)
