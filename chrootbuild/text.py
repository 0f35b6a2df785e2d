"""Text that people read: what a terminal can show of any text, names in a list, and names that are near."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping, Sequence

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def printable(text: str) -> str:
    """Return a text in which no control character can move a cursor or fake a line."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each of them printable."""
    return "\n".join(map(printable, text.split("\n")))


def kind_of(mode: int) -> str:
    """Return the file type of a mode, as in messages."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a link",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a block device",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something unknown")


def quote(text: str) -> str:
    """Return a TOML basic string (https://toml.io/en/v1.0.0): in double quotes, on one line, printable."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def toml_key(key: str) -> str:
    """Return a key as it is written in TOML: bare, or quoted."""
    return key if _BARE_KEY.fullmatch(key) else quote(key)


def toml_value(value: object) -> str:
    """Return a string, number, bool, list or dict as a TOML value on one line."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return str(value)


def printable_or_quoted(text: str) -> str:
    """Return text as it is, or quoted where a terminal could not show it (a file name is any bytes)."""
    return text if text.isprintable() else quote(text)


def listing(names: Sequence[str]) -> str:
    """Return names as a list to read: "a, b, c", or "nothing"."""
    return ", ".join(names) or "nothing"


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """Return "did you mean X or Y?" with the known names that are close to ``name``, else nothing."""
    from difflib import get_close_matches  # only where something is wrong

    folded = {other.casefold(): other for other in known}
    close = get_close_matches(name.casefold(), folded, n=most)
    return f"did you mean {' or '.join(folded[other] for other in close)}?" if close else ""
