"""The terminal: tables, errors, exit codes and a progress bar; rich is imported here alone.

It is imported where a bar is drawn: on a terminal, for what takes longer than half a second.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from chrootbuild.errors import Failure
from chrootbuild.output import fault, protect
from chrootbuild.text import printable

if TYPE_CHECKING:
    import threading

_DELAY, _EVERY = 0.5, 0.1  # seconds before a bar is shown, and between two looks at it
_FIRST, _WIDEST = 7, 60  # characters: "install", "warning" in the first column; of any column but the last
_BAR = 24  # columns; a quarter of a narrow terminal
_ECHO = 3  # columns left free: the terminal writes ^C there
_ERASE = "\r\x1b[K"


# -- lines ---------------------------------------------------------------------------------


def table(rows: Iterable[Sequence[str]], indent: str = "  ", first: int = _FIRST) -> list[str]:
    """Aligned lines of rows of the same length, two spaces between the columns, every cell made printable.

    ``first`` is the least width of the first column, so that tables below one another agree.
    A column in which nothing stands is left out; a cell of more than 60 characters shifts its own line alone.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*cells, strict=True)]
    widths[:1] = [max(width, first) for width in widths[:1]]
    return [
        indent
        + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in cells
    ]


def complain(failure: Failure) -> None:
    """Print an error to standard error: what, the facts, and the next step."""
    error(str(failure))


def error(text: str) -> None:
    """Print ``error: TEXT`` to standard error, the first word red on a terminal."""
    start = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        start = "\x1b[31merror:\x1b[0m"
    sys.stderr.write(f"{start} {text.encode('utf-8', 'backslashreplace').decode()}\n")


def warn(text: str) -> None:
    """Print ``warning: TEXT`` to standard error, as one line."""
    sys.stderr.write(f"warning: {printable(text)}\n")


def guarded(call: Callable[[], int]) -> int:
    """Call something and turn what a user can cause into one message and an exit code."""
    os.umask(0o022)
    protect()
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = call()
        sys.stdout.flush()
        if why := fault():
            raise Failure(f"cannot write to standard output: {why}")
    except Failure as failure:
        complain(failure)
        return failure.code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader has gone (head, less): not an error, and nothing to flush into.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


# -- progress ------------------------------------------------------------------------------


class Progress:
    """Receiver of how far something is; this one shows nothing. Handed down to whatever takes long."""

    visible = False  # whether anybody looks: what is costly to find out is for them alone

    def stage(self, text: str) -> None:
        """Set the stage of a longer course, shown behind the title: ``round 2: checking``."""

    def begin(self, total: int = 0) -> None:
        """Start to count anew, from nothing to ``total``; 0 where the end is not known."""

    def step(self, what: str, size: int = 0) -> None:
        """Set what is at hand now, with its bytes, and count what was before it."""

    def now(self, what: str) -> None:
        """Set what is at hand now, or waited for; it is not counted itself."""


SILENT = Progress()


@contextlib.contextmanager
def progress(title: str) -> Iterator[Progress]:
    """Give a bar on standard error; it is gone at the end, and shown after half a second at the earliest.

    Nothing is shown where standard error is no terminal, or one that cannot move its cursor.
    """
    if os.environ.get("TERM", "") in ("", "dumb", "unknown") or not sys.stderr.isatty():
        yield SILENT
        return
    bar, out, err = _Bar(title), sys.stdout, sys.stderr
    bar.start()
    try:
        if out.isatty():
            sys.stdout = cast(TextIO, _Above(out, bar))
        sys.stderr = cast(TextIO, _Above(err, bar))
        yield bar
    finally:
        bar.close()
        sys.stdout, sys.stderr = out, err


@functools.cache
def _drawing() -> threading.RLock:
    """Lock that is held while a bar is drawn; fork(2) waits for it, so that no child is born in the middle."""
    import threading

    lock = threading.RLock()
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


class _Bar(Progress):
    """One line of the terminal, drawn by a thread of its own: what is counted pays for no clock.

    The cursor is never hidden, so that nothing is left to restore whatever ends the process.
    """

    visible = True

    def __init__(self, title: str) -> None:
        import threading  # a millisecond, for whoever sees a bar

        self.title, self.part, self.what = title, "", ""
        self.count = self.total = self.size = self.pending = self.coming = 0
        self.lock: Any = _drawing()
        self.open_line = False  # somebody wrote the start of a line
        self._fd = sys.stderr.fileno()
        self._since = time.monotonic()
        self._shown = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, args=(sys.stderr,), daemon=True)

    def stage(self, text: str) -> None:
        self.part = text
        self.begin()

    def begin(self, total: int = 0) -> None:
        self.count = self.size = self.pending = self.coming = 0
        self.total, self.what = total, ""

    def step(self, what: str, size: int = 0) -> None:
        self.what = what
        self.count += self.pending
        self.size += self.coming
        self.pending, self.coming = 1, size

    def now(self, what: str) -> None:
        self.step(what)
        self.pending = 0

    def start(self) -> None:
        """Start the clock."""
        self._thread.start()

    def close(self) -> None:
        """Remove the bar, for good."""
        self._over.set()
        self._thread.join()
        self.erase()

    def erase(self) -> None:
        """Remove the bar until it is drawn again; called with the lock held, or when nobody draws."""
        if self._shown:
            self._shown = False
            self._write(_ERASE)

    def _draw(self, stream: TextIO) -> None:
        if self._over.wait(_DELAY):
            return
        with contextlib.suppress(OSError, ImportError):  # the terminal went, or rich is not there
            with self.lock:
                line = _line_maker(stream)
            while not self._over.is_set():
                with self.lock:
                    if not self.open_line and not self._over.is_set() and _in_foreground(self._fd):
                        self._write(f"\r{line(self, time.monotonic() - self._since)}\x1b[K")
                        self._shown = True
                self._over.wait(_EVERY)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, text.encode(errors="replace"))


class _Above:
    """A stream of the terminal that a bar is on: the bar goes before anything is written to it."""

    def __init__(self, stream: TextIO, bar: _Bar) -> None:
        self._stream, self._bar = stream, bar

    def write(self, text: str) -> int:
        with self._bar.lock:
            self._bar.erase()
            done = self._stream.write(text)
            self._stream.flush()
            if text:
                self._bar.open_line = not text.endswith("\n")
        return done

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _in_foreground(fd: int) -> bool:
    """Return whether the shell has given us the terminal; a job in the background draws nothing."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # it is not the terminal that controls us
        return True


def _line_maker(stream: TextIO) -> Callable[[_Bar, float], str]:
    """Return what makes the line of a bar, cut to the terminal's width; imports rich."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress_bar import ProgressBar
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    color: Any = None if os.environ.get("NO_COLOR") else "auto"  # not no_color: that leaves bold
    console = Console(file=stream, force_terminal=True, color_system=color, highlight=False)
    plain = not console.encoding.startswith("utf")
    spinner = Spinner("line" if plain else "dots", style="green")

    def line(bar: _Bar, seconds: float) -> str:
        width, count = console.width - _ECHO, bar.count
        title = printable(f"{bar.title}: {bar.part}" if bar.part else bar.title)
        cells: list[Any] = [Text(title, style="bold", no_wrap=True)]
        if bar.total and count <= bar.total:
            length = min(_BAR, width // 5)
            cells.append(ProgressBar(bar.total, count, width=length, complete_style="green"))
            words = [f"{count:,}/{bar.total:,}"]
        else:
            minutes, rest = divmod(int(seconds), 60)
            length = 1
            cells.insert(0, spinner)
            words = [f"{count:,}" if count else f"{minutes}:{rest:02}"]
        words += [decimal(bar.size)] if bar.size else []
        left = width - length - sum(2 + cell_len(text) for text in (title, *words)) - 2
        grid = Table.grid(padding=(0, 2, 0, 0))
        cells += [*map(Text, words), Text(_fitting(printable(bar.what), left))]
        for _ in cells:
            grid.add_column(no_wrap=True)
        grid.add_row(*cells)
        with console.capture() as drawn:
            console.print(grid, width=width, end="")
        text = drawn.get().split("\n")[0]
        return text.encode("ascii", "replace").decode() if plain else text

    return line


def _fitting(text: str, width: int) -> str:
    """Return a text cut to some columns: of a path the end stays, of other words the start."""
    if len(text) <= width:
        return text
    if width < 4:
        return ""
    return "..." + text[3 - width :] if text.startswith("/") else text[: width - 3] + "..."
