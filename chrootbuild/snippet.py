"""What goes onto the host: a file, a link, or lines in a file that others write as well."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chrootbuild.quoting import plain, sh

__all__ = ["Form", "Owner", "Snippet", "block", "bounds", "marker", "shown", "whole"]


class Form(StrEnum):
    """How a snippet is put where it goes."""

    FILE = "file"  # a file of our own
    LINK = "link"  # a symlink; the content is its text
    LINES = "lines"  # a block at the end of a shared file


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes: the command, and the target file or project folder it is for."""

    command: str  # "host cvs syslog", "schedule cron"
    source: str  # a real path

    @property
    def words(self) -> str:
        """The words that tell one owner's file or lines from all others."""
        return f"chrootbuild {self.command}, {plain(self.source, 'a comment')}"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Something for the host: where it goes, and what it holds. Its text ends with a newline."""

    path: str  # on the host
    content: str
    form: Form = Form.FILE
    mode: int = 0o644
    comment: str = "#"  # what begins a comment there
    note: str = ""  # what people do next, a step a line: "systemctl restart rsyslog"
    undo: str = ""  # what they do when it has been removed


def whole(snippet: Snippet, owner: Owner) -> str:
    """Return a file with the line that says who wrote it: the first, or the second behind #!."""
    mark = f"{marker(snippet.comment, owner)}\n"
    if not snippet.content.startswith("#!"):
        return mark + snippet.content
    first, _, rest = snippet.content.partition("\n")
    return f"{first}\n{mark}{rest}"


def marker(comment: str, owner: Owner) -> str:
    """Return the line by which a file of ours is known."""
    return f"{comment} Written by {owner.words}. Changes made here are lost."


def block(snippet: Snippet, owner: Owner) -> str:
    """Return our lines of a shared file, with the two that stand around them."""
    begin, end = bounds(snippet.comment, owner)
    return f"{begin}\n{snippet.content}{end}\n"


def bounds(comment: str, owner: Owner) -> tuple[str, str]:
    """Return the two lines that stand around ours in a shared file."""
    return f"{comment} begin: {owner.words}", f"{comment} end: {owner.words}"


def shown(snippet: Snippet, owner: Owner) -> str:
    """Return what is printed: ln(1) for a link, else a line with the path, then the text."""
    if snippet.form is Form.LINK:
        return f"ln -s {sh(snippet.content)} {sh(snippet.path)}\n"
    if snippet.form is Form.LINES:
        return f"{snippet.comment} lines for {snippet.path}\n{block(snippet, owner)}"
    mode = "" if snippet.mode == 0o644 else f" (mode {snippet.mode:04o})"
    return f"{snippet.comment} {snippet.path}{mode}\n{whole(snippet, owner)}"
