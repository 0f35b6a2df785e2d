"""Events of a trace: accesses to files and changes of identity."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chrootbuild.trace.calls import Call, number, words


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


_DEEDS = {
    **dict.fromkeys(words("execve execveat fexecve"), Deed.EXEC),
    **dict.fromkeys(words("access eaccess faccessat faccessat2"), Deed.ACCESS),
    **dict.fromkeys(words("readlink readlinkat"), Deed.READLINK),
    **dict.fromkeys(
        words("getdents getdents64 getdirentries freebsd11_getdirentries freebsd11_getdents"), Deed.LIST
    ),
    **dict.fromkeys(words("chdir fchdir"), Deed.ENTER),
    "chroot": Deed.CHROOT,
    "pivot_root": Deed.CHROOT,
    "connect": Deed.CONNECT,
    "bind": Deed.BIND,
    **dict.fromkeys(words("mkdir mkdirat"), Deed.MKDIR),
    **dict.fromkeys(
        words(
            "mknod mknodat mkfifo mkfifoat symlink symlinkat freebsd11_mknod freebsd12_mknod freebsd11_mknodat"
            " link linkat"
        ),
        Deed.MAKE,
    ),
    **dict.fromkeys(words("unlink unlinkat funlinkat rmdir revoke undelete"), Deed.REMOVE),
    **dict.fromkeys(words("rename renameat renameat2"), Deed.RENAME_TO),
    **dict.fromkeys(
        words(
            "chown lchown chown32 lchown32 fchownat chmod lchmod fchmodat fchmodat2 fchmod fchown fchown32"
            " truncate truncate64 ftruncate utime utimes lutimes utimensat futimesat setxattr lsetxattr"
            " removexattr lremovexattr chflags lchflags chflagsat"
        ),
        Deed.CHANGE,
    ),
}
_FLAG_INDEX = {"open": 1, "openat": 2, "openat2": 2}
_MODE_INDEX = {"access": 1, "eaccess": 1, "faccessat": 2, "faccessat2": 2}


def deed_of(call: Call) -> tuple[Deed, bool]:
    """Return a call's operation, and whether it may create the file."""
    if call.name in _FLAG_INDEX:
        index = _FLAG_INDEX[call.name]
        return _opening(call.args[index] if index < len(call.args) else "")
    if call.name == "creat":
        return Deed.WRITE, True
    deed = _DEEDS.get(call.name, Deed.STAT)
    if deed is Deed.ACCESS:
        index = _MODE_INDEX[call.name]
        mode = call.args[index] if index < len(call.args) else ""
        if "X_OK" in mode or ("_OK" not in mode and (number(mode) or 0) & 1):
            deed = Deed.ACCESS_EXEC
    return deed, False


def _opening(flags: str) -> tuple[Deed, bool]:
    if "O_" in flags:
        creates = "O_CREAT" in flags
        empties = "O_TRUNC" in flags
        writes, both = "O_WRONLY" in flags, "O_RDWR" in flags
        directory, hold = "O_DIRECTORY" in flags, "O_PATH" in flags
    else:  # kdump of FreeBSD 5 and 6, and -n: fcntl.h of FreeBSD
        bits = number(flags) or 0
        writes, both = bits & 3 == 1, bits & 3 == 2
        creates, empties = bool(bits & 0x200), bool(bits & 0x400)
        directory, hold = bool(bits & 0x20000), bool(bits & 0x400000)
    if hold:
        return Deed.HOLD, False
    if directory:
        return Deed.OPENDIR, False
    if writes or (both and empties):
        return Deed.WRITE, creates
    return (Deed.UPDATE if both else Deed.READ), creates
