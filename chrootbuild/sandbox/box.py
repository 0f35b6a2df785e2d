"""An open sandbox, seen from outside: starts programs in it, and reads their output and traces."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from chrootbuild.errors import Failure
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.namespaces import Rights, reason
from chrootbuild.sandbox.output import cut_trace
from chrootbuild.sandbox.view.overlay import written
from chrootbuild.system import syscalls
from chrootbuild.system.programs import find_shell
from chrootbuild.system.rights.user import ROOT, User

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # of a program of the root
_HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ANSWER_SECONDS = 60.0
_LOOKS = 20  # at the processes, while some of them end
_GONE = "cannot go on: the first process of the box was killed"


@dataclass(frozen=True, slots=True)
class Process:
    """A program started in a sandbox."""

    name: str  # of its output
    pid: int  # in the pid namespace of the host view


@dataclass(slots=True)
class Box:
    """An open sandbox; made by confine().

    ``root`` and ``work`` are paths of the host view (ROOT, WORK).
    """

    confinement: Confinement
    root: str
    work: str
    scratch: str
    rights: Rights
    notes: tuple[str, ...]  # differences from the real root
    _uppers: tuple[tuple[str, str], ...]
    _channel: socket.socket
    _proc: int
    _scratch: int
    _root: int
    _inside: int
    _holder: int
    exceeded: str = ""  # the key of the limit that was hit: all was killed then, and nothing can be started
    _buffer: bytes = b""
    _ended: dict[int, int] = field(default_factory=dict)

    # -- programs --------------------------------------------------------------------------

    def inside(
        self,
        argv: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str] | None = None,
        user: User = ROOT,
        merge: bool = True,
        strace: str = "",
        privileges: bool = False,
    ) -> Process:
        """Start a program of the root with a clean environment; raises Failure.

        It is looked up in PATH, runs in /, and has no terminal and no input. ``name`` names
        its output; without ``merge`` standard error has a file of its own. With ``strace``, a
        real path, it is traced; with ``privileges`` setuid programs gain theirs under
        trace too, which costs speed.
        """
        order = {"merge": merge, "strace": strace, "privileges": privileges}
        switch = [user.uid, user.gid, list(user.groups)]
        return self._start(name, argv, {"PATH": PATH, **(env or {})}, {"user": switch, **order})

    def outside(
        self, command: str | Sequence[str], *, name: str, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a command of the host, in WORK and with ROOT and WORK set; raises Failure.

        A string is run by bash, else by sh; a list is exec'd.
        """
        argv = [find_shell(), "-c", command] if isinstance(command, str) else list(command)
        own = {
            "PATH": _HOST_PATH,
            "HOME": self.work,
            "LANG": "C.UTF-8",
            "ROOT": self.root,
            "WORK": self.work,
        }
        order = {"user": None, "merge": True, "strace": "", "privileges": False}
        return self._start(name, argv, own | dict(env or {}), order)

    def wait(self, process: Process, seconds: float) -> int | None:
        """Return a program's exit status (0 to 255, or minus a signal); None if it runs on after ``seconds``."""
        until = time.monotonic() + seconds
        while process.pid not in self._ended:
            left = until - time.monotonic()
            if left < 0:
                return None
            self._read(left)
        return self._ended[process.pid]

    def signal(self, process: Process, number: int, *, group: bool = False) -> None:
        """Send a signal to a program, or to its whole process group, if it still runs."""
        if process.pid not in self._ended or group:
            self._ask("signal", [-process.pid if group else process.pid, number])

    def running(self) -> tuple[Process, ...]:
        """Return all processes of the root, background ones too."""
        view = self._link(self._holder, "ns/mnt")
        if not view:
            return ()  # with the first process of the root all others were killed
        for _ in range(_LOOKS):
            pids = sorted(int(name) for name in os.listdir(_of(self._proc)) if name.isdigit())
            links = {pid: self._link(pid, "ns/mnt") for pid in pids if pid != self._holder}
            found = tuple(Process(self._comm(pid), pid) for pid, link in links.items() if link == view)
            if found or "" not in links.values():
                break
            # One has just ended: it may have left a child that this look missed.
        return found

    def end(self) -> None:
        """Kill everything in the sandbox; output, traces and written files can still be read."""
        self._ask("end", None)

    # -- output and traces -----------------------------------------------------------------

    def output(self, name: str, kind: str = "out") -> bytes:
        """Return a program's output ("out" or "err"), without the middle where it is very long."""
        self._ask("flush", name)
        try:
            with open(_of(self._scratch, f"log/{name}.{kind}"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def path_of(self, name: str) -> str:
        """Return the path of a program's output in the host view."""
        return f"{self.scratch}/log/{name}.out"

    def trace(self, name: str) -> BinaryIO:
        """Return the strace text of a program that has ended, cut to the program's own calls.

        The file has no name on disk; other programs can read it as /proc/self/fd/FD.
        """
        copy = os.fdopen(os.memfd_create(name), "w+b")
        with (
            contextlib.suppress(FileNotFoundError),
            open(_of(self._scratch, f"log/{name}.strace"), "rb") as file,
        ):
            copy.writelines(cut_trace(file))
        copy.flush()
        copy.seek(0)
        return copy

    def changed(self) -> tuple[str, ...]:
        """Return the sorted paths of the root that were made or written to in the sandbox.

        Directories only where they are new. Empty on a copy (see notes).
        """
        found: list[str] = []
        for prefix, upper in self._uppers:
            top = _of(self._scratch, upper[len(self.scratch) + 1 :])
            found += written(top, prefix, self.confinement.lower.rstrip("/"))
        return tuple(sorted(set(found) - self.confinement.devices.keys()))

    def open(self, path: str, flags: int, mode: int = 0o644, *, inside: bool = False) -> int:
        """Open a path of the overlay, links resolved in it, with ``inside`` its mounts too; return a descriptor.

        Raises OSError.
        """
        directory = self._inside if inside else self._root
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        return syscalls.openat2(directory, path, flags, resolve, mode if flags & os.O_CREAT else 0)

    def proc(self, path: str) -> str:
        """Return the real path in the host view of a path below /proc."""
        return _of(self._proc, path)

    # -- the channel -----------------------------------------------------------------------

    def _start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], order: dict[str, Any]
    ) -> Process:
        answer = self._ask("start", {"name": name, "argv": list(argv), "env": dict(env), **order})
        self._ended.pop(answer["pid"], None)
        return Process(name, answer["pid"])

    def _ask(self, word: str, value: object) -> dict[str, Any]:
        until = time.monotonic() + _ANSWER_SECONDS
        try:
            self._channel.sendall(json.dumps({word: value}).encode() + b"\n")
            while (answer := self._read(until - time.monotonic())) is None:
                if time.monotonic() > until:
                    raise Failure(f"cannot {word} in the box: no answer in {_ANSWER_SECONDS:.0f} seconds")
        except OSError:
            raise Failure(_GONE) from None
        if failure := reason(answer):
            raise failure
        return answer

    def _read(self, seconds: float) -> dict[str, Any] | None:
        """Return the next answer; None when an exit or a limit was reported instead, or after ``seconds``."""
        while b"\n" not in self._buffer:
            if not select.select([self._channel], [], [], max(0.0, seconds))[0]:
                return None
            data = self._channel.recv(1 << 16)
            if not data:
                raise Failure(_GONE)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "limit" in answer:
            self.exceeded = self.exceeded or answer["limit"]
            return None
        if "exit" not in answer:
            return answer
        pid, status = answer["exit"]
        self._ended[pid] = status
        return None

    def _link(self, pid: int, name: str) -> str:
        try:
            return os.readlink(_of(self._proc, f"{pid}/{name}"))
        except OSError:
            return ""

    def _comm(self, pid: int) -> str:
        try:
            with open(_of(self._proc, f"{pid}/comm"), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return ""


def _of(directory: int, path: str = "") -> str:
    return f"/proc/self/fd/{directory}/{path}"
