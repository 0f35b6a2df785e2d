"""A running ``chrootbuild watch``, as systemd would start it: its messages come over NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.places import REPOSITORY

_SOURCES = str(REPOSITORY)
PATIENCE = 60.0  # seconds: for what has to happen, on a busy machine


def eventually(what: str, happened: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"it never happened: {what}"
        time.sleep(0.01)


@dataclass
class Watching:
    """The process, what it printed (a file) and what it told its service manager."""

    process: subprocess.Popen[bytes]
    output: Path
    socket: socket.socket
    told: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Take down what is told, until the socket is closed."""
        with contextlib.suppress(OSError):
            while message := self.socket.recv(4096):
                self.told += message.decode().split("\n")

    def wait_for(self, line: str, count: int = 1) -> None:
        """Wait until a line was told so many times."""
        eventually(f"{line}: {self.said()}", lambda: self.told.count(line) >= count or self.ended())
        assert self.told.count(line) >= count, self.said()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def said(self) -> str:
        """Return what was printed so far."""
        return self.output.read_text(errors="replace")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it, and return what it printed."""
        self.send(number)
        assert self.process.wait(PATIENCE) == 0, self.said()
        assert "Traceback" not in self.said()
        return self.said()

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def ticks(self) -> int:
        """Return the CPU time it has used, in clock ticks: proc_pid_stat(5)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


@contextlib.contextmanager
def watching(
    folder: Path,
    *words: str,
    quiet: float = 0.05,
    env: Mapping[str, str] | None = None,
    address: str = "",
    before: Sequence[str] = (),
    program: Sequence[str] = ("-m", "chrootbuild"),
) -> Iterator[Watching]:
    """Run watch in a project folder; it is ready when this returns, and ended afterwards.

    The command is that of ``before``, and behind it Python with ``program``.
    """
    address = address or str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        output = folder / "watch.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*before, sys.executable, *program, "watch", "--quiet", str(quiet), *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": _SOURCES, "NOTIFY_SOCKET": address, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        found = Watching(process, output, listener)
        reader = threading.Thread(target=found.listen)
        reader.start()
        try:
            found.wait_for("READY=1")
            yield found
        finally:
            if not found.ended():
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
            listener.shutdown(socket.SHUT_RDWR)
            reader.join()
            if not address.startswith("@"):
                os.unlink(address)
