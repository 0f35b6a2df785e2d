"""Quoting of words in the host's files: shell, crontab, units, fstab and others."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from chrootbuild.errors import Failure


def plain(text: str, where: str) -> str:
    """Return ``text``; raises Failure for a control character, which a line of ``where`` cannot hold."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Failure(
            f"cannot write {text!r} into {where}: it has a control character",
            hint="give the file or folder another name",
        )
    return text


def sh(word: str) -> str:
    """Quote a word for the shell, with no double quote of its own, which apt's strings cannot hold."""
    if shlex.quote(word) == word:
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def sh_words(words: Iterable[str]) -> str:
    """Quote a command for sh(1)."""
    return " ".join(map(sh, words))


def cron_command(words: Iterable[str]) -> str:
    """Quote a command for crontab(5), where an unescaped % ends the line.

    Raises Failure for a backslash: cron implementations differ about two.
    """
    quoted = " ".join(plain(shlex.quote(word), "a crontab") for word in words)
    if "\\" in quoted:
        raise Failure(
            f"cannot write {quoted} into a crontab: it has a backslash",
            hint="give the folder another name, or use: chrootbuild schedule systemd",
        )
    return quoted.replace("%", "\\%")


def apt_string(command: str) -> str:
    """Quote a shell command for apt.conf(5), whose strings have no escape for a double quote."""
    if '"' in command:
        octal = "".join(f"\\{ord(char):03o}" if char in "\"'\\" else char for char in command)
        command = f"IFS=; eval $(printf '{octal.replace('%', '%%')}')"
    return f'"{command}"'


def fstab_field(text: str) -> str:
    r"""Quote a field of fstab(5): blanks and backslashes are octal (\040)."""
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\#" else char for char in text)


def c_string(text: str) -> str:
    """Quote a string for rsyslog.conf(5) and syslog-ng.conf(5)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def glob_string(text: str) -> str:
    """Quote a path for logrotate.conf(5), where it is a glob(7); a pattern may be appended.

    A brace ends the list of files even between quotes: "?" replaces it.
    """
    return "".join("?" if char in "{}" else f"\\{char}" if char in '\\"*?[]' else char for char in text)


def jail_string(text: str) -> str:
    """Quote a string for jail.conf(5), where $ begins a variable."""
    return '"' + "".join(f"\\{char}" if char in '\\"$' else char for char in text) + '"'


# -- systemd.syntax(7) ------------------------------------------------------------------------


def unit_path(path: str) -> str:
    """Quote a path for a unit's key that takes the rest of the line, such as RootDirectory=."""
    if path != path.strip() or path.endswith("\\"):
        raise Failure(
            f"cannot write {path} into a unit: a line cannot end in a blank or a backslash",
            hint="give the folder another name",
        )
    return path.replace("%", "%%")


def unit_word(text: str) -> str:
    """Quote one word of a unit's list, such as Environment= or BindPaths=."""
    text = text.replace("%", "%%")
    if text and not any(char in " \t\"'\\;:" or ord(char) < 32 for char in text):
        return text
    escaped = "".join(
        f"\\x{ord(char):02x}" if ord(char) < 32 else f"\\{char}" if char in '\\"' else char for char in text
    )
    return f'"{escaped}"'


def unit_exec(words: tuple[str, ...]) -> str:
    """Quote a command for ExecStart=; the colon turns the expansion of $ off (systemd 244).

    Raises Failure for a program name that systemd refuses as unsafe.
    """
    if any(char in "\"'\\" for char in words[0]):
        raise Failure(
            f"cannot write {words[0]} into a unit: systemd allows no quote or backslash in a program's name",
            hint="give it another name",
        )
    colon = ":" if any("$" in word for word in words) else ""
    return colon + " ".join(map(unit_word, words))


def unit_name(path: str) -> str:
    """Escape a path for a unit's name, as systemd-escape(1) --path does."""
    parts = "/".join(part for part in path.split("/") if part)
    if not parts:
        return "-"
    escaped = [
        "-" if byte == 0x2F else chr(byte) if _may_stay(byte, first=index == 0) else f"\\x{byte:02x}"
        for index, byte in enumerate(parts.encode("utf-8", "surrogateescape"))
    ]
    return "".join(escaped)


def _may_stay(byte: int, *, first: bool) -> bool:
    char = chr(byte)
    return byte < 128 and (char.isalnum() or char in ":_" or (char == "." and not first))
