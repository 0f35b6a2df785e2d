"""chrootbuild enter: a shell or a command inside a root."""

from __future__ import annotations

import argparse
import os

from chrootbuild.commands import Context
from chrootbuild.compare.assessment import make_plan
from chrootbuild.enter.enter import enter
from chrootbuild.enter.tools import with_temporary
from chrootbuild.errors import Failure
from chrootbuild.plan.users import refuse_foreign
from chrootbuild.target.reader import read_target


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="a target")
    parser.add_argument("command", metavar="CMD", nargs=argparse.REMAINDER, help="default: /bin/sh")


def run(context: Context, args: argparse.Namespace) -> int:
    """Run the command with the temporary tools in place; return its status, 128 + N for signal N."""
    target = read_target(context.project, args.name)
    if not os.path.isdir(target.root):
        raise Failure(
            f"cannot enter {target.root}: it is not there", hint=f"chrootbuild build {target.name}"
        )
    refuse_foreign(target, "enter")
    mounts = tuple(item.value for item in target.mounts)
    devices = {}
    if os.geteuid() != 0 and target.devices:
        devices = make_plan(context.project, target)[0].devices
    with with_temporary(context.project, target):
        return enter(target.root, args.command or ["/bin/sh"], mounts, devices)
