"""chrootbuild host: print, install or remove the host's side of a root."""

from __future__ import annotations

import argparse
import contextlib
import sys

from chrootbuild.commands import Context
from chrootbuild.commands.install_options import add_actions, done, printed
from chrootbuild.errors import Failure
from chrootbuild.hostside import make
from chrootbuild.hostside.installer import install, uninstall
from chrootbuild.hostside.snippet import Snippet
from chrootbuild.plan.users import look
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.reader import read_target


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", help="the target")
    parser.add_argument(
        "kind",
        choices=make.KINDS,
        help="links into the root, start scripts, the log socket, a systemd unit, fstab(5),"
        " and for FreeBSD devfs(8) and jail(8)",
    )
    add_actions(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Print, install or remove the snippets of one kind."""
    project, owner = context.project, make.owner(context.project, args.name, args.kind)
    if args.uninstall:
        snippets: tuple[Snippet, ...] = ()
        # Removal works even if the target is gone, or has become wrong.
        with contextlib.suppress(Failure):
            snippets = make.snippets(args.kind, read_target(project, args.name), project)
        for line in done(uninstall(project, snippets, owner), snippets, removed=True):
            context.say(line)
        return 0
    target = read_target(project, args.name)
    snippets = make.snippets(args.kind, target, project)
    if not args.install:
        context.say(printed(snippets, owner))
        return 0
    _refuse_foreign(look(target, Sysroot(target.sysroot)).system, args.name)
    for line in done(install(project, snippets, owner), snippets, removed=False):
        context.say(line)
    return 0


def _refuse_foreign(system: str, name: str) -> None:
    here = "freebsd" if sys.platform.startswith("freebsd") else "linux"
    if system != here:
        names = {"linux": "Linux", "freebsd": "FreeBSD"}
        raise Failure(
            f"cannot install the host's side of {name} here: its root is for {names[system]},"
            f" this host runs {names[here]}",
            hint="print it without --install, and take it to that host",
        )
