"""Tells the service manager how watch is doing, as sd_notify(3) describes the protocol."""

from __future__ import annotations

import contextlib
import os
import socket
import time

_SECONDS = 0.1


def notify(*lines: str) -> bool:
    """Send lines such as "READY=1" to NOTIFY_SOCKET; False where nobody asked for it, or it cannot be reached.

    The socket is a path, or with an @ in front a name in the abstract namespace: unix(7).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
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
