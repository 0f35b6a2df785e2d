"""Line numbers of the keys and values of a TOML text, which tomllib does not give.

Only for text that tomllib accepted: the grammar is not checked again (TOML
1.0.0, https://toml.io/en/v1.0.0). For text that is not understood the result
is empty, never wrong.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import NamedTuple

KeyPath = tuple[str | int, ...]  # ("files", 3, "mode")

_MAX_PARTS = 100  # of a dotted key; each is recorded with all before it
_TOKEN = re.compile(
    r"""
      [ \t\r]+
    | \#[^\n]*
    | (?P<newline>\n)
    | (?P<string>
          \"{3} (?: [^"\\] | \\. | \"{1,2}(?!") )* \"{3,5}
        | '{3} (?: [^'] | '{1,2}(?!') )* '{3,5}
        | " (?: [^"\\\n] | \\. )* "
        | ' [^'\n]* '
      )
    | (?P<mark> [\[\]{},=.] )
    | (?P<bare> [^\s\[\]{},=.\#"']+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str  # newline, string, mark, bare, or end
    text: str
    line: int


class _NotUnderstood(Exception):  # noqa: N818 (never leaves this module)
    pass


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every key, table and array element in valid TOML.

    A value's line is its first; a table's is its header's, or that of the first
    key that implies it.
    """
    scan = _Scan(_tokens(text))
    try:
        scan.document()
    except (_NotUnderstood, tomllib.TOMLDecodeError, IndexError, RecursionError):
        return {}
    return scan.lines


def _tokens(text: str) -> list[_Token]:
    tokens = []
    line, offset = 1, 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            break  # the scan meets the end too early, and raises
        if match.lastgroup is not None:
            tokens.append(_Token(match.lastgroup, match[0], line))
            line += match[0].count("\n")
        offset = match.end()
    complete = offset >= len(text)
    return [*tokens, _Token("end" if complete else "unknown", "", line)]


@dataclass(slots=True)
class _Scan:
    tokens: list[_Token]
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict)
    counts: dict[KeyPath, int] = field(default_factory=dict)  # arrays of tables: count of elements so far

    def document(self) -> None:
        """Read all statements: KEY = VALUE, [TABLE], [[ARRAY OF TABLES]]."""
        table: KeyPath = ()
        while (token := self.tokens[self.at]).kind != "end":
            if token.kind == "newline":
                self.at += 1
            elif token.text == "[":
                table = self._header()
                self._end_of_line()
            else:
                self._pair(table)
                self._end_of_line()

    def _header(self) -> KeyPath:
        line = self.tokens[self.at].line
        array = self.tokens[self.at + 1].text == "["
        self.at += 2 if array else 1
        *parents, last = self._key()
        for _ in range(2 if array else 1):
            self._expect("]")
        path: KeyPath = ()
        for part in parents:
            path = self._newest((*path, part))
            self.lines.setdefault(path, line)
        path = (*path, last)
        if array:
            self.lines.setdefault(path, line)
            self.counts[path] = self.counts.get(path, 0) + 1
            path = self._newest(path)
        self.lines[path] = line
        return path

    def _newest(self, path: KeyPath) -> KeyPath:
        """Add the index of the newest element where ``path`` is an array of tables."""
        return (*path, self.counts[path] - 1) if path in self.counts else path

    def _pair(self, table: KeyPath) -> None:
        line = self.tokens[self.at].line
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._expect("=")
        self._value(path)

    def _key(self) -> list[str]:
        parts = [self._key_part()]
        while self.tokens[self.at].text == ".":
            self.at += 1
            parts.append(self._key_part())
            if len(parts) > _MAX_PARTS:
                raise _NotUnderstood
        return parts

    def _key_part(self) -> str:
        kind, text = self.tokens[self.at][:2]
        if kind not in ("bare", "string"):
            raise _NotUnderstood
        self.at += 1
        if kind == "bare":
            return text
        if text.startswith('"') and "\\" in text:
            return str(tomllib.loads(f"key = {text}")["key"])
        return text[1:-1]

    def _value(self, path: KeyPath) -> None:
        token = self.tokens[self.at]
        self.lines[path] = token.line
        if token.text == "[":
            self._array(path)
        elif token.text == "{":
            self._inline_table(path)
        elif token.kind == "string":
            self.at += 1
        elif token.kind == "bare":
            # 1.5 and 1979-05-27 07:32:00.5 are several tokens.
            while self.tokens[self.at].kind == "bare" or self.tokens[self.at].text == ".":
                self.at += 1
        else:
            raise _NotUnderstood

    def _array(self, path: KeyPath) -> None:
        self._expect("[")
        index = 0
        while self._next_text() != "]":
            self._value((*path, index))
            index += 1
            if self._next_text() != "]":
                self._expect(",")
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._expect("{")
        while self._next_text() != "}":
            self._pair(path)
            if self._next_text() != "}":
                self._expect(",")
        self.at += 1

    def _next_text(self) -> str:
        """Skip newlines, and return the text of the token after them."""
        while self.tokens[self.at].kind == "newline":
            self.at += 1
        return self.tokens[self.at].text

    def _expect(self, mark: str) -> None:
        token = self.tokens[self.at]
        if token.kind != "mark" or token.text != mark:
            raise _NotUnderstood
        self.at += 1

    def _end_of_line(self) -> None:
        if self.tokens[self.at].kind not in ("newline", "end"):
            raise _NotUnderstood
