"""Follows processes through a trace: where they are, so that every name becomes an absolute path.

State is kept for each process: current directory and root (shared with
CLONE_FS), what descriptors lead to, and the program it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chrootbuild.trace.access import Access, Deed, Event, Identity
from chrootbuild.trace.calls import AT_FDCWD, FORKS, Call, Name, number, words

__all__ = ["follow", "since"]

_PROCESSES = 1 << 15  # kept at once; a default kernel has no more (pid_max)
_DESCRIPTORS = 1 << 12

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
# Where users and groups stand among the arguments: credentials(7), chown(2).
_IDENTITIES = {
    **dict.fromkeys(words("setuid setuid32 seteuid setfsuid"), ((0,), ())),
    **dict.fromkeys(words("setgid setgid32 setegid setfsgid"), ((), (0,))),
    **dict.fromkeys(words("setreuid setreuid32"), ((0, 1), ())),
    **dict.fromkeys(words("setregid setregid32"), ((), (0, 1))),
    **dict.fromkeys(words("setresuid setresuid32"), ((0, 1, 2), ())),
    **dict.fromkeys(words("setresgid setresgid32"), ((), (0, 1, 2))),
    **dict.fromkeys(words("setgroups setgroups32"), ((), ())),
    **dict.fromkeys(words("chown lchown chown32 lchown32 fchown fchown32"), ((1,), (2,))),
    "fchownat": ((2,), (3,)),
}
_NO_ID = 0xFFFFFFFF
_PORT_53 = re.compile(r"htons\(53\)|[0-9\]]:53\b")
_FLAG_INDEX = {"open": 1, "openat": 2, "openat2": 2}
_MODE_INDEX = {"access": 1, "eaccess": 1, "faccessat": 2, "faccessat2": 2}


@dataclass(slots=True)
class _Place:
    """What CLONE_FS shares."""

    cwd: str | None = None  # outside path; None: the trace has not told
    root: str = ""  # outside path, "" for none


@dataclass(slots=True)
class _Process:
    place: _Place
    program: str = ""
    descriptors: dict[int, str] = field(default_factory=dict)

    def child(self, shares: bool) -> _Process:
        place = self.place if shares else _Place(self.place.cwd, self.place.root)
        return _Process(place, self.program, dict(self.descriptors))


class _Processes:
    """The processes alive in a trace, and whose children the unknown ones are."""

    def __init__(self, cwd: str | None) -> None:
        self._cwd = cwd
        self._alive: dict[int, _Process] = {}
        self._forking: dict[int, bool] = {}  # pid: whether its child shares the place
        self._unseen: dict[int, _Process] = {}  # children whose number another pid namespace gave

    def of(self, pid: int) -> _Process:
        process = self._alive.get(pid)
        if process is None:
            process = self._unseen.pop(pid, None) or self._adopt()
            self._keep(pid, process)
        return process

    def _adopt(self) -> _Process:
        """Find the parent of a process that appears unannounced."""
        if self._forking:
            pid, shares = next(reversed(self._forking.items()))
            if pid in self._alive:
                return self._alive[pid].child(shares)
        if self._unseen:
            return self._unseen.pop(next(iter(self._unseen)))
        # strace without -o names the first process only once there is a second.
        first = self._alive.get(0)
        return first.child(False) if first else _Process(_Place(self._cwd))

    def begins_fork(self, pid: int, text: str) -> None:
        self.of(pid)
        self._forking[pid] = "CLONE_FS" in text

    def forked(self, pid: int, child: int, text: str) -> None:
        self._forking.pop(pid, None)
        if child > 0 and child not in self._alive:
            self._unseen.pop(child, None)
            self._unseen[child] = self.of(pid).child("CLONE_FS" in text)
            if len(self._unseen) > _PROCESSES:
                del self._unseen[next(iter(self._unseen))]

    def gone(self, pid: int) -> None:
        self._alive.pop(pid, None)
        self._forking.pop(pid, None)

    def _keep(self, pid: int, process: _Process) -> None:
        if len(self._alive) >= _PROCESSES:
            self.gone(next(iter(self._alive)))
        self._alive[pid] = process


def follow(calls: Iterable[Call], *, cwd: str | None = None, root: str = "") -> Iterator[Event]:
    """Yield what the processes of a trace did, in order.

    ``cwd`` is the first process's directory, where it is known. ``root`` is the
    real path of the root they run in, where the tracer stood outside of it: the
    paths that -y shows begin with it, the names in the calls do not.
    """
    processes = _Processes(cwd)
    strip = root.rstrip("/")
    for call in calls:
        if call.name == "+exit":
            processes.gone(call.pid)
        elif call.name == "+fork":
            processes.begins_fork(call.pid, " ".join(call.args))
        elif call.name in FORKS:
            if call.result is not None and not call.errno:
                processes.forked(call.pid, call.result, " ".join(call.args))
        else:
            process = processes.of(call.pid)
            if call.program and call.name not in ("execve", "fexecve"):
                process.program = process.program or call.program
            yield from _events(call, process, strip)


def since(events: Iterable[Event], path: str) -> Iterator[Event]:
    """Drop the doings of what started a service.

    ``path`` is the program: what comes before it is executed is dropped. Or it
    is a mark, a path that was asked for in vain: dropped is all up to there.
    """
    started = False
    for event in events:
        if not started and isinstance(event, Access) and event.path == path:
            started = True
            if event.deed is not Deed.EXEC or event.errno:
                continue
        if started:
            yield event


def _events(call: Call, process: _Process, strip: str) -> Iterator[Event]:
    if call.name in _IDENTITIES and not call.errno:
        yield from _identity(call, process)
    paths = [_absolute(name, process.place, process.descriptors, strip) for name in call.names]
    if call.name in ("getcwd", "__getcwd"):
        if call.names and not call.errno and call.names[0].text.startswith("/"):
            process.place.cwd = _inside(call.names[0].text, process.place.root)
        return
    if call.name in ("connect", "connectat") and _PORT_53.search(" ".join(call.args)):
        yield Access(call.pid, process.program, call.name, Deed.QUERY, "/etc/resolv.conf", call.errno)
    if not paths or not paths[0]:
        return
    if call.name == "mmap":
        if "PROT_EXEC" in (call.args[2] if len(call.args) > 2 else ""):
            yield Access(call.pid, process.program, call.name, Deed.MAP, paths[0], call.errno)
        return
    if call.names[0].text == "" and call.name in _EMPTY_IS_FD:
        return  # AT_EMPTY_PATH: the file is open already
    deed, creates = _deed(call)
    real = _outside(call.opened, strip)
    if deed is Deed.RENAME_TO and len(paths) > 1:
        yield Access(call.pid, process.program, call.name, Deed.RENAME_FROM, paths[0], call.errno)
        yield Access(call.pid, process.program, call.name, deed, paths[1], call.errno)
        return
    if call.name in ("link", "linkat") and len(paths) > 1:
        yield Access(call.pid, process.program, call.name, Deed.STAT, paths[0], call.errno)
        paths = paths[1:]
    yield Access(call.pid, process.program, call.name, deed, paths[0], call.errno, real, creates, call.words)
    if not call.errno:
        _move(call, process, deed, paths[0], real)


_EMPTY_IS_FD = frozenset(words("newfstatat fstatat fstatat64 statx readlinkat faccessat2"))


def _move(call: Call, process: _Process, deed: Deed, path: str, real: str) -> None:
    """Note where a call that succeeded has taken the process."""
    if deed is Deed.EXEC:
        process.program = path
    elif call.name in ("chdir", "fchdir"):
        process.place.cwd = path if path.startswith("/") else None
    elif call.name in ("chroot", "pivot_root"):
        process.place.root = "" if path == "/" else path
    elif call.name in ("open", "openat", "openat2", "creat") and call.result is not None:
        if call.result not in process.descriptors and len(process.descriptors) >= _DESCRIPTORS:
            process.descriptors.clear()
        process.descriptors[call.result] = real or path


def _identity(call: Call, process: _Process) -> Iterator[Identity]:
    users, groups = _IDENTITIES[call.name]
    found_groups = _ids(call, groups)
    if call.name.startswith("setgroups") and len(call.args) > 1 and call.args[1].startswith("["):
        listed = (number(part) for part in call.args[1].strip("[]").split(",")[:64])
        found_groups = tuple(sorted({gid for gid in listed if gid and gid != _NO_ID}))
    found_users = _ids(call, users)
    if found_users or found_groups:
        yield Identity(call.pid, process.program, call.name, found_users, found_groups)


def _ids(call: Call, indexes: tuple[int, ...]) -> tuple[int, ...]:
    found = (number(call.args[index]) for index in indexes if index < len(call.args))
    return tuple(sorted({value for value in found if value and 0 < value < _NO_ID}))


def _deed(call: Call) -> tuple[Deed, bool]:
    """Return what a call does, and whether it may create."""
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


def _absolute(name: Name, place: _Place, descriptors: dict[int, str], strip: str) -> str:
    """Return the outside path a name means; relative where its directory is unknown, "" for no path."""
    text = name.text
    if "\0" in text:
        return ""
    if text.startswith("/"):
        return _inside(text, place.root)
    base: str | None
    if name.at_path:
        base = _outside(name.at_path, strip)
    elif name.at == AT_FDCWD:
        base = place.cwd
    else:
        base = descriptors.get(name.at, "")
        if not base and not text:
            return ""
    if name.at_path and not base:
        return ""  # a descriptor from outside of the root
    if not base:
        return text
    if place.root and f"{base}/".startswith(f"{place.root}/"):
        return _inside(f"{base[len(place.root) :]}/{text}", place.root)
    return _tidy(f"{base}/{text}") if text else base


def _inside(path: str, root: str) -> str:
    """Return the outside path of a name seen in a root: ``..`` cannot leave it."""
    if not root:
        return _tidy(path)
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join([root, *parts])


def _outside(shown: str, strip: str) -> str:
    """Return a path that -y shows, as seen from the root; "" for one outside of it."""
    if not strip or not shown:
        return shown
    if shown == strip:
        return "/"
    return shown[len(strip) :] if shown.startswith(f"{strip}/") else ""


def _tidy(path: str) -> str:
    """Drop empty parts and single dots; ``..`` stays, since a link may stand before it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)
