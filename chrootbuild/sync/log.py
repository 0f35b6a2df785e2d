"""What watch says: log lines, each failure once, a status line on a terminal, and its state to the service manager.

The service manager is told as sd_notify(3) describes the protocol.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Collection
from contextlib import suppress

from chrootbuild.console import complain
from chrootbuild.errors import Failure, TryAgain
from chrootbuild.text import printable, printable_lines

_SECONDS = 0.1  # to tell the service manager


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


def notify(*lines: str) -> bool:
    """Send lines such as "READY=1" to NOTIFY_SOCKET; False where nobody asked for it, or it cannot be reached.

    The socket is a path, or with an @ in front a name in the abstract namespace: unix(7).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(_SECONDS)  # the other end may have stopped reading: that is no reason to stop here
        sender.connect(address)
        sender.sendall("\n".join(lines).encode("utf-8", "surrogateescape"))
        return True
    return False


def reloading() -> bool:
    """Say that a reload has begun; the time is needed for Type=notify-reload."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def ping_seconds() -> float:
    """Return how often WATCHDOG=1 has to be sent, half of what is allowed; 0: never. See sd_watchdog_enabled(3)."""
    text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not text.isascii() or not text.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(text) / 2e6
