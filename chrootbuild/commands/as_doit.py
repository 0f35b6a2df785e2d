"""doit commands for [tool.doit.plugins.command] of a project's pyproject.toml.

``plan = "chrootbuild.commands.as_doit:plan"``: one attribute per command. Not a command itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from doit import get_var
from doit.cmd_base import Command
from doit.cmd_clean import Clean
from doit.cmd_help import Help
from doit.cmd_info import Info
from doit.cmd_list import List

from chrootbuild.command_names import COMMANDS
from chrootbuild.commands import run_command
from chrootbuild.console import guarded
from chrootbuild.output import protect_to_the_end


class _Ours(Command):  # type: ignore[misc]
    """A doit command whose arguments our own parser reads: options may stand anywhere."""

    doc_usage = "[NAME] ..."

    def parse_execute(self, in_args: Sequence[str]) -> int:
        """Run the command in the current folder; errors and exit codes are chrootbuild's."""
        out = get_var("out")
        return guarded(lambda: run_command(self.get_name(), list(in_args), ".", out))

    def help(self) -> str:
        """Return the command's own help."""
        from chrootbuild.commands import parser_of

        return parser_of(self.get_name()).format_help()


def _protected(kind: type[Command]) -> type[Command]:
    """Return one of doit's commands whose reader may go, or whose output was closed."""

    def start(self: Command, *args: object, **more: object) -> None:
        protect_to_the_end()
        kind.__init__(self, *args, **more)

    return type(kind.__name__, (kind,), {"name": kind.get_name(), "__init__": start})


class _DumpDB(Command):  # type: ignore[misc]
    """doit's dumpdb where doit has no database."""

    name = "dumpdb"
    doc_purpose = "dump dependency DB"
    doc_usage = ""
    doc_description = None

    def execute(self, opt_values: object, pos_args: object) -> int:  # noqa: ARG002
        """Say so."""
        protect_to_the_end()
        sys.stdout.write("doit keeps no database here: what was installed is in chrootbuild's own record\n")
        return 0


_DOITS_OWN = {"dumpdb": _DumpDB} | {kind.get_name(): _protected(kind) for kind in (Clean, Help, Info, List)}


def __getattr__(name: str) -> Any:
    if name in _DOITS_OWN:
        return _DOITS_OWN[name]
    if name not in COMMANDS or name in ("build", "list", "info", "clean"):
        raise AttributeError(name)
    return type(name, (_Ours,), {"name": name, "doc_purpose": COMMANDS[name], "__doc__": COMMANDS[name]})
