"""chrootbuild verify: compare a root with its record, byte for byte."""

from __future__ import annotations

import argparse
import json

from chrootbuild.commands import Context
from chrootbuild.commands.each import add_arguments, each_target
from chrootbuild.compare.verify import verify
from chrootbuild.console import progress
from chrootbuild.errors import Failure
from chrootbuild.findings import as_json, as_text
from chrootbuild.plan.make import top_of
from chrootbuild.root.tree import read_root
from chrootbuild.state.record import read_record
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_arguments(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the differences; exit 1 if there are any."""
    return each_target(context, args.names, lambda target: _verify(context, target, args.json))


def _verify(context: Context, target: Target, as_data: bool) -> int:
    root = read_root(target.root)
    record = read_record(context.project, target.name, target.root)
    if root is None or record is None:
        what = f"{target.root} is not there" if root is None else "there is no record of what was installed"
        raise Failure(f"cannot verify {target.name}: {what}", hint=f"chrootbuild build {target.name}")
    with root, progress(f"verify {target.name}") as bar:
        findings = tuple(verify(record, root, bar, top_of(target, Sysroot(target.sysroot))))
    if as_data:
        context.say(json.dumps(as_json(target.name, findings)))
    elif findings:
        context.say(as_text(target.name, findings))
        context.say(
            f"hint: chrootbuild build {target.name} repairs what was installed; look at what is extra"
        )
    return 1 if findings else 0
