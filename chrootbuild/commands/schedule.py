"""chrootbuild schedule: refresh roots from cron, systemd, apt, dpkg or periodic(8)."""

from __future__ import annotations

import argparse
import contextlib

from chrootbuild.commands import Context
from chrootbuild.commands.install_options import add_actions, done, printed
from chrootbuild.errors import Failure
from chrootbuild.hostside import schedule
from chrootbuild.hostside.installer import install, uninstall
from chrootbuild.hostside.snippet import Snippet


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "kind",
        choices=schedule.KINDS,
        help="cron, a systemd timer, a hook of apt or of dpkg, a systemd service that watches,"
        " or for FreeBSD periodic(8)",
    )
    parser.add_argument(
        "--every", type=int, default=60, metavar="MINUTES", help="how often cron and systemd start it (60)"
    )
    add_actions(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Print, install or remove the snippets of one kind."""
    project, owner = context.project, schedule.owner(context.project, args.kind)
    job = schedule.job_of(project, args.every)
    if args.uninstall:
        snippets: tuple[Snippet, ...] = ()
        with contextlib.suppress(Failure):
            snippets = schedule.snippets(args.kind, job)
        changes, removed = uninstall(project, snippets, owner), True
    else:
        snippets, removed = schedule.snippets(args.kind, job), False
        if not args.install:
            context.say(printed(snippets, owner))
            return 0
        schedule.refuse_unsafe(job)
        changes = install(project, snippets, owner)
    for line in done(changes, snippets, removed=removed):
        context.say(line)
    return 0
