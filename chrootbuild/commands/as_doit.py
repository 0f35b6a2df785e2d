"""doit commands for [tool.doit.plugins.command] of a project's pyproject.toml.

``plan = "chrootbuild.commands.as_doit:plan"``: one attribute per command. Not a command itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doit import get_var
from doit.cmd_base import Command

from chrootbuild.command_names import COMMANDS
from chrootbuild.commands import run_command
from chrootbuild.console import guarded


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


def __getattr__(name: str) -> Any:
    if name not in COMMANDS or name in ("build", "list", "info", "clean"):
        raise AttributeError(name)
    return type(name, (_Ours,), {"name": name, "doc_purpose": COMMANDS[name], "__doc__": COMMANDS[name]})
