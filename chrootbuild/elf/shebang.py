"""First line of a script: the interpreter that execve(2) starts, and the program that env(1) runs."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SPLIT = re.compile(r"-[iv0]*S(.*)|--split-string[= ](.*)", re.DOTALL)
_WITH_VALUE = frozenset(("-u", "--unset", "-C", "--chdir", "-P", "-L", "-U", "-a", "--argv0"))


class Script(NamedTuple):
    """Interpreter and argument of a ``#!`` line."""

    interpreter: str  # as written
    program: str = ""  # the program env runs: a name, or a path


def parse(head: bytes) -> Script | None:
    """Parse the first line; None where it is not a ``#!`` line, or names no interpreter."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].split(b"\0", 1)[0].decode(errors="surrogateescape").strip(" \t")
    words = re.split("[ \t]+", line, maxsplit=1)
    if not words[0]:
        return None
    if words[0].rpartition("/")[2] == "env" and len(words) > 1:
        return Script(words[0], _env(words[1]))
    return Script(words[0])


def places(name: str) -> tuple[str, ...]:
    """Return the paths at which env(1) searches for a program."""
    if not name or "/" in name:
        return (name,)
    return tuple(f"{directory}/{name}" for directory in STANDARD_PATH)


def _env(argument: str) -> str:
    """Return the program that env(1) runs; the kernel passes the rest of the line as one argument."""
    match = _SPLIT.fullmatch(argument)
    words = [argument] if match is None else _words(match[1] if match[1] is not None else match[2])
    while words:
        word = words.pop(0)
        if word in _WITH_VALUE:
            del words[:1]
        elif not word.startswith("-") and "=" not in word:
            return word
    return ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an unclosed quote
        return text.split()
