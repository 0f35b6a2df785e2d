"""Common part of plan, check, audit and verify: targets by name, in turn; not a command itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from chrootbuild.commands import Context
from chrootbuild.console import complain
from chrootbuild.errors import Failure
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_targets, select


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the names and ``--json``."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets; none: all that are not manual")
    parser.add_argument("--json", action="store_true", help="one object a line and target")


def each_target(context: Context, names: list[str], one: Callable[[Target], int]) -> int:
    """Call ``one`` for each named target, or each that is not manual; return the highest exit code.

    A failure is reported, and stops no other target.
    """
    targets = read_targets(context.project)
    code = 0
    if not names:
        for failure in targets.failures.values():
            complain(failure)
            code = max(code, failure.code)
    for target in select(targets, names):
        try:
            code = max(code, one(target))
        except Failure as failure:
            complain(failure)
            code = max(code, failure.code)
    return code
