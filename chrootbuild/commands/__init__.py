"""The commands, one a file: each has arguments(parser) and run(context, args).

They are imported on call. Every error that a user can cause ends here as one
message with facts and hint, and an exit code.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chrootbuild import __version__
from chrootbuild.command_names import COMMANDS, RESERVED
from chrootbuild.console import guarded, table
from chrootbuild.errors import Failure, UsageError
from chrootbuild.output import fault
from chrootbuild.state.project import Project, find_project
from chrootbuild.text import did_you_mean

if TYPE_CHECKING:
    from chrootbuild.state.null_build import Looks

# What doit knows by itself, and what a project's pyproject.toml adds.
DOIT_COMMANDS = RESERVED - {"build"}


@dataclass(frozen=True, slots=True)
class Context:
    """What every command has: the project, the stamps that were looked at, and a way to speak."""

    project: Project
    looks: Looks | None = None

    def say(self, text: str) -> None:
        """Print a text to standard output, a newline added."""
        sys.stdout.write(text + "\n")


def module_of(name: str) -> Any:
    """Import the module of a command."""
    return importlib.import_module(f"chrootbuild.commands.{name}")


def run_command(
    name: str,
    argv: Sequence[str],
    directory: str | None = None,
    out: str | None = None,
    looks: Looks | None = None,
) -> int:
    """Run one command with its arguments and return its exit code; raises Failure."""
    args = parser_of(name).parse_args(argv)
    code: int = module_of(name).run(Context(find_project(directory, out), looks), args)
    return code


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command's arguments."""
    purpose = COMMANDS[name]
    parser = _Parser(prog=f"chrootbuild {name}", description=f"{purpose[0].upper()}{purpose[1:]}.")
    module_of(name).arguments(parser)
    return parser


class _Parser(argparse.ArgumentParser):
    def exit(self, status: int = 0, message: str | None = None) -> Any:
        if why := fault():
            raise Failure(f"cannot write to standard output: {why}")
        super().exit(status, message)

    def error(self, message: str) -> Any:
        raise UsageError(
            f"cannot read the command line: {message}", hint=f"{self.prog} --help shows what it takes"
        )


def main(argv: Sequence[str], looks: Looks | None = None) -> int:
    """Run ``chrootbuild`` with its arguments; return the exit code."""
    return guarded(lambda: _main(list(argv), looks))


def _main(argv: list[str], looks: Looks | None) -> int:
    directory, out = None, None
    while argv and (argv[0].startswith("-") or argv[0].startswith("out=")):
        word = argv.pop(0)
        if word in ("-h", "--help"):
            sys.stdout.write(_help())
            return 0
        if word == "--version":
            sys.stdout.write(f"chrootbuild {__version__}\n")
            return 0
        if word.startswith("out="):
            out = word[4:]
        elif word == "-C" and argv:
            directory = argv.pop(0)
        elif word.startswith("-C") and word != "-C":
            directory = word[2:]
        else:
            raise UsageError(f"cannot read the command line: {word} is no option", hint="chrootbuild --help")
    if not argv:
        sys.stderr.write(_help())
        return 2
    name = argv.pop(0)
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or "chrootbuild --help lists the commands"
        raise UsageError(f'cannot run "{name}": there is no such command', hint=hint)
    return run_command(name, argv, directory, out, looks)


def _help() -> str:
    lines = [
        "usage: chrootbuild [-C DIR] COMMAND ...",
        "",
        "A make-style incremental build system for chroots.",
        "",
    ]
    lines += table(COMMANDS.items())
    lines += [
        "",
        "chrootbuild COMMAND --help shows a command's arguments. The project is the folder",
        "with targets/: -C DIR, else the current one, else /etc/chrootbuild.",
    ]
    return "\n".join(lines) + "\n"
