"""Snippets for the host: a file, a link, or lines in a shared file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chrootbuild.hostside.quoting import plain, sh


class Form(StrEnum):
    """The form of a snippet on the host."""

    FILE = "file"  # a file of our own
    LINK = "link"  # a symlink; the content is its text
    LINES = "lines"  # a block at the end of a shared file


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of snippets: the command, and the target file or project folder it is for."""

    command: str  # "host cvs syslog", "schedule cron"
    source: str  # a real path

    @property
    def words(self) -> str:
        """The words that identify an owner's files and lines."""
        return f"chrootbuild {self.command}, {plain(self.source, 'a comment')}"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A snippet: its place on the host and its content. Its text ends with a newline."""

    path: str  # on the host
    content: str
    form: Form = Form.FILE
    mode: int = 0o644
    comment: str = "#"  # begins a comment there
    note: str = ""  # the user's next steps, one a line: "systemctl restart rsyslog"
    undo: str = ""  # the steps after its removal


def whole(snippet: Snippet, owner: Owner) -> str:
    """Return a file with the line that names its owner: the first, or the second after #!."""
    mark = f"{marker(snippet.comment, owner)}\n"
    if not snippet.content.startswith("#!"):
        return mark + snippet.content
    first, _, rest = snippet.content.partition("\n")
    return f"{first}\n{mark}{rest}"


def marker(comment: str, owner: Owner) -> str:
    """Return the line that marks a file as its owner's."""
    return f"{comment} Written by {owner.words}. Changes made here are lost."


def block(snippet: Snippet, owner: Owner) -> str:
    """Return our lines of a shared file, between their two marker lines."""
    begin, end = bounds(snippet.comment, owner)
    return f"{begin}\n{snippet.content}{end}\n"


def bounds(comment: str, owner: Owner) -> tuple[str, str]:
    """Return the two marker lines around ours in a shared file."""
    return f"{comment} begin: {owner.words}", f"{comment} end: {owner.words}"


def shown(snippet: Snippet, owner: Owner) -> str:
    """Return a snippet as printed: ln(1) for a link, else a line with the path, then the text."""
    if snippet.form is Form.LINK:
        return f"ln -s {sh(snippet.content)} {sh(snippet.path)}\n"
    if snippet.form is Form.LINES:
        return f"{snippet.comment} lines for {snippet.path}\n{block(snippet, owner)}"
    mode = "" if snippet.mode == 0o644 else f" (mode {snippet.mode:04o})"
    return f"{snippet.comment} {snippet.path}{mode}\n{whole(snippet, owner)}"
