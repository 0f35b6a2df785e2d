"""chrootbuild refresh: build for cron and package hooks; silent if nothing changed."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chrootbuild.commands import Context
from chrootbuild.console import complain
from chrootbuild.errors import Failure, TryAgain, UsageError
from chrootbuild.state.up_to_date import look_at, nothing_stale
from chrootbuild.sysroot.package_locks import at_work

if TYPE_CHECKING:
    from chrootbuild.state.project import Project
    from chrootbuild.sync.refresh import Options


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_common(
        parser, "--wait", 600.0, "for the lock and for the package manager, then exit 75 (default: 600)"
    )


def add_common(parser: argparse.ArgumentParser, flag: str, default: float, meaning: str) -> None:
    """Declare the arguments of refresh and watch; ``flag`` is the one that takes seconds."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="targets; none: all that are not manual")
    parser.add_argument(flag, type=_seconds, default=default, metavar="SECONDS", help=meaning)
    parser.add_argument("--no-check", action="store_true", help="do not run [check] after an update")
    parser.add_argument(
        "--rollback", action="store_true", help="put the former files back where the check fails"
    )


def _seconds(text: str) -> float:
    """Parse a number of seconds; raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def run(context: Context, args: argparse.Namespace) -> int:
    """Refresh the named targets, or all that are not manual; a failure stops no other target."""
    if nothing_to_do(context.project, args.names):
        return 0
    from chrootbuild.sync.refresh import refresh
    from chrootbuild.target.reader import read_targets, select

    options = options_of(args)
    targets = read_targets(context.project)
    failures: list[Failure] = []
    if not args.names:
        failures += targets.failures.values()
    for target in select(targets, args.names):
        try:
            done = refresh(context.project, target, options)
            if done:
                context.say(done.removesuffix("\n"))
        except Failure as failure:
            failures.append(failure)
    for problem in failures:
        complain(problem)
    return exit_code(failures)


def exit_code(failures: Sequence[Failure]) -> int:
    """Return the highest code; TryAgain counts only if nothing else failed."""
    codes = [failure.code for failure in failures if not isinstance(failure, TryAgain)]
    return max(codes, default=TryAgain.code if failures else 0)


def nothing_to_do(project: Project, names: Sequence[str]) -> bool:
    """Return whether, by the stamps, no target changed and no package manager is at work."""
    if at_work():
        return False
    looks = look_at(project.directory, project.state, names)
    if looks is None or not nothing_stale(looks):
        return False
    # NAME.pending: something was published and not yet checked or restarted (sync/pending.py).
    return not any(os.path.lexists(f"{state}/{name}.pending") for state, name in looks)


def options_of(args: argparse.Namespace) -> Options:
    """Return the options of refresh from the command line; raises UsageError."""
    from chrootbuild.check.prove import prove
    from chrootbuild.sync.refresh import Options

    if args.rollback and args.no_check:
        raise UsageError(
            "cannot read the command line: --rollback needs the check", hint="leave --no-check out"
        )
    return Options(getattr(args, "wait", 0.0), None if args.no_check else prove, args.rollback)
