"""The lock of a target: one process at a time changes its root."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator

from chrootbuild.errors import Failure, TryAgain
from chrootbuild.state.claim import claim
from chrootbuild.state.project import Project
from chrootbuild.system.rights.provenance import fault_of, make_folder
from chrootbuild.text import printable


@contextlib.contextmanager
def locked(project: Project, target: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a target's root, and claim the state folder.

    Raises TryAgain, naming the lock's holder, after ``wait`` seconds, and Failure.
    """
    locks = project.locks or project.state
    path = f"{locks}/{target}.lock"
    try:
        claim(project.state)
        make_folder(locks)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        info = os.fstat(fd)
        fault = fault_of(info) or ("it has another name, too" if info.st_nlink > 1 else "")
        if fault:  # before anything is written to it
            os.close(fd)
            raise OSError(errno.EPERM, fault)
    except OSError as error:
        raise Failure(
            f"cannot lock {path}: {error.strerror}", hint="see who owns the state folder"
        ) from None
    try:
        _acquire(fd, path, target, time.monotonic() + wait)
        # The holder's name is for messages only: on a full filesystem the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        try:
            _sweep(project, target)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
                # A child that another thread forks has it too, up to its execve(2).
                fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


@contextlib.contextmanager
def alone(project: Project, target: str, verb: str, wait: float | None = None) -> Iterator[None]:
    """Hold the lock of a verb that builds more than once (learn, refresh): one of it a target at a time.

    Raises TryAgain after ``wait`` seconds; None: the verb cannot be told to wait.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(project, f"{target}.{verb}", wait or 0.0))
        except TryAgain as busy:
            hint = "wait until it is done" if wait is None else busy.hint
            raise TryAgain(f"{verb} {target}", busy.fact, holder=busy.holder, hint=hint) from None
        yield


def _acquire(fd: int, path: str, target: str, until: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                break
            time.sleep(0.05)
            continue
        with contextlib.suppress(FileNotFoundError):
            here, there = os.fstat(fd), os.stat(path, follow_symlinks=False)
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return
        raise TryAgain(f"build {target}", f"its lock {path} was removed meanwhile", hint="build again")
    holder = _describe(os.pread(fd, 32, 0).decode("ascii", "replace").strip())
    raise TryAgain(
        f"build {target}",
        f"{holder} is at work on it",
        holder=holder,
        hint="wait until it is done, or let refresh wait: chrootbuild refresh --wait SECONDS",
    )


def _sweep(project: Project, target: str) -> None:
    """Remove the temporary files of killed builds of this target."""
    litter = re.compile(rf"({re.escape(target)}\..*|out)\.([0-9]+)\.new")
    with contextlib.suppress(OSError):
        for match in filter(None, map(litter.fullmatch, os.listdir(project.state))):
            if not os.path.exists(f"/proc/{match[2]}"):
                with contextlib.suppress(OSError):
                    os.unlink(f"{project.state}/{match[0]}")


def _describe(pid: str) -> str:
    if not (pid.isascii() and pid.isdigit()):
        return "another process"
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(300).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "backslashreplace")
    except OSError:
        words = ""
    return f"process {pid} ({printable(words)})" if words else f"process {pid}"
