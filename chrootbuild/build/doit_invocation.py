"""The command line that a dodo.py is loaded for: the command, and the names of the tasks in it.

A task is called TARGET:PATH, with what doit would take for a pattern as %XX.
"""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import unquote

from doit.cmd_base import DodoTaskLoader, DoitCmdBase

_UNSAFE = "%=*?[]"  # doit refuses = in a task's name and takes * ? [ as a pattern


@dataclass(frozen=True, slots=True)
class Invocation:
    """What doit was called for: its command, and the tasks that were named."""

    command: str
    names: tuple[str, ...] = ()

    @classmethod
    def of_argv(cls, argv: Sequence[str], commands: AbstractSet[str]) -> Invocation:
        """Read it from a command line, as doit does: the command is the first word, else ``run``."""
        words = [word for word in argv if word.startswith("-") or "=" not in word]
        command = words.pop(0) if words and words[0] in commands else "run"
        return cls(command, tuple(_names_in(command, words)))

    def wants(self, target: str, root: str) -> bool:
        """Tell whether a target was named: itself, a task of it, a pattern, or a file of its root."""
        return any(_names(word, target, root) for word in self.names)

    def paths(self, target: str) -> set[str] | None:
        """Return the paths that were named one by one; None where it is the whole target."""
        found = set()
        for word in self.names:
            name, path = path_of(word)
            if name == target and not path:
                return None
            if name == target:
                found.add(path)
        return found or None


def _names_in(command: str, words: list[str]) -> list[str]:
    """Return the words that are no options of a doit command, nor the values of some (-n 2)."""
    if not any(word.startswith("-") for word in words):
        return words
    from doit.doit_cmd import DoitMain

    kind = next((kind for kind in DoitMain.DOIT_CMDS if kind.get_name() == command), DoitMain.DOIT_CMDS[0])
    options = [*DoitCmdBase.base_options, *DodoTaskLoader.cmd_options, *kind.cmd_options]
    short, long = "", []
    for option in options:
        valued = option["type"] is not bool
        short += option.get("short", "") + (":" if valued and option.get("short") else "")
        if option.get("long"):
            long.append(option["long"] + ("=" if valued else ""))
        if option.get("inverse"):
            long.append(option["inverse"])
    try:
        return getopt.getopt(words, short, long)[1]
    except getopt.GetoptError:  # doit says it better
        return [word for word in words if not word.startswith("-")]


def _names(word: str, target: str, root: str) -> bool:
    name = path_of(word)[0]
    return name == target or "*" in word or word.startswith(root + "/")


def quoted(text: str) -> str:
    """Return a text as a part of a task's name: % = * ? [ ] as %XX."""
    return "".join(f"%{ord(char):02X}" if char in _UNSAFE else char for char in text)


def task_name(target: str, path: str) -> str:
    """Return the task of a path: NAME:/path, quoted."""
    return f"{target}:{quoted(path)}"


def path_of(name: str) -> tuple[str, str]:
    """Return target and path of a task's name; the path is empty for a target's own task."""
    target, _, path = name.partition(":")
    return target, unquote(path, errors="surrogateescape")
