"""A pseudoterminal for a program that is not trusted with the caller's terminal.

Input and output are relayed. The program has no descriptor of the caller's terminal, so it
cannot type into it (TIOCSTI, ioctl_tty(2)).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Iterator

_CHUNK = 1 << 14
_END = b"\x04"  # VEOF: termios(3)


def terminals() -> frozenset[int]:
    """Return which of standard input, output and error are a terminal."""
    return frozenset(filter(os.isatty, (0, 1, 2)))


def open_terminal() -> tuple[int, int]:
    """Return the two ends of a new pty(7), ours and the program's, of the caller's window size.

    Where the caller's terminal is not both input and output it stays as it is, and echoes itself.
    """
    ours, theirs = os.openpty()
    _resize(ours)
    if not {0, 1} <= terminals():
        modes = termios.tcgetattr(theirs)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
    return ours, theirs


def pass_on(ours: int) -> None:
    """Relay input and output until all descriptors of the program's end are closed."""
    shown = terminals()
    out = next((fd for fd in (1, 2) if fd in shown), 0)
    with _raw() if {0, 1} <= shown else contextlib.nullcontext(), _resized(ours):
        sources = [0, ours] if 0 in shown else [ours]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if ours in ready:
                try:
                    data = os.read(ours, _CHUNK)
                except OSError:  # EIO: the last descriptor was closed
                    return
                if not data:
                    return
                _write(out, data)
            if 0 in ready:
                data = os.read(0, _CHUNK)
                if data:
                    _write(ours, data)
                else:
                    _write(ours, _END)
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
        termios.tcsetwinsize(ours, termios.tcgetwinsize(min(terminals(), default=0)))
