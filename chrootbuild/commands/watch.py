"""chrootbuild watch: stay, and refresh as sources change."""

from __future__ import annotations

import argparse

from chrootbuild.commands import Context
from chrootbuild.commands.refresh import add_common, options_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_common(parser, "--quiet", 2.0, "refresh when nothing has changed for so long (default: 2)")


def run(context: Context, args: argparse.Namespace) -> int:
    """Watch until SIGTERM or SIGINT; SIGHUP rereads everything."""
    from chrootbuild.sync.watch import watch

    return watch(context.project, args.names, options_of(args), args.quiet)
