"""What watch says: log lines, each failure once, and a status line on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress

from chrootbuild.console import complain
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.text import printable, printable_lines


def tell(said: dict[str, str], key: str, failure: Failure) -> bool:
    """Print what went wrong, if it is not what was said of it last; that somebody is at work is worth one line."""
    if said.get(key) == str(failure):
        return False
    said[key] = str(failure)
    if isinstance(failure, TryAgain):
        say(f"{key} waits: {failure.fact}")
    else:
        end_line()
        complain(failure)
    return True


def status(targets: int, artifacts: int, directories: int, summary: str, waiting: Collection[str]) -> str:
    """Return the status: what is watched, the last refresh, and the targets that are not up to date."""
    text = f"watching {targets} targets, {artifacts} artifacts, {directories} directories"
    text = text.replace(" 1 targets", " 1 target")
    text += f"; last refresh: {summary}" if summary else ""
    return text + (f"; not up to date: {', '.join(sorted(waiting))}" if waiting else "")


def say(text: str) -> None:
    """Print log lines, without what could move a cursor."""
    end_line()
    with suppress(OSError):
        sys.stdout.write(printable_lines(text) + "\n")
        sys.stdout.flush()


def show_status(text: str) -> None:
    """Show the status line on a terminal; log nothing."""
    if sys.stdout.isatty():
        with suppress(OSError):
            sys.stdout.write(f"\r\x1b[K{printable(text)}")
            sys.stdout.flush()


def end_line() -> None:
    """Clear the status line before something else is printed."""
    if sys.stdout.isatty():
        with suppress(OSError):
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
