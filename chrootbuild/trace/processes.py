"""Processes of a trace: working directory, root, program, descriptors and parent of each."""

from __future__ import annotations

from dataclasses import dataclass, field

_PROCESSES = 1 << 13  # kept at once
_DESCRIPTORS = 256  # kept per process; used only where -y does not show their paths


@dataclass(slots=True)
class Place:
    """Filesystem state shared with CLONE_FS."""

    cwd: str | None = None  # outside path; None: unknown
    root: str = ""  # outside path, "" for none


@dataclass(slots=True)
class Process:
    """One process or thread."""

    place: Place
    program: str = ""
    descriptors: dict[int, str] = field(default_factory=dict)

    def opened(self, fd: int, path: str) -> None:
        """Set the path of a descriptor; beyond the limit the oldest is dropped."""
        self.descriptors.pop(fd, None)
        if len(self.descriptors) >= _DESCRIPTORS:
            del self.descriptors[next(iter(self.descriptors))]
        self.descriptors[fd] = path

    def child(self, shares: bool) -> Process:
        """Return a forked child; ``shares``: CLONE_FS, a chdir of one moves the other."""
        place = self.place if shares else Place(self.place.cwd, self.place.root)
        return Process(place, self.program, dict(self.descriptors))


class Processes:
    """Live processes of a trace, and the parents of unannounced ones."""

    def __init__(self, cwd: str | None) -> None:
        self._cwd = cwd
        self._alive: dict[int, Process] = {}
        self._forking: dict[int, bool] = {}  # pid: whether its child shares the place
        self._unseen: dict[int, Process] = {}  # children whose pid is from another pid namespace

    def of(self, pid: int) -> Process:
        """Return the process of a pid, a new one if not seen before."""
        process = self._alive.get(pid)
        if process is None:
            process = self._unseen.pop(pid, None) or self._adopt()
            self._keep(pid, process)
        return process

    def _adopt(self) -> Process:
        """Return a new process for an unannounced pid, child of its likely parent."""
        if self._forking:
            pid, shares = next(reversed(self._forking.items()))
            if pid in self._alive:
                return self._alive[pid].child(shares)
        if self._unseen:
            return self._unseen.pop(next(iter(self._unseen)))
        # strace without -o names the first process only once there is a second.
        first = self._alive.get(0)
        return first.child(False) if first else Process(Place(self._cwd))

    def begins_fork(self, pid: int, text: str) -> None:
        """Record a fork that has begun: its child may appear before the call returns."""
        self.of(pid)
        self._forking[pid] = "CLONE_FS" in text

    def forked(self, pid: int, child: int, text: str) -> None:
        """Record the child that a fork returned."""
        self._forking.pop(pid, None)
        if child > 0 and child not in self._alive:
            self._unseen.pop(child, None)
            self._unseen[child] = self.of(pid).child("CLONE_FS" in text)
            if len(self._unseen) > _PROCESSES:
                del self._unseen[next(iter(self._unseen))]

    def gone(self, pid: int) -> None:
        """Forget a process that ended."""
        self._alive.pop(pid, None)
        self._forking.pop(pid, None)

    def _keep(self, pid: int, process: Process) -> None:
        if len(self._alive) >= _PROCESSES:
            self.gone(next(iter(self._alive)))
        self._alive[pid] = process
