"""The first line of a script: which interpreter the kernel starts (execve(2)), and what env(1) runs."""

from __future__ import annotations

import shlex
from typing import NamedTuple

__all__ = ["STANDARD_PATH", "Script", "parse"]

STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
HEAD = 256  # bytes of the first line that Linux reads (BINPRM_BUF_SIZE); FreeBSD reads more
_WITH_VALUE = ("-u", "--unset", "-C", "--chdir", "-P", "-L", "-U", "-a", "--argv0")


class Script(NamedTuple):
    """What a ``#!`` line asks for."""

    interpreter: str  # as written
    program: str = ""  # what env runs: a name, or a path


def parse(head: bytes) -> Script | None:
    """Return what the first line asks for; None where it is no ``#!`` line, or an empty one."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].split(b"\0", 1)[0].decode(errors="surrogateescape").strip(" \t")
    if not line:
        return None
    interpreter, _, argument = line.replace("\t", " ").partition(" ")
    argument = argument.strip(" ")
    if interpreter.rpartition("/")[2] == "env":
        return Script(interpreter, _env(argument))
    return Script(interpreter)


def _env(argument: str) -> str:
    """Return the program that env(1) runs; it gets the rest of the line as one argument."""
    words = [argument] if argument else []
    split = False
    while words:
        word = words.pop(0)
        for option in ("-S", "--split-string=", "-vS", "-iS"):
            if word.startswith(option) and not split:
                split = True
                words = _split(word.removeprefix(option) or " ".join(words))
                break
        else:
            if word in _WITH_VALUE:
                del words[:1]
            elif not word.startswith("-") and "=" not in word:
                return word
    return ""


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
