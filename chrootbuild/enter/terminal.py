"""A pseudoterminal for a program that is not trusted with the caller's terminal.

Input and output are relayed. The program has no descriptor of the caller's terminal, so it
cannot type into it (TIOCSTI, ioctl_tty(2)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator

_CHUNK = 1 << 14


def has_terminal() -> bool:
    """Return whether both standard input and output are a terminal."""
    try:
        return os.isatty(0) and os.isatty(1)
    except OSError:
        return False


def open_terminal() -> tuple[int, int]:
    """Return the two ends of a new pty(7), ours and the program's, of the caller's window size."""
    ours, theirs = os.openpty()
    _resize(ours)
    return ours, theirs


def pass_on(ours: int) -> None:
    """Relay input and output until all descriptors of the program's end are closed."""
    with _raw(), _resized(ours):
        sources = [0, ours]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if ours in ready:
                try:
                    data = os.read(ours, _CHUNK)
                except OSError:  # EIO: the last descriptor was closed
                    return
                if not data:
                    return
                _write(1, data)
            if 0 in ready:
                data = os.read(0, _CHUNK)
                if data:
                    _write(ours, data)
                else:
                    sources.remove(0)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Set raw mode, so that the program gets every key, Ctrl-C too; restore the terminal afterwards."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, before)


@contextlib.contextmanager
def _resized(ours: int) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: _resize(ours))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _resize(ours: int) -> None:
    with contextlib.suppress(termios.error):
        termios.tcsetwinsize(ours, termios.tcgetwinsize(sys.__stdin__ or 0))
