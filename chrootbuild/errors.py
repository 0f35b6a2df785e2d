"""Errors that a user can cause: one sentence, its facts, and the next step."""

from __future__ import annotations

from chrootbuild.text import printable

_LINE = 8000  # characters of a line that is printed: a hostile file's name for a library may be 64 kB


class Failure(Exception):  # noqa: N818  # "cannot ...": a failed operation, not always an error of ours
    """An operation that failed; ``str()`` gives the printed text.

    ``message`` reads "cannot VERB OBJECT: fact". ``details`` are lines shown
    indented below it. ``hint`` is the next step. ``code`` is the exit status.
    """

    code = 1

    def __init__(self, message: str, *, hint: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return "\n".join((self.first_line, *self.lines_below))

    @property
    def lines_below(self) -> tuple[str, ...]:
        """The lines printed below the message: the details, indented, and the hint."""
        hint = (f"hint: {_line(self.hint)}",) if self.hint else ()
        return (*(f"  {_line(line)}" for line in self.details), *hint)

    @property
    def first_line(self) -> str:
        """The message as it is printed, on one line."""
        return _line(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        # doit returns failures from worker processes by pickle.
        return (_rebuild, (type(self), self.message, self.hint, self.details))


def _line(text: str) -> str:
    """Return a text as one line: a name from a file moves no cursor, fakes no line and fills no screen."""
    shown = printable(text)
    return shown if len(shown) <= _LINE else f"{shown[:_LINE]}... ({len(shown)} characters)"


def _rebuild(kind: type[Failure], message: str, hint: str, details: tuple[str, ...]) -> Failure:
    return kind(message, hint=hint, details=details)


class UsageError(Failure):
    """The command line is wrong."""

    code = 2


class TargetError(Failure):
    """A target file is wrong, or cannot be satisfied from its sysroot."""

    code = 3


class TryAgain(Failure):
    """Somebody else is at work: the lock is held, or the package manager runs.

    ``doing`` is what has to wait ("build cvs"), ``fact`` why, ``holder`` the process that is in
    the way; empty where none is known.
    """

    code = 75

    def __init__(self, doing: str, fact: str, *, holder: str = "", hint: str = "") -> None:
        super().__init__(f"cannot {doing}: {fact}", hint=hint)
        self.doing = doing
        self.fact = fact
        self.holder = holder

    def __reduce__(self) -> tuple[object, ...]:
        return (_try_again, (self.doing, self.fact, self.holder, self.hint))


def _try_again(doing: str, fact: str, holder: str, hint: str) -> TryAgain:
    return TryAgain(doing, fact, holder=holder, hint=hint)
