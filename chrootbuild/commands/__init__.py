"""Commands, one per file: each has PURPOSE, arguments(parser) and run(context, args).

They are imported on call. Every error that a user can cause ends here as one
message with facts and hint, and an exit code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from chrootbuild import __version__
from chrootbuild.errors import Failure, UsageError
from chrootbuild.project import Project, find_project

__all__ = ["COMMANDS", "DOIT_COMMANDS", "Context", "main"]

# In the order of use; the module is the name (import is a word of Python's).
COMMANDS = {
    "new": "write a first target file from what is installed",
    "build": "build what is stale",
    "plan": "show what a build would do, and why",
    "why": "show what brings a path into a root",
    "list": "list the targets and their tasks",
    "info": "show a task: its sources, and why it is stale",
    "clean": "remove what was installed",
    "enter": "run a shell or a command inside a root",
    "learn": "find what is missing by tracing",
    "check": "prove that the service works inside its root",
    "audit": "show what is dangerous in a root",
    "verify": "compare a root with what was installed, byte for byte",
    "refresh": "bring a root up to date, for cron and package hooks",
    "watch": "stay, and refresh as sources change",
    "schedule": "have it refreshed by cron, systemd, apt or dpkg",
    "host": "show or install the host's side: links, wrapper, syslog, units",
    "locate": "find a file of the sysroot and the package that owns it",
}
# doit's own commands, and those that a project's pyproject.toml adds.
DOIT_COMMANDS = {
    *(
        "help",
        "run",
        "list",
        "info",
        "clean",
        "forget",
        "ignore",
        "dumpdb",
        "strace",
        "tabcompletion",
        "reset-dep",
    ),
    *(name for name in COMMANDS if name != "build"),
}


@dataclass(frozen=True, slots=True)
class Context:
    """Context of a command: the project, and the output."""

    project: Project

    def say(self, text: str) -> None:
        """Print a text to standard output, a newline added."""
        sys.stdout.write(text + "\n")


def module_of(name: str) -> Any:
    """Import the module of a command."""
    return importlib.import_module(f"chrootbuild.commands.{name}")


def run_command(name: str, argv: Sequence[str], directory: str | None = None, out: str | None = None) -> int:
    """Run one command with its arguments and return its exit code; raises Failure."""
    args = parser_of(name).parse_args(argv)
    code: int = module_of(name).run(Context(find_project(directory, out)), args)
    return code


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command's arguments."""
    module = module_of(name)
    parser = _Parser(
        prog=f"chrootbuild {name}", description=module.PURPOSE[0].upper() + module.PURPOSE[1:] + "."
    )
    module.arguments(parser)
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(
            f"cannot read the command line: {message}", hint=f"{self.prog} --help shows what it takes"
        )


def guarded(call: Any) -> int:
    """Call something and turn what a user can cause into one message and an exit code."""
    os.umask(0o022)
    try:
        code: int = call()
        sys.stdout.flush()
    except Failure as failure:
        complain(failure)
        return failure.code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader has gone (head, less): not an error, and nothing to flush into.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def complain(failure: Failure) -> None:
    """Print an error to standard error: what, the facts, and the next step."""
    text = str(failure).encode("utf-8", "backslashreplace").decode()
    start = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        start = "\x1b[31merror:\x1b[0m"
    sys.stderr.write(f"{start} {text}\n")


def main(argv: Sequence[str]) -> int:
    """Run ``chrootbuild`` with its arguments; return the exit code."""
    return guarded(lambda: _main(list(argv)))


def _main(argv: list[str]) -> int:
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
        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else "chrootbuild --help lists the commands"
        raise UsageError(f'cannot run "{name}": there is no such command', hint=hint)
    return run_command(name, argv, directory, out)


def _help() -> str:
    lines = [
        "usage: chrootbuild [-C DIR] COMMAND ...",
        "",
        "A make-style incremental build system for chroots.",
        "",
    ]
    lines += [f"  {name:9} {purpose}" for name, purpose in COMMANDS.items()]
    lines += [
        "",
        "chrootbuild COMMAND --help shows a command's arguments. The project is the folder",
        "with targets/: -C DIR, else the current one, else /etc/chrootbuild.",
    ]
    return "\n".join(lines) + "\n"
