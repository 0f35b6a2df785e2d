"""chrootbuild new: write a first target file for an installed program."""

from __future__ import annotations

import argparse

from chrootbuild.commands import Context
from chrootbuild.new.make import write_new


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="the new target: it becomes targets/NAME.toml")
    parser.add_argument("program", metavar="PROGRAM", help="a path, a name in PATH, or the name of a unit")


def run(context: Context, args: argparse.Namespace) -> int:
    """Write the file, and print its path and the next step."""
    path = write_new(context.project, args.name, args.program)
    context.say(path)
    context.say(f"next: read it, then: chrootbuild learn {args.name}")
    return 0
