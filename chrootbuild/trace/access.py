"""What a process did to a file, and who it became: what every trace comes down to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Access", "Deed", "Event", "Identity"]


class Deed(StrEnum):
    """What was done to a path."""

    EXEC = "exec"
    READ = "read"  # opened for reading
    UPDATE = "update"  # opened for writing, and what was in it is kept: O_RDWR without O_TRUNC
    WRITE = "write"  # opened for writing alone, or emptied
    HOLD = "hold"  # opened with O_PATH
    MAP = "map"  # mapped for execution
    LIST = "list"  # its names were read
    OPENDIR = "opendir"  # opened as a directory: listed, where the trace shows no listing
    STAT = "stat"
    ACCESS = "access"
    ACCESS_EXEC = "access-exec"  # asked whether it may be executed
    READLINK = "readlink"
    ENTER = "enter"  # chdir
    CHROOT = "chroot"
    CONNECT = "connect"
    BIND = "bind"
    MKDIR = "mkdir"
    MAKE = "make"  # a node, FIFO, link: anything new that is no file and no directory
    RENAME_FROM = "rename-from"
    RENAME_TO = "rename-to"
    REMOVE = "remove"
    CHANGE = "change"  # owner, mode, times, length, attributes
    QUERY = "query"  # a socket connected to port 53; the path is that of resolv.conf


@dataclass(frozen=True, slots=True)
class Access:
    """One deed. ``path`` is absolute and outside every chroot of the trace.

    ``errno`` is "" for success and "?" where the end was not seen. A name
    relative to a directory that the trace does not tell stays relative.
    """

    pid: int
    program: str  # the path of what the process runs (for EXEC: ran before), a bare name, or ""
    call: str
    deed: Deed
    path: str
    errno: str = ""
    real: str = ""  # where -y says the descriptor leads
    creates: bool = False  # O_CREAT
    words: tuple[str, ...] = ()  # argv of an exec


@dataclass(frozen=True, slots=True)
class Identity:
    """A call that named users or groups by number, and succeeded; root and "unchanged" left out."""

    pid: int
    program: str
    call: str
    users: tuple[int, ...]
    groups: tuple[int, ...]


Event = Access | Identity
