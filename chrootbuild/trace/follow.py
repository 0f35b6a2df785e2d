"""Resolves the names in a trace to absolute paths, by process state.

State of each process: working directory and root (shared with CLONE_FS),
paths of descriptors, and its program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chrootbuild.trace.calls import AT_FDCWD, FORKS, Call, Name, number, words
from chrootbuild.trace.events import Access, Deed, Event, Identity, deed_of
from chrootbuild.trace.processes import Place, Process, Processes

_EXITS = frozenset({"+exit", "exit", "_exit", "exit_group"})

# Positions of users and groups in the arguments: credentials(7), chown(2).
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


def follow(calls: Iterable[Call], *, cwd: str | None = None, root: str = "") -> Iterator[Event]:
    """Yield the events of a trace, in order.

    ``cwd`` is the first process's working directory, if known. ``root`` is the real
    path of the root they run in, if the tracer was outside: the paths that -y
    shows begin with it, the names in the calls do not.
    """
    processes = Processes(cwd)
    strip = root.rstrip("/")
    for call in calls:
        if call.name in _EXITS:
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


def _events(call: Call, process: Process, strip: str) -> Iterator[Event]:
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
    deed, creates = deed_of(call)
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


def _move(call: Call, process: Process, deed: Deed, path: str, real: str) -> None:
    """Update the process state after a call that succeeded."""
    if deed is Deed.EXEC:
        process.program = path
    elif call.name in ("chdir", "fchdir"):
        process.place.cwd = path if path.startswith("/") else None
    elif call.name in ("chroot", "pivot_root"):
        process.place.root = "" if path == "/" else path
    elif call.name in ("open", "openat", "openat2", "creat") and call.result is not None:
        process.opened(call.result, real or path)


def _identity(call: Call, process: Process) -> Iterator[Identity]:
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


def _absolute(name: Name, place: Place, descriptors: dict[int, str], strip: str) -> str:
    """Return the outside path of a name; relative if its directory is unknown, "" for no path."""
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
        return ""  # a descriptor from outside the root
    if not base:
        return text
    if place.root and f"{base}/".startswith(f"{place.root}/"):
        return _inside(f"{base[len(place.root) :]}/{text}", place.root)
    return _tidy(f"{base}/{text}") if text else base


def _inside(path: str, root: str) -> str:
    """Return the outside path of a name used in a root: ``..`` cannot leave it."""
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
    """Return a path that -y shows, relative to the root; "" for one outside it."""
    if not strip or not shown:
        return shown
    if shown == strip:
        return "/"
    return shown[len(strip) :] if shown.startswith(f"{strip}/") else ""


def _tidy(path: str) -> str:
    """Drop empty and ``.`` components; ``..`` stays, since it may follow a link."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)
