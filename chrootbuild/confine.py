"""Boxes: a root on a throw-away overlay, in mount, pid, network and IPC namespaces of its own.

The programs of the root see only the overlay (pivot_root(2)), with the capabilities of
privileges.KEPT; commands of the host see the host read-only and the overlay at ROOT. Both have a
network of their own, with lo alone. Nothing of a box has a name on the host: when its first
process ends, all others, the mounts and what was written end with it, also when this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, NoReturn

from chrootbuild import syscalls
from chrootbuild.artifact import Device
from chrootbuild.boxinit import Order, run
from chrootbuild.errors import Failure
from chrootbuild.inside import MARK
from chrootbuild.privileges import ROOT, User, map_ids

__all__ = ["PATH", "Box", "Confinement", "Process", "confine"]

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # what a program of the root gets
_HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC
_INNER_PID = re.compile(rb"\d+ /\* (\d+) in strace's PID NS \*/")
_ANSWER_SECONDS = 60.0
_GONE = "cannot go on: the first process of the box was killed"


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a box is made of."""

    lower: str  # the real path of the root, or of a sysroot; never written to
    mounts: tuple[str, ...] = ()  # paths in the root
    devices: Mapping[str, Device] = field(
        default_factory=dict
    )  # shown as the host's nodes, by path in the root
    system: bool = False  # lower is a whole system: with its file systems, /dev, /proc and /sys


@dataclass(frozen=True, slots=True)
class Process:
    """A program started in a box."""

    name: str  # of its output
    pid: int  # in the pid namespace of the host view
    traced: bool = False


@dataclass(slots=True)
class Box:
    """A box that is open; made by :func:`confine`.

    ``root`` and ``work`` are paths of the host view (ROOT, WORK). ``privileged`` is False in a user
    namespace, ``mapped`` where no other ids than the caller's exist in it.
    """

    confinement: Confinement
    root: str
    work: str
    scratch: str
    privileged: bool
    mapped: bool
    notes: tuple[str, ...]  # what is not as it would be with the real root
    _uppers: tuple[tuple[str, str], ...]
    _channel: socket.socket
    _proc: int
    _scratch: int
    _root: int
    _inside: int
    _keeper: int
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
        strace: str = "",
        privileges: bool = False,
    ) -> Process:
        """Start a program of the root with a clean environment; raises Failure.

        It is looked up in PATH, works in /, and has no terminal and no input. ``name`` is that
        of its output. With ``strace``, a real path, it runs under trace; with ``privileges``
        setuid programs gain theirs under trace too, which costs speed.
        """
        return self._start(name, argv, {"PATH": PATH, **(env or {})}, user, strace, privileges)

    def outside(
        self, command: str | Sequence[str], *, name: str, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a command of the host, in WORK and with ROOT and WORK set; raises Failure.

        A string is run by bash, else by sh; a list is exec'd.
        """
        argv = [_shell(), "-c", command] if isinstance(command, str) else list(command)
        own = {
            "PATH": _HOST_PATH,
            "HOME": self.work,
            "LANG": "C.UTF-8",
            "ROOT": self.root,
            "WORK": self.work,
        }
        return self._start(name, argv, own | dict(env or {}), None, "", False)

    def wait(self, process: Process, seconds: float) -> int | None:
        """Return how a program ended (0 to 255, or minus a signal); None if it is still running then."""
        until = time.monotonic() + seconds
        while process.pid not in self._ended:
            left = until - time.monotonic()
            if left < 0 or self._read(left) is not None:
                return None
        return self._ended[process.pid]

    def signal(self, process: Process, number: int, *, group: bool = False) -> None:
        """Send a signal to a program, or to its whole process group, if it still runs."""
        if process.pid not in self._ended or group:
            self._ask("signal", [-process.pid if group else process.pid, number])

    def running(self) -> tuple[Process, ...]:
        """Return all processes of the root, also those that went into the background."""
        view = self._link(self._keeper, "ns/mnt")
        pids = sorted(int(name) for name in os.listdir(_of(self._proc)) if name.isdigit())
        return tuple(
            Process(self._comm(pid), pid)
            for pid in pids
            if pid != self._keeper and self._link(pid, "ns/mnt") == view
        )

    def end(self) -> None:
        """Kill everything in the box; output, traces and what was written can still be read."""
        self._ask("end", None)

    # -- what they leave -------------------------------------------------------------------

    def output(self, name: str, kind: str = "out") -> bytes:
        """Return what a program printed ("out" or "err"), without the middle where it is very long."""
        self._ask("flush", name)
        try:
            with open(_of(self._scratch, f"log/{name}.{kind}"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def trace(self, name: str) -> BinaryIO:
        """Return the strace text of a program that has ended, cut to what the program itself did.

        The file has no name on disk; other programs can read it as /proc/self/fd/FD.
        """
        copy = os.fdopen(os.memfd_create(name), "w+b")
        with (
            contextlib.suppress(FileNotFoundError),
            open(_of(self._scratch, f"log/{name}.strace"), "rb") as file,
        ):
            copy.writelines(_from_mark(file))
        copy.flush()
        copy.seek(0)
        return copy

    def changed(self) -> tuple[str, ...]:
        """Return the paths of the root that were made or written to in the box, sorted.

        Directories only where they are new. Empty on a copy (see notes).
        """
        found: list[str] = []
        for prefix, upper in self._uppers:
            top = _of(self._scratch, upper[len(self.scratch) + 1 :])
            for directory, names, files in os.walk(top):
                where = prefix + directory[len(top) :]
                lower = self.confinement.lower.rstrip("/") + where
                found += [f"{where}/{name}" for name in names if not os.path.isdir(f"{lower}/{name}")]
                found += [f"{where}/{name}" for name in files if not _is_whiteout(f"{directory}/{name}")]
        return tuple(sorted(found))

    def open(self, path: str, flags: int, mode: int = 0o644, *, inside: bool = False) -> int:
        """Open a path of the overlay, every link resolved inside it; with ``inside`` its mounts too.

        Returns a descriptor. Raises OSError.
        """
        directory = self._inside if inside else self._root
        resolve = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        return syscalls.openat2(directory, path, flags, resolve, mode if flags & os.O_CREAT else 0)

    def proc(self, path: str) -> str:
        """Return the real path of a path below /proc, as the host view has it."""
        return _of(self._proc, path)

    # -- the channel -----------------------------------------------------------------------

    def _start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        user: User | None,
        strace: str,
        privileges: bool,
    ) -> Process:
        switch = None if user is None else [user.uid, user.gid, list(user.groups)]
        order = {"name": name, "argv": list(argv), "env": dict(env), "user": switch}
        answer = self._ask("start", order | {"strace": strace, "privileges": privileges})
        self._ended.pop(answer["pid"], None)
        return Process(name, answer["pid"], bool(strace))

    def _ask(self, word: str, value: object) -> dict[str, Any]:
        until = time.monotonic() + _ANSWER_SECONDS
        try:
            self._channel.sendall(json.dumps({word: value}).encode() + b"\n")
            while (answer := self._read(until - time.monotonic())) is None:
                if time.monotonic() > until:
                    raise Failure(f"cannot {word} in the box: no answer in {_ANSWER_SECONDS:.0f} seconds")
        except OSError:
            raise Failure(_GONE) from None
        if "failure" in answer:
            message, hint = answer["failure"]
            raise Failure(message, hint=hint)
        return answer

    def _read(self, seconds: float) -> dict[str, Any] | None:
        """Return the next answer; None when an end was told instead, or after ``seconds``."""
        while b"\n" not in self._buffer:
            if not select.select([self._channel], [], [], max(0.0, seconds))[0]:
                return None
            data = self._channel.recv(1 << 16)
            if not data:
                raise Failure(_GONE)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
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


@contextlib.contextmanager
def confine(confinement: Confinement) -> Iterator[Box]:
    """Open a box, and end all that is in it afterwards; raises Failure.

    Without root it is made in a user namespace: user_namespaces(7).
    """
    if not sys.platform.startswith("linux"):
        raise Failure("cannot confine a program: namespaces are Linux's", hint="run this on Linux")
    confinement = replace(confinement, lower=_canonical(confinement.lower))
    channel, theirs = socket.socketpair()
    fds: list[int] = []
    helper = os.fork()
    if helper == 0:
        _be_helper(confinement, theirs)
    try:
        theirs.close()
        privileged, mapped = _negotiate(channel, helper)
        hello, fds = _hello(channel)
        yield Box(
            confinement,
            hello["root"],
            hello["work"],
            hello["scratch"],
            privileged,
            mapped,
            tuple(hello["notes"]),
            tuple((prefix, upper) for prefix, upper in hello["uppers"]),
            channel,
            _proc=fds[0],
            _scratch=fds[1],
            _root=fds[2],
            _inside=fds[3],
            _keeper=hello["keeper"],
        )
    finally:
        channel.close()
        for fd in fds:
            os.close(fd)
        _wait_for(helper)


def _canonical(path: str) -> str:
    """Resolve the parents of a root; the root itself is never a link."""
    if not path.startswith("/"):
        raise Failure(f"cannot confine {path!r}: it is not an absolute path")
    parent, _, name = path.rstrip("/").rpartition("/")
    return os.path.join(os.path.realpath(parent or "/"), name)


def _be_helper(confinement: Confinement, channel: socket.socket) -> NoReturn:
    """Make the namespaces, start the first process in them, and end when it does."""
    try:
        os.setsid()
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.closerange(3, channel.fileno())
        os.closerange(channel.fileno() + 1, 1 << 20)
        try:
            syscalls.unshare(_NAMESPACES)
            channel.sendall(b"p")
        except PermissionError:
            syscalls.unshare(_NAMESPACES | syscalls.CLONE_NEWUSER)
            channel.sendall(b"u")
        privileged, mapped = (byte == b"1"[0] for byte in channel.recv(2))
        order = Order(
            confinement.lower,
            confinement.mounts,
            confinement.devices,
            confinement.system,
            privileged,
            mapped,
        )
        first = os.fork()
        if first == 0:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            run(order, channel)
        channel.close()
        os.waitpid(first, 0)
    except OSError as error:
        channel.sendall(f"e{error.errno}".encode())
    finally:
        os._exit(0)


def _negotiate(channel: socket.socket, helper: int) -> tuple[bool, bool]:
    """Return whether the box is made by root, and whether it knows other ids than the caller's."""
    answer = channel.recv(16)
    if answer not in (b"p", b"u"):
        why = os.strerror(int(answer[1:])) if answer[1:].isdigit() else "the helper ended"
        raise Failure(
            f"cannot make namespaces: {why}",
            hint="run as root, or allow user namespaces (sysctl user.max_user_namespaces)",
        )
    privileged = mapped = answer == b"p"
    if not privileged:
        try:
            mapped = map_ids(helper)
        except OSError as error:
            raise Failure(
                f"cannot map the ids of a user namespace: {error.strerror}", hint="run as root"
            ) from None
    channel.sendall(f"{privileged:d}{mapped:d}".encode())
    return privileged, mapped


def _hello(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, fds, _, _ = socket.recv_fds(channel, 1 << 16, 4)
    while data and not data.endswith(b"\n"):
        more = channel.recv(1 << 16)
        if not more:
            break
        data += more
    if not data.endswith(b"\n"):
        raise Failure("cannot set up the box: its first process ended")
    hello: dict[str, Any] = json.loads(data)
    if "failure" in hello:
        message, hint = hello["failure"]
        raise Failure(message, hint=hint)
    return hello, list(fds)


def _wait_for(helper: int) -> None:
    """Wait until all namespaces of a box have ended: the channel is closed, so they do."""
    with contextlib.suppress(ChildProcessError):
        until = time.monotonic() + _ANSWER_SECONDS
        handle = os.pidfd_open(helper)
        try:
            if not select.select([handle], [], [], until - time.monotonic())[0]:
                os.kill(helper, signal.SIGKILL)
        finally:
            os.close(handle)
        os.waitpid(helper, 0)


def _shell() -> str:
    return shutil.which("bash", path=_HOST_PATH) or "sh"


def _of(directory: int, path: str = "") -> str:
    return f"/proc/self/fd/{directory}/{path}"


def _is_whiteout(path: str) -> bool:
    """Tell whether a path of an upper layer says that something was removed: overlayfs.rst."""
    info = os.lstat(path)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _from_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out what the helper did before the program's own first call, and what it does after."""
    before: set[bytes] = set()
    program, resumes, mark = b"", False, MARK.encode()
    for line in lines:
        pid, _, text = line.partition(b" ")
        if not program:
            before.add(pid)
            if mark in text:
                program, resumes = pid, b"<unfinished" in text
        elif pid == program and resumes:
            resumes = False  # the other half of the mark
        elif pid == program or pid not in before:
            yield _INNER_PID.sub(rb"\1", line)
