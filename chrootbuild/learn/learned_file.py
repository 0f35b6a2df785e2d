"""Text of targets/NAME.learned.toml: keys of a target file, sorted, each entry with its reason.

An entry keeps its comment, so that a second run with the same result changes
no byte, and users may edit the comments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from chrootbuild.errors import TargetError
from chrootbuild.propose.model import KEYS, Proposal
from chrootbuild.text import toml_value

_HEAD = "# Written by `chrootbuild learn`: what the service was seen to need. Read it, and commit it.\n"
_WIDTH = 100  # characters of a reason
_LISTS = frozenset({"binaries", "libraries", "files", "seed", "devices", "mounts"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a learned file: the line's code, and its comment."""

    key: str  # "binaries", "accounts.users", "directories"
    name: str  # the sort key: the path, or the value as written
    code: str  # the value in a list, or the whole pair in a table
    comment: str = ""
    above: tuple[str, ...] = ()  # comment lines before it


def merge(text: str, proposals: Iterable[Proposal], name: str = "the learned file") -> str:
    """Return ``text`` plus the proposals it lacks; its entries and comments stay.

    Raises TargetError where the text is not TOML, or has keys that `learn` does not write.
    """
    found = {(entry.key, entry.name): entry for entry in entries(text, name)}
    for proposal in proposals:
        entry = _entry(proposal)
        if proposal.key == "timezone" and any(key == "timezone" for key, _ in found):
            continue
        found.setdefault((entry.key, entry.name), entry)
    return _text(found.values(), _head(text))


def without(text: str, drop: Callable[[Entry], bool], name: str = "the learned file") -> str:
    """Return ``text`` without the entries for which ``drop`` is true."""
    return _text((entry for entry in entries(text, name) if not drop(entry)), _head(text))


def entries(text: str, name: str = "the learned file") -> tuple[Entry, ...]:
    """Return the entries of a learned file, with their comments.

    Raises TargetError where the text is not TOML, or has keys that `learn` does not write.
    """
    try:
        pairs = list(_pairs(tomllib.loads(text), name))
    except (ValueError, RecursionError) as error:  # also of a number too long for str()
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
            yield key, value, f"timezone = {toml_value(value)}"
        elif key in ("directories", "links") and isinstance(value, dict):
            for path, settings in value.items():
                yield key, path, f"{toml_value(path)} = {toml_value(settings)}"
        elif key == "accounts" and _is_accounts(value):
            for part, items in value.items():
                for item in items:
                    yield f"accounts.{part}", _name(item), toml_value(item)
        elif key in _LISTS and isinstance(value, list):
            for item in value:
                yield key, _name(item), toml_value(item)
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
        return str(item.get("path", item.get("name", toml_value(item))))
    return str(item)


def _entry(proposal: Proposal) -> Entry:
    comment = f"# {_comment(proposal.reason)}".rstrip()
    if proposal.key == "timezone":
        return Entry("timezone", proposal.value, f"timezone = {toml_value(proposal.value)}", comment)
    if proposal.key == "directories":
        code = f"{toml_value(proposal.value)} = {toml_value(dict(proposal.table))}"
        return Entry("directories", proposal.value, code, comment)
    if proposal.key == "links":
        return Entry(
            "links", proposal.value, f"{toml_value(proposal.value)} = {toml_value(proposal.text)}", comment
        )
    return Entry(proposal.key, proposal.value, toml_value(proposal.value), comment)


def _comment(text: str) -> str:
    """Return a reason as one printable line: its trace is untrusted."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _WIDTH else shown[: _WIDTH - 3] + "..."


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
    """Return the leading comment of a file, up to the first blank line or key."""
    head = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        head.append(f"{line}\n")
    return "".join(head) or _HEAD


def _comments(text: str) -> Iterator[tuple[tuple[str, str], tuple[str, tuple[str, ...]]]]:
    """Yield ((key, code), (comment, comments above)) for each line with one entry in our format."""
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
    """Return a line's code and its comment; a # within a string does not start one."""
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
