"""Messages for wrong values of a target file, and the correct form."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from chrootbuild.target import schema
from chrootbuild.target.toml_lines import KeyPath
from chrootbuild.text import did_you_mean, listing, quote, toml_key


def show_key(where: KeyPath) -> str:
    """Return a key as it is written in TOML: check.run[2].argv, directories."/tmp".mode."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + toml_key(step)
    return text


def unknown_key(key: str, known: Sequence[str], top: Sequence[str], where: KeyPath) -> str:
    """Return the hint for a key unknown in the table at ``where``."""
    if where and key in top and key not in known:
        return f"{key} is no part of {show_key(where)}: write it above the first [table] of the file"
    return did_you_mean(key, known) or f"the keys here are {listing(sorted(known))}"


def value_at(raw: object, where: KeyPath) -> object:
    """Return the value at a path of keys and indexes, or None."""
    for step in where:
        known = raw if isinstance(raw, dict) else dict(enumerate(raw)) if isinstance(raw, list) else {}
        if step not in known:
            return None
        raw = known[step]
    return raw


# -- msgspec's messages ------------------------------------------------------------------------

_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "date": "a date",
    "time": "a time",
    "datetime": "a date and time",
}
_TYPE = re.compile(r"Expected `(.+)`, got `(.+)`\Z")
_ENUM = re.compile(r"Invalid enum value (.*)\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`\Z")
_CHOICES = {"os": ("linux", "freebsd"), "format": ("linux", "freebsd")}


def explain(words: str, where: KeyPath, value: object) -> tuple[str, str]:
    """Return fact and hint for msgspec's message about the value at ``where``."""
    key = str(where[-1]) if where and isinstance(where[-1], str) else ""
    if match := _TYPE.match(words):
        return _wrong_type(key, match[1], match[2], value)
    if match := _MISSING.match(words):
        return f"{match[1]} is missing", f"add {match[1]} = ..."
    if _ENUM.match(words):
        choices = _CHOICES.get(key, ())
        shown = value if isinstance(value, str) else ""
        known = f"it is {' or '.join(quote(choice) for choice in choices)}"
        return f"{quote(shown)} is not known", did_you_mean(shown, choices) or known
    for pattern, judge in _PATTERNS.items():
        if f"regex {pattern!r}" in words:
            return judge(str(value))
    return _wrong_size(words)


def _wrong_type(key: str, expected: str, got: str, value: object) -> tuple[str, str]:
    kinds = [_KINDS[kind] for kind in expected.split(" | ") if kind in _KINDS]
    fact = f"it has to be {' or '.join(kinds)}, not {_KINDS.get(got, got)}"
    if key == "mode":
        return "a mode is octal text in quotes, not a number", 'write it as mode = "0640"'
    if kinds == ["a list"]:
        inner = quote(value) if isinstance(value, str) else "..."
        return fact, f"put it in brackets: {show_key((key,))} = [{inner}]"
    if got == "str" and "a list" in kinds:
        return fact, 'a command that is run in the root is a list of words: ["date", "+%Z"]'
    if got == "str" and kinds == ["true or false"]:
        return fact, "leave the quotes out"
    if kinds and kinds[0] == "a string" and got in ("int", "float", "bool", "date", "time", "datetime"):
        return fact, "put it in quotes"
    return fact, ""


def _wrong_size(words: str) -> tuple[str, str]:
    if "`array` of length >= 1" in words:
        return "the list is empty", 'write a command as a list of words: ["date", "+%Z"]'
    if words.startswith("Expected `str` of length"):
        return "it is too long", ""
    if match := re.match(r"Expected `\w+(?: \| null)?` (>=|<=|>|<) ([0-9.]+)\Z", words):
        number = match[2].removesuffix(".0")
        return f"it has to be {match[1]} {number}", ""
    return words[:1].lower() + words[1:], ""


# -- texts that do not match their pattern -----------------------------------------------------


def _common(text: str) -> str:
    if not text.strip():
        return "it is empty"
    return "it has a NUL character in it" if "\0" in text else ""


def _parts(path: str) -> tuple[str, str]:
    if "//" in path or re.search(r"/\.{1,2}(/|\Z)", path):
        tidy = os.path.normpath(re.sub("/+", "/", path))
        return f'{quote(path)} has "..", "." or "//" in it', f"write {quote(tidy)}"
    if len(max(path.split("/"), key=len)) > 255:
        return "a name in it is longer than 255 characters", ""
    return "it is not a path", ""


def _path(text: str) -> tuple[str, str]:
    fact = _common(text)
    if fact:
        return fact, ""
    if text == "/":
        return "it is the root itself", "name something below it"
    if not text.startswith("/"):
        return f"{quote(text)} is not an absolute path", f"write {quote('/' + text)}"
    if text.endswith("/") and not text.endswith("//"):
        return "it ends with a slash, which only files, seed and exclude know", f"write {quote(text[:-1])}"
    return _parts(text)


def _program(text: str) -> tuple[str, str]:
    if "/" in text and not text.startswith("/") and "\0" not in text:
        return f"{quote(text)} is neither a bare name nor an absolute path", f"write {quote('/' + text)}"
    return _path(text)


def _mode(text: str) -> tuple[str, str]:
    return f"{quote(text)} is not a mode", 'a mode is three or four octal digits in quotes: "0640", "1777"'


def _name(text: str) -> tuple[str, str]:
    hint = f"write {quote(text.removesuffix('.toml'))}" if re.match(r"\A[\w-]+\.toml\Z", text) else ""
    return (
        f"{quote(text)} is not the name of an include",
        hint or 'names have only A-Z a-z 0-9 _ -; "tls" is targets/common/tls.toml, or the one shipped',
    )


def _device_name(text: str) -> tuple[str, str]:
    if text.startswith("/dev/"):
        return "a device is named as in /dev", f"write {quote(text[5:])}"
    return f"{quote(text)} is not a name in /dev", 'write "null", or "pts/0"'


def _numbers(text: str) -> tuple[str, str]:
    return f"{quote(text)} is not a device number", 'write MAJOR:MINOR in decimal: "10:229"'


def _user(text: str) -> tuple[str, str]:
    hint = (
        "owner and group are two keys"
        if ":" in text
        else 'a user or group is a name or a number: "www-data", "33"'
    )
    return f"{quote(text)} is not a user or group", hint


def _user_group(text: str) -> tuple[str, str]:
    return f"{quote(text)} is not a user", 'write "nobody", or "nobody:nogroup"'


def _zone(text: str) -> tuple[str, str]:
    return (
        f"{quote(text)} is not a time zone",
        'write "host", or a zone as in /usr/share/zoneinfo: "Asia/Tokyo"',
    )


def _env_name(text: str) -> tuple[str, str]:
    return f"{quote(text)} is not a name of a variable", "names have only A-Z a-z 0-9 _, and no digit first"


def _folder(text: str) -> tuple[str, str]:
    if text.startswith("~"):
        return "~ is not expanded here", "write the whole path"
    return _common(text) or "it is not a path", "write an absolute path, or one relative to the project"


def _size(text: str) -> tuple[str, str]:
    fact = f"{quote(text)} is not a size"
    match = re.fullmatch(r"\s*([1-9][0-9]{0,14})\s*([KMGT])I?B?\s*", text.upper())
    return (
        fact,
        f"write {quote(match[1] + match[2])}" if match else 'write bytes, or "64K", "256M", "2G", "1T"',
    )


def _line(text: str) -> tuple[str, str]:
    return _common(text) or "it is more than one line", "write it in one line"


def _text(text: str) -> tuple[str, str]:
    return _common(text) or "it is not a text", ""


_PATTERNS: Mapping[str, Callable[[str], tuple[str, str]]] = {
    schema.PATH: _path,
    schema.TREE: _path,
    schema.PROGRAM: _program,
    schema.MODE: _mode,
    schema.NAME: _name,
    schema.DEVICE_NAME: _device_name,
    schema.NUMBERS: _numbers,
    schema.USER: _user,
    schema.PASSWORDS: _user,
    schema.USER_GROUP: _user_group,
    schema.ZONE: _zone,
    schema.ENV_NAME: _env_name,
    schema.FOLDER: _folder,
    schema.SIZE: _size,
    schema.LINE: _line,
    schema.FILLED: _text,
    schema.WORD: _text,
}


# -- TOML itself -------------------------------------------------------------------------------


def syntax_hint(line: str, fact: str) -> str:
    """Return a hint for common mistakes in a line that is not TOML."""
    if line.startswith("\ufeff"):
        return "save the file as UTF-8 without a byte order mark"
    if "overwrite" in fact or "twice" in fact or "declare" in fact:
        return "a key or table may stand only once in a file"
    if match := re.match(r"\s*(/[^\s\"=]*)\s*=", line):
        return f"put a key that is a path in quotes: {quote(match[1])} = ..."
    if match := re.match(r"\s*([\w-]+)\s*=\s*([^\s\[{\"'#][^#\"']*)", line):
        word = match[2].strip()
        if word.casefold() in ("true", "false", "yes", "no", "on", "off"):
            return f"write {match[1]} = true or {match[1]} = false"
        return f"put text in quotes: {match[1]} = {quote(word)}"
    return ""
