"""Reader of one TOML file of a target: bytes to checked structs, or an error with file, key, line, hint."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args, get_type_hints

import msgspec

from chrootbuild.artifact import Origin
from chrootbuild.errors import TargetError
from chrootbuild.target import messages, schema
from chrootbuild.target.toml_lines import KeyPath, key_lines

KEY_PARTS = 1000
SIZE_LIMIT = 1 << 20  # bytes; the largest learned file of a real program has some 200 kB


@dataclass(frozen=True, slots=True)
class Parsed:
    """One file's content, and the line of each key."""

    path: str  # the real path
    shown: str  # for messages
    data: schema.TargetFile
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def origin(self, key: str, *rest: str | int) -> Origin:
        """Return the origin of ``key`` ("accounts.users"), or of its element ``rest``."""
        return Origin(self.shown, key, _line(self.lines, (*key.split("."), *rest)))

    def wrong(self, where: KeyPath, fact: str, hint: str = "") -> TargetError:
        """Return the error for a wrong value at ``where``."""
        return _wrong(self.shown, self.lines, where, fact, hint)


def read_file(path: str, shown: str) -> Parsed:
    """Read one TOML file; raises FileNotFoundError if absent, else TargetError."""
    return parse(_text(path, shown), path, shown)


def parse(text: str, path: str, shown: str) -> Parsed:
    """Check a TOML text against the schema; raises TargetError."""
    _refuse_endless_keys(text, shown)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, shown, str(error)) from None
    except (ValueError, RecursionError) as error:
        fact = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise TargetError(f"cannot read {shown}: {fact}") from None
    try:
        data = msgspec.convert(raw, schema.TargetFile)
    except msgspec.ValidationError as error:
        where, words, value = _culprit(raw, str(error))
        fact, hint = _explain(where, words, value)
        raise _wrong(shown, key_lines(text), where, fact, hint) from None
    return Parsed(path, shown, data, key_lines(text))


def _refuse_endless_keys(text: str, shown: str) -> None:
    # The time to read a.b.c = 1 grows with the square of its parts.
    if text.count(".") <= KEY_PARTS:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if any(part.count(".") > KEY_PARTS for part in re.split("[=#{,]", line)):
            raise TargetError(f"cannot read {shown}:{number}: a key has more than {KEY_PARTS} parts")


def _text(path: str, shown: str) -> str:
    # O_NONBLOCK: a FIFO in a file's place must not block.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TargetError(f"cannot read {shown}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise TargetError(f"cannot read {shown}: it is not a regular file")
    with os.fdopen(fd, "rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise TargetError(f"cannot read {shown}: it is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TargetError(
            f"cannot read {shown}:{line}: it is not UTF-8", hint="TOML files are UTF-8"
        ) from None


# -- error messages -----------------------------------------------------------------------------

_PLACE = re.compile(r" \((?:at line (\d+), column (\d+)|at end of document)\)\Z")
_FIELD = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_AT = re.compile(r" - at (`key` in )?`\$([^`]*)`\Z")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|(\[\.\.\.\])")


def _wrong(shown: str, lines: Mapping[KeyPath, int], where: KeyPath, fact: str, hint: str) -> TargetError:
    origin = Origin(shown, messages.show_key(where), _line(lines, where))
    return TargetError(f"cannot use {origin}: {fact}", hint=hint)


def _line(lines: Mapping[KeyPath, int], where: KeyPath) -> int | None:
    """Return the line of a key, else of the nearest table or list around it."""
    while where:
        if where in lines:
            return lines[where]
        where = where[:-1]
    return None


def _syntax_error(text: str, shown: str, message: str) -> TargetError:
    place = _PLACE.search(message)
    fact = _PLACE.sub("", message)
    fact = fact[:1].lower() + fact[1:]
    if place is None:
        return TargetError(f"cannot read {shown}: {fact}")
    rows = text.replace("\r\n", "\n").split("\n")
    number = int(place[1]) if place[1] else len(rows) - (rows[-1] == "" and len(rows) > 1)
    column = f" (column {place[2]})" if place[2] else " (at the end of the file)"
    hint = messages.syntax_hint(rows[min(number, len(rows)) - 1], fact)
    return TargetError(f"cannot read {shown}:{number}: {fact}{column}", hint=hint)


def _culprit(raw: Mapping[str, object], message: str) -> tuple[KeyPath, str, object]:
    """Return the key path of msgspec's complaint, the message without its path, and the value.

    msgspec writes ``[...]`` for a key of a mapping: each is tried alone.
    """
    whole = _FIELD.match(message)
    if whole and whole[1] in raw:  # a key may look like the end of a message
        return (whole[1],), message, raw[whole[1]]
    at = _AT.search(message)
    words = message[: at.start()] if at else message
    steps = _STEP.findall(at[2]) if at else []
    where: list[str | int] = []
    for name, index, anything in steps:
        if anything:
            where.append(_failing_key(raw, tuple(where)))
        else:
            where.append(name or int(index))
    if at and at[1]:  # the key itself is wrong
        where.append(_failing_key(raw, tuple(where)))
        return tuple(where), words, where[-1]
    unknown = _FIELD.match(words)
    if unknown:
        where.append(unknown[1])
    return tuple(where), words, messages.value_at(raw, tuple(where))


def _failing_key(raw: Mapping[str, object], where: KeyPath) -> str:
    table = messages.value_at(raw, where)
    assert isinstance(table, dict)
    for key, value in table.items():
        try:
            msgspec.convert(_replaced(raw, where, {key: value}), schema.TargetFile)
        except msgspec.ValidationError:
            return str(key)
    return ""  # not reached: one of them is wrong


def _replaced(raw: object, where: KeyPath, value: object) -> object:
    """Return ``raw`` reduced to the path ``where``, with ``value`` at its end."""
    if not where:
        return value
    if isinstance(raw, dict):
        return {where[0]: _replaced(raw[where[0]], where[1:], value)}
    assert isinstance(raw, list)
    assert isinstance(where[0], int)
    inner = _replaced(raw[where[0]], where[1:], value)
    assert isinstance(inner, dict)  # the only mapping within a list is check.run[].env
    return [{"argv": ["true"], **inner}]


def _explain(where: KeyPath, words: str, value: object) -> tuple[str, str]:
    """Return fact and hint for msgspec's message."""
    if _FIELD.match(words):
        known = _fields(where[:-1])
        return "there is no such key", messages.unknown_key(str(where[-1]), known, _fields(()), where[:-1])
    return messages.explain(words, where, value)


def _fields(where: KeyPath) -> tuple[str, ...]:
    """Return the keys that the table at ``where`` may have."""
    kind: type[msgspec.Struct] = schema.TargetFile
    for step in where:
        if step in kind.__struct_fields__:  # else an index, or a key of a mapping
            kind = _struct_within(get_type_hints(kind)[str(step)]) or kind
    return kind.__struct_fields__


def _struct_within(kind: object) -> type[msgspec.Struct] | None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct_within, get_args(kind))), None)
