"""Parser of a call's arguments as strace and truss write them: split and unquoted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chrootbuild.trace.calls import AT_FDCWD, SIGNATURES, Name, number

# A quoted string; a run of plain characters; or one character.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"(?:\.\.\.)?|[^"(){}\[\],<]+|.', re.DOTALL)
# The path that -y and -yy append to a descriptor; < and > within a name are escaped.
_ANGLE = re.compile(r"<(?:[A-Za-z0-9-]+:\[[^\]<]*\])?[^<>]*(?:<[^<>]*>)?>")
_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"(\.\.\.)?', re.DOTALL)
_FD = re.compile(r"(AT_FDCWD|-?[0-9a-fx]+)(?:<([^<>]*))?", re.IGNORECASE)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9a-fA-F]{2}|M\^.|M-.|\^.|.)", re.DOTALL)
_CONTROL = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"f": b"\f", b"v": b"\v", b"a": b"\a", b"b": b"\b",
            b"e": b"\x1b", b"s": b" "}  # fmt: skip


def split(text: str, start: int) -> tuple[list[str], int] | None:
    """Return the arguments from ``start`` (behind the bracket) and the offset behind the closing one.

    None where there is no closing bracket. Linear: every character is read once.
    """
    args: list[str] = []
    depth = 0
    begin = at = start
    size = len(text)
    while at < size:
        found = _TOKEN.match(text, at)
        assert found is not None  # the last alternative matches any character
        mark = text[at]
        at = found.end()
        if mark == '"':
            if at - found.start() == 1:
                return None  # an unclosed quote
        elif mark == "<":
            # 3</path> and AT_FDCWD</path>, but not 1<<2.
            before = text[found.start() - 1]
            if before.isdigit() or before == "D":
                angle = _ANGLE.match(text, found.start())
                at = angle.end() if angle else at
        elif mark in "([{":
            depth += 1
        elif mark in ")]}":
            if not depth:
                if args or at - 1 > begin:
                    args.append(text[begin : at - 1].strip())
                return args, at
            depth -= 1
        elif mark == "," and not depth:
            args.append(text[begin : at - 1].strip())
            begin = at
    return None


def unquote(text: str) -> str:
    r"""Undo C escapes (``\n``, ``\346``, ``\x2f``) and those of vis(3) (``\^A``, ``\M-c``)."""
    if "\\" not in text:
        return text
    raw = _ESCAPE.sub(_byte, text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _byte(found: re.Match[bytes]) -> bytes:
    code = found.group(1)
    if code[:1].isdigit():
        return bytes([int(code, 8) & 0xFF])
    if code[:1] == b"x" and len(code) == 3:
        return bytes([int(code[1:], 16)])
    if code[:1] == b"^" and len(code) == 2:
        return bytes([_control(code[1])])
    if len(code) == 3:  # M^x, M-x
        return bytes([0x80 | (_control(code[2]) if code[1:2] == b"^" else code[2])])
    return _CONTROL.get(code, code)


def _control(letter: int) -> int:
    return 0x7F if letter == ord("?") else letter & 0x1F


def strings(arg: str) -> list[str]:
    """Return the quoted strings of an argument, without truncated ones."""
    return [unquote(text) for text, cut in _QUOTED.findall(arg) if not cut]


def descriptor(arg: str) -> tuple[int, str] | None:
    """Return a descriptor's number and the path that -y shows for it, or None."""
    found = _FD.match(arg)
    if found is None:
        return None
    word, shown = found.groups()
    value = AT_FDCWD if word.upper() == "AT_FDCWD" else number(word)
    if value is None:
        return None
    if value & 0xFFFFFFFF == AT_FDCWD & 0xFFFFFFFF:
        value = AT_FDCWD
    path = unquote(shown).removesuffix(" (deleted)") if shown and shown.startswith("/") else ""
    return value, path


def names(call: str, args: Sequence[str]) -> tuple[Name, ...]:
    """Return the file names of a call; () where one is not a string, or truncated."""
    found: list[Name] = []
    for at_index, index in SIGNATURES[call].names:
        text, at, at_path = "", AT_FDCWD, ""
        if at_index is not None:
            where = descriptor(args[at_index]) if at_index < len(args) else None
            if where is None:
                return ()
            at, at_path = where
        if index is not None:
            given = _string(args, index)
            if given is None:
                return ()
            text = given
        found.append(Name(text, at, at_path))
    return tuple(found)


def _string(args: Sequence[str], index: int) -> str | None:
    if index >= len(args):
        return None
    found = _QUOTED.match(args[index])
    if found is None or found.group(2):
        return None
    return unquote(found.group(1)).partition("\0")[0]  # dtruss shows the end of the string
