"""The text of targets/NAME.learned.toml: the keys of a target file, sorted, each entry's reason behind it.

An entry that stays keeps its comment, so that a second run that finds the same
changes no byte, and people may write their own words there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from chrootbuild.errors import TargetError
from chrootbuild.trace.known import KEYS, Proposal

__all__ = ["Entry", "entries", "merge", "without"]

_HEAD = "# Written by `chrootbuild learn`: what the service was seen to need. Read it, and commit it.\n"
_WIDTH = 100  # characters of a reason
_LISTS = frozenset({"binaries", "libraries", "files", "seed", "devices", "mounts"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a learned file: the line's code, and the comment behind it."""

    key: str  # "binaries", "accounts.users", "directories"
    name: str  # what is sorted by: the path, or the value as written
    code: str  # the value in a list, or the whole pair in a table
    comment: str = ""
    above: tuple[str, ...] = ()  # whole lines of comment before it


def merge(text: str, proposals: Iterable[Proposal], name: str = "the learned file") -> str:
    """Return ``text`` with the proposals it lacks added; what it holds stays, comments included.

    Raises TargetError where the text is no TOML, or holds what `learn` does not write.
    """
    found = {(entry.key, entry.name): entry for entry in entries(text, name)}
    for proposal in proposals:
        entry = _entry(proposal)
        if proposal.key == "timezone" and any(key == "timezone" for key, _ in found):
            continue
        found.setdefault((entry.key, entry.name), entry)
    return _text(found.values(), _head(text))


def without(text: str, drop: Callable[[Entry], bool], name: str = "the learned file") -> str:
    """Return ``text`` without the entries that ``drop`` says yes to."""
    return _text((entry for entry in entries(text, name) if not drop(entry)), _head(text))


def entries(text: str, name: str = "the learned file") -> tuple[Entry, ...]:
    """Return what a learned file holds, each entry with its comment.

    Raises TargetError where the text is no TOML, or holds what `learn` does not write.
    """
    try:
        pairs = list(_pairs(tomllib.loads(text), name))
    except (ValueError, RecursionError) as error:  # of a number, too, that is too long to be shown
        raise TargetError(
            f"cannot read {name}: {error}", hint="correct it, or remove it and learn again"
        ) from None
    comments = dict(_comments(text))
    found = []
    for key, entry_name, code in pairs:
        comment, above = comments.get((key, code), ("", ()))
        found.append(Entry(key, entry_name, code, comment, above))
    return tuple(found)


def _pairs(table: Mapping[str, object], name: str) -> Iterator[tuple[str, str, str]]:
    for key, value in table.items():
        if key == "timezone" and isinstance(value, str):
            yield key, value, f"timezone = {_value(value)}"
        elif key in ("directories", "links") and isinstance(value, dict):
            for path, settings in value.items():
                yield key, path, f"{_value(path)} = {_value(settings)}"
        elif key == "accounts" and _is_accounts(value):
            for part, items in value.items():
                for item in items:
                    yield f"accounts.{part}", _name(item), _value(item)
        elif key in _LISTS and isinstance(value, list):
            for item in value:
                yield key, _name(item), _value(item)
        else:
            raise TargetError(
                f"cannot edit {name}: learn does not write the key {key}",
                hint=f"move {key} into the target file itself, which learn never touches",
            )


def _is_accounts(value: object) -> TypeGuard[Mapping[str, list[object]]]:
    return (
        isinstance(value, dict)
        and value.keys() <= {"users", "groups"}
        and all(isinstance(items, list) for items in value.values())
    )


def _name(item: object) -> str:
    if isinstance(item, dict):
        return str(item.get("path", item.get("name", _value(item))))
    return str(item)


def _entry(proposal: Proposal) -> Entry:
    comment = f"# {_comment(proposal.reason)}".rstrip()
    if proposal.key == "timezone":
        return Entry("timezone", proposal.value, f"timezone = {_value(proposal.value)}", comment)
    if proposal.key == "directories":
        code = f"{_value(proposal.value)} = {_value(dict(proposal.table))}"
        return Entry("directories", proposal.value, code, comment)
    if proposal.key == "links":
        return Entry("links", proposal.value, f"{_value(proposal.value)} = {_value(proposal.text)}", comment)
    return Entry(proposal.key, proposal.value, _value(proposal.value), comment)


def _comment(text: str) -> str:
    """Return a reason as one printable line: it comes from a trace, which anybody may have written."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _WIDTH else shown[: _WIDTH - 3] + "..."


def _value(value: object) -> str:
    """Return a TOML value on one line (https://toml.io/en/v1.0.0)."""
    if isinstance(value, str):
        return f'"{"".join(_letter(letter) for letter in value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        inner = ", ".join(f"{_bare(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return str(value)


def _bare(key: str) -> str:
    return (
        key
        if key and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in key)
        else _value(key)
    )


def _letter(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


# -- the text ------------------------------------------------------------------------------


def _text(found: Iterable[Entry], head: str = _HEAD) -> str:
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        groups.setdefault(entry.key, []).append(entry)
    parts = [head]
    for key in KEYS:
        group = sorted(groups.get(key, ()), key=lambda entry: (entry.name, entry.code))
        if not group:
            continue
        section, _, part = key.rpartition(".")
        if section and f"[{section}]" not in "".join(parts[1:]):
            parts.append(f"\n[{section}]\n")
        elif not section:
            parts.append("\n")
        parts.extend(_group(part, group))
    return "".join(parts)


def _group(key: str, group: list[Entry]) -> Iterator[str]:
    if key == "timezone":
        yield from _lines(group, "", "")
    elif key in ("directories", "links"):
        yield f"[{key}]\n"
        yield from _lines(group, "", "")
    else:
        yield f"{key} = [\n"
        yield from _lines(group, "    ", ",")
        yield "]\n"


def _lines(group: list[Entry], indent: str, end: str) -> Iterator[str]:
    for entry in group:
        for line in entry.above:
            yield f"{indent}{line}\n"
        code = f"{indent}{entry.code}{end}"
        yield f"{code}  {entry.comment}\n" if entry.comment else f"{code}\n"


def _head(text: str) -> str:
    """Return the comment that a file begins with, up to the first blank line or key."""
    head = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        head.append(f"{line}\n")
    return "".join(head) or _HEAD


def _comments(text: str) -> Iterator[tuple[tuple[str, str], tuple[str, tuple[str, ...]]]]:
    """Yield for each line that holds one entry as we write it: (key, code), (its comment, those above)."""
    section = key = ""
    above: list[str] = []
    begun = False  # behind the head
    for raw in text.split("\n"):
        line = raw.strip()
        begun = begun or not line.startswith("#")
        code, comment = _cut(line)
        if not code:
            above = [*above, comment] if comment and begun else []
            continue
        if code.startswith("[") and code.endswith("]") and not key:
            section = code.strip("[] ")
        elif code.endswith("= ["):
            key = code.removesuffix("= [").strip()
        elif code == "]":
            key = ""
        else:
            where = ".".join(filter(None, (section, key))) if key else section or code.partition(" =")[0]
            yield (where, code.removesuffix(",")), (comment, tuple(above))
        above = []


def _cut(line: str) -> tuple[str, str]:
    """Return a line's code and its comment; a # within a string is none."""
    quote = ""
    skip = False
    for index, letter in enumerate(line):
        if skip:
            skip = False
        elif quote:
            skip = letter == "\\" and quote == '"'
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#":
            return line[:index].rstrip(), line[index:]
    return line, ""
