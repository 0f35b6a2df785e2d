"""What exists only in a target, laid over a throw-away copy of its sysroot: its service is traced there first.

The sysroot has neither the target's own texts, links and directories nor the accounts that are
given as whole lines, nor their homes. And where the system is not booted (an image, a
container), the directories are missing that it makes for a service at its start.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from chrootbuild.accounts.passwd import parse_users
from chrootbuild.artifact import Artifact, Kind, Plan
from chrootbuild.errors import Failure
from chrootbuild.paths import MAX_LINKS, join, split
from chrootbuild.plan.users import Users
from chrootbuild.sandbox.box import Box
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.sysroot.runtime_directories import runtime_directories
from chrootbuild.target.model import Item, Target
from chrootbuild.trace.events import Access, Event

# The system's own in the box: mounted there.
_MOUNTED = ("/dev", "/proc", "/sys")
_LINKER = frozenset({"/etc/ld.so.cache", "/etc/ld.so.conf"})  # ld.so(8): the sysroot's own serve there
_NO_HOMES = ("/nonexistent", "/proc", "/dev")


def overlay_target(box: Box, target: Target, plan: Plan, sysroot: Sysroot, users: Users) -> None:
    """Put what is the target's own into a box made of its sysroot; raises Failure."""
    for artifact in _at_start(sysroot, users):
        with contextlib.suppress(OSError):  # what is not the service's own may fail
            _put(box, artifact)
    for artifact in target_files(target, plan, sysroot):
        try:
            _put(box, artifact)
        except OSError as error:
            raise Failure(f"cannot lay {artifact.path} over the sysroot: {error.strerror}") from None


def target_files(target: Target, plan: Plan, sysroot: Sysroot) -> Iterator[Artifact]:
    """Yield the artifacts that the sysroot lacks or has otherwise, parents first."""
    accounts = target.accounts
    merged = {
        "/etc/passwd": accounts.extra if accounts else (),
        "/etc/group": accounts.extra_groups if accounts else (),
    }
    written = {plan_path for path in target.text if (plan_path := _place(sysroot, path)) is not None}
    found: dict[str, Artifact] = {}
    for path, artifact in plan.artifacts.items():
        if path.startswith(tuple(f"{place}/" for place in _MOUNTED)) or path in _MOUNTED:
            continue
        if path in merged and path not in written:
            continue
        if artifact.kind is Kind.TEXT and path in _LINKER and path not in written:
            continue
        if artifact.kind not in (Kind.NODE, Kind.DATABASE) and _differs(artifact, sysroot):
            found[path] = artifact
    for path, lines in merged.items():
        if lines and path not in written:
            found[path] = Artifact(path, Kind.TEXT, 0o644, content=_merged(sysroot, path, lines))
    for home in _homes(merged["/etc/passwd"]):
        if home.path not in plan.artifacts and not sysroot.exists(home.path):
            found.setdefault(home.path, home)
    yield from (found[path] for path in sorted(found))


def _at_start(sysroot: Sysroot, users: Users) -> Iterator[Artifact]:
    """Yield the directories that the running system would have made, parents first."""
    for path, made in runtime_directories(sysroot).items():
        if not sysroot.exists(path) and not path.startswith(tuple(f"{place}/" for place in _MOUNTED)):
            with contextlib.suppress(Failure):  # a user that is made at the start, too
                user = users(f"{made.owner}:{made.group}")
                yield Artifact(path, Kind.DIRECTORY, int(made.mode, 8), user.uid, user.gid)


def _place(sysroot: Sysroot, path: str) -> str | None:
    """Return where in the sysroot a path is, itself not followed; None where nothing is above it."""
    parent, name = split(path)
    try:
        return f"{sysroot.canonical(parent).rstrip('/')}/{name}"
    except Unreadable:
        return path


def _differs(artifact: Artifact, sysroot: Sysroot) -> bool:
    """Tell whether the sysroot has something else at an artifact's path, as far as a program can tell."""
    info = sysroot.lstat(artifact.path)
    if artifact.kind is Kind.TEXT:
        return True
    if info is None:
        # A file has its source in the sysroot: another link led to it there.
        return artifact.kind is not Kind.SEED
    if artifact.kind is Kind.LINK:
        return not stat.S_ISLNK(info.st_mode) or sysroot.readlink(artifact.path) != artifact.link
    if artifact.kind is Kind.DIRECTORY:
        state = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        return not artifact.implied and state != (artifact.mode, artifact.uid, artifact.gid)
    if artifact.kind is Kind.FILE and not artifact.elf:
        return (info.st_uid, info.st_gid) != (artifact.uid, artifact.gid)
    return False


def _merged(sysroot: Sysroot, path: str, lines: tuple[Item, ...]) -> bytes:
    """Return the sysroot's account file with the target's own lines in place of those of the same name."""
    own_lines = [item.value.encode("utf-8", "surrogateescape") for item in lines]
    names = {line.partition(b":")[0] for line in own_lines}
    old = sysroot.read(path).splitlines() if sysroot.isfile(path) else []
    kept = [line for line in old if line.partition(b":")[0] not in names]
    return b"".join(line + b"\n" for line in (*own_lines, *kept))


def _homes(lines: tuple[Item, ...]) -> Iterator[Artifact]:
    content = b"".join(item.value.encode("utf-8", "surrogateescape") + b"\n" for item in lines)
    for user in parse_users(content).users:
        home = os.fsdecode(user.fields[5]).rstrip("/")
        if home.startswith("/") and ".." not in home and not home.startswith(_NO_HOMES):
            yield Artifact(home, Kind.DIRECTORY, 0o755, user.uid or 0, user.gid or 0)


def _put(box: Box, artifact: Artifact) -> None:
    """Make one artifact in the box's overlay, links resolved inside it; raises OSError."""
    parent, name = split(artifact.path)
    where = _directory(box, parent)
    try:
        if artifact.kind is Kind.DIRECTORY:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=where)
        else:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if artifact.kind is not Kind.FILE:
                    os.unlink(name, dir_fd=where)
            if artifact.kind is Kind.LINK:
                with contextlib.suppress(FileExistsError):  # a directory is there: it serves as well
                    os.symlink(artifact.link, name, dir_fd=where)
                return
            _write(where, name, artifact)
        _own(where, name, artifact)
    finally:
        os.close(where)


def _directory(box: Box, path: str) -> int:
    """Open a directory of the overlay; those that are missing are made, root's 0755."""
    try:
        return box.open(path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        parent, name = split(path)
        above = _directory(box, parent)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=above)
        finally:
            os.close(above)
        return box.open(path, os.O_PATH | os.O_DIRECTORY)


def _write(where: int, name: str, artifact: Artifact) -> None:
    if artifact.kind is Kind.FILE:
        try:
            os.stat(name, dir_fd=where, follow_symlinks=False)
        except FileNotFoundError:
            with open(artifact.source, "rb") as source:
                content = source.read()
        else:
            return  # its owner alone differs
    else:
        content = artifact.content
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=where)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def _own(where: int, name: str, artifact: Artifact) -> None:
    with contextlib.suppress(PermissionError):  # without root
        os.chown(name, artifact.uid, artifact.gid, dir_fd=where, follow_symlinks=False)
    os.chmod(name, artifact.mode, dir_fd=where)


def own_links(plan: Plan, sysroot: Sysroot) -> dict[str, str]:
    """Return the links that the sysroot has not, or otherwise: their paths and texts."""
    links: dict[str, str] = {}
    for path, artifact in plan.artifacts.items():
        if artifact.kind is Kind.LINK:
            info = sysroot.lstat(path)
            if info is None or not stat.S_ISLNK(info.st_mode) or sysroot.readlink(path) != artifact.link:
                links[path] = artifact.link
    return links


def through(events: Iterable[Event], links: Mapping[str, str]) -> Iterator[Event]:
    """Yield the events, and behind each that goes through one of the links the same with the path beyond it."""
    for event in events:
        yield event
        if links and isinstance(event, Access) and event.path.startswith("/"):
            path = _resolved(event.path, links)
            if path != event.path:
                yield replace(event, path=path, real="")


def _resolved(path: str, links: Mapping[str, str]) -> str:
    """Return a path with the links' texts in their places, and all else in it as it was asked for.

    Not by ``paths.walk``: what else is a link in it, only the sysroot can tell, and its ".." with it.
    """
    for _ in range(MAX_LINKS):
        link = next((above for above in _above(path) if above in links), "")
        if not link:
            return path
        text = links[link]
        base = text if text.startswith("/") else join(split(link)[0], text)
        path = f"{base.rstrip('/')}{path[len(link) :]}" or "/"
    return path


def _above(path: str) -> Iterator[str]:
    """Yield the directories above a path from the top, and it."""
    parts = path.split("/")
    for count in range(2, len(parts) + 1):
        yield "/".join(parts[:count])
