"""One system call of a trace, and the positions of file names in its arguments.

The three readers (strace, kdump, truss) give the same :class:`Call`: later
steps know system calls, not trace formats.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

AT_FDCWD = -100  # fcntl.h of Linux and FreeBSD: relative to the current directory
LINE_LIMIT = 1 << 16  # bytes; the longest line strace writes for two PATH_MAX names is 33 kB
_PENDING_LIMIT = 1 << 24  # bytes of unfinished calls
_NO_BYTES = {code: "?" for code in range(0xD800, 0xE000) if not 0xDC80 <= code <= 0xDCFF}
_OVERHEAD = 200  # bytes of a str besides its text


@dataclass(frozen=True, slots=True)
class Name:
    """A file name of a call: ``text`` as passed, relative to the descriptor ``at``.

    ``at_path`` is the descriptor's path as the trace shows it, or ""; an empty
    ``text`` means the descriptor itself.
    """

    text: str
    at: int = AT_FDCWD
    at_path: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. Strings are str with surrogateescape, as os.fsdecode gives.

    ``errno`` is "" for success, a name such as "ENOENT", or "?" where the return
    was not seen. ``name`` may also be "+exit", and "+fork" for the start of a
    fork (its child may appear before it returns).
    """

    pid: int
    name: str
    names: tuple[Name, ...] = ()
    args: tuple[str, ...] = ()  # as written
    result: int | None = None
    errno: str = ""
    opened: str = ""  # the path of the returned descriptor
    words: tuple[str, ...] = ()  # argv of an exec
    program: str = ""  # the calling program, if the line has it


@dataclass(frozen=True, slots=True)
class Signature:
    """Positions of file names: pairs of (index of the descriptor or None, index of the name)."""

    names: tuple[tuple[int | None, int | None], ...] = ()


def words(text: str) -> list[str]:
    """Return the words of a text: long lists of names read better without quotes."""
    return text.split()


def _plain(*indexes: int) -> Signature:
    return Signature(tuple((None, index) for index in indexes))


def _at(*pairs: tuple[int, int]) -> Signature:
    return Signature(pairs)


_FD = Signature(((0, None),))
_ONE = _plain(0)
_AT_ONE = _at((0, 1))
_NONE = Signature()

# syscalls(2) of Linux and FreeBSD: every call that names a file or changes ids or directory.
SIGNATURES: Mapping[str, Signature] = {
    **dict.fromkeys(
        words(
            "open creat execve access eaccess stat lstat stat64 lstat64 oldstat oldlstat statfs statfs64"
            " nstat nlstat readlink mkdir mknod mkfifo rmdir unlink chdir chroot chown lchown chown32 lchown32"
            " chmod lchmod truncate truncate64 utime utimes lutimes getxattr lgetxattr listxattr llistxattr"
            " setxattr lsetxattr removexattr lremovexattr pathconf lpathconf uselib acct swapon"
            " freebsd11_stat freebsd11_lstat freebsd11_statfs freebsd11_mknod freebsd12_mknod chflags lchflags"
            " revoke undelete extattr_get_file extattr_get_link __getcwd getcwd"
        ),
        _ONE,
    ),
    **dict.fromkeys(
        words(
            "openat openat2 execveat faccessat faccessat2 newfstatat fstatat fstatat64 statx readlinkat mkdirat"
            " mknodat mkfifoat unlinkat funlinkat fchownat fchmodat fchmodat2 utimensat futimesat"
            " name_to_handle_at freebsd11_fstatat freebsd11_mknodat chflagsat inotify_add_watch"
        ),
        _AT_ONE,
    ),
    **dict.fromkeys(
        words(
            "fchdir fchown fchown32 fchmod getdents getdents64 getdirentries freebsd11_getdirentries"
            " freebsd11_getdents fexecve ftruncate"
        ),
        _FD,
    ),
    **dict.fromkeys(words("rename link pivot_root"), _plain(0, 1)),
    **dict.fromkeys(words("renameat renameat2 linkat"), _at((0, 1), (2, 3))),
    "symlink": _plain(1),
    "symlinkat": _at((1, 2)),
    "mmap": Signature(((4, None),)),
    **dict.fromkeys(
        words(
            "connect bind connectat bindat fork vfork clone clone3 rfork pdfork setuid setgid seteuid setegid"
            " setreuid setregid setresuid setresgid setgroups setfsuid setfsgid setuid32 setgid32 setreuid32"
            " setregid32 setresuid32 setresgid32 setgroups32 exit _exit exit_group"
        ),
        _NONE,
    ),
}

FORKS = frozenset(words("fork vfork clone clone3 rfork pdfork"))


def lines(source: bytes | str | BinaryIO | Iterable[bytes] | Iterable[str]) -> Iterator[str]:
    """Yield the lines of a trace without their ends, as str with surrogateescape.

    A line longer than LINE_LIMIT bytes is truncated: no relevant call is that long.
    """
    if isinstance(source, str):
        source = source.split("\n")
    elif isinstance(source, bytes):
        source = io.BytesIO(source)
    if not isinstance(source, io.IOBase):
        for line in source:
            yield _text(line)
        return
    while line := source.readline(LINE_LIMIT):
        yield _text(line)
        while line and not line.endswith(b"\n"):
            line = source.readline(LINE_LIMIT)


def _text(line: bytes | str) -> str:
    if isinstance(line, str):
        # Surrogates other than those of surrogateescape stand for no byte.
        line = line[:LINE_LIMIT].translate(_NO_BYTES).encode("utf-8", "surrogateescape")
    return line[:LINE_LIMIT].rstrip(b"\r\n").decode("utf-8", "surrogateescape")


_NUMBER = re.compile(r"-?(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20})")


def number(text: str) -> int | None:
    """Return the number a text begins with (decimal or 0x), or None."""
    found = _NUMBER.match(text.strip())
    if found is None:
        return None
    digits = found.group()
    return int(digits, 16) if "x" in digits else int(digits)


class Pending:
    """Unfinished calls, one per thread; the oldest are dropped beyond the limit."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}
        self._size = 0

    def put(self, pid: int, text: str) -> None:
        """Store the beginning of a call."""
        self.take(pid)
        self._open[pid] = text
        self._size += len(text) + _OVERHEAD
        while self._size > _PENDING_LIMIT:
            self.take(next(iter(self._open)))

    def take(self, pid: int) -> str | None:
        """Remove and return the beginning of the thread's call, or None."""
        text = self._open.pop(pid, None)
        if text is not None:
            self._size -= len(text) + _OVERHEAD
        return text

    def rest(self) -> list[tuple[int, str]]:
        """Return the unfinished calls, oldest first."""
        return list(self._open.items())


_FREEBSD = dict(
    enumerate(
        words(
            "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EDEADLK ENOMEM EACCES EFAULT ENOTBLK"
            " EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE"
            " EROFS EMLINK EPIPE EDOM ERANGE EAGAIN EINPROGRESS EALREADY ENOTSOCK EDESTADDRREQ EMSGSIZE"
            " EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT"
            " EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN"
            " ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED ELOOP ENAMETOOLONG EHOSTDOWN EHOSTUNREACH"
            " ENOTEMPTY EPROCLIM EUSERS EDQUOT ESTALE"
        ),
        start=1,
    )
) | {78: "ENOSYS", 87: "ENOATTR", 93: "ENOTCAPABLE", 94: "ECAPMODE"}


def freebsd(number: int) -> str:
    """Return the name of an error number, or "E" and the number."""
    return _FREEBSD.get(number, f"E{number}")
