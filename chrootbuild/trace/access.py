"""Events of a trace: accesses to files and changes of identity."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Access", "Deed", "Event", "Identity"]


class Deed(StrEnum):
    """Operation on a path."""

    EXEC = "exec"
    READ = "read"  # opened for reading
    UPDATE = "update"  # opened for writing, content kept: O_RDWR without O_TRUNC
    WRITE = "write"  # opened with O_WRONLY or O_TRUNC
    HOLD = "hold"  # opened with O_PATH
    MAP = "map"  # mapped for execution
    LIST = "list"  # listed: getdents(2)
    OPENDIR = "opendir"  # opened as a directory: counts as listed if the trace has no getdents
    STAT = "stat"
    ACCESS = "access"
    ACCESS_EXEC = "access-exec"  # access(2) with X_OK
    READLINK = "readlink"
    ENTER = "enter"  # chdir
    CHROOT = "chroot"
    CONNECT = "connect"
    BIND = "bind"
    MKDIR = "mkdir"
    MAKE = "make"  # a new node, FIFO or link: neither file nor directory
    RENAME_FROM = "rename-from"
    RENAME_TO = "rename-to"
    REMOVE = "remove"
    CHANGE = "change"  # owner, mode, times, length, attributes
    QUERY = "query"  # a socket connected to port 53; the path is that of resolv.conf


@dataclass(frozen=True, slots=True)
class Access:
    """One operation; ``path`` is absolute, as seen outside every chroot of the trace.

    ``errno`` is "" for success and "?" where the return was not seen. A name
    relative to an unknown directory stays relative.
    """

    pid: int
    program: str  # the path of the process's program (for EXEC: before it), a bare name, or ""
    call: str
    deed: Deed
    path: str
    errno: str = ""
    real: str = ""  # the path of the returned descriptor, from -y
    creates: bool = False  # O_CREAT
    words: tuple[str, ...] = ()  # argv of an exec


@dataclass(frozen=True, slots=True)
class Identity:
    """Uids and gids of a call that succeeded, without root and -1 ("unchanged")."""

    pid: int
    program: str
    call: str
    users: tuple[int, ...]
    groups: tuple[int, ...]


Event = Access | Identity
