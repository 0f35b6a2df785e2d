"""A helper process in namespaces of its own, and its handshake with the caller about user ids."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from chrootbuild.errors import Failure
from chrootbuild.sandbox.privileges import ids_mapped, map_ids
from chrootbuild.sandbox.view.own_root import chrooted, may_be_chrooted, own_root
from chrootbuild.system import syscalls
from chrootbuild.system.rights.seccomp import new_session_keyring


@dataclass(frozen=True, slots=True)
class Rights:
    """A helper's rights in its namespaces."""

    privileged: bool  # they are root's; else they are in a user namespace
    mapped: bool  # other ids than the caller's exist


def start_helper(
    flags: int, first: Callable[[Rights, socket.socket], NoReturn], *keep: int, task: str
) -> tuple[int, socket.socket, Rights]:
    """Fork a helper that makes namespaces (CLONE_NEW*) and, in them, a process that runs ``first``.

    Without root they are in a user namespace. Returns the helper's pid, a socket whose other
    end ``first`` gets, and the rights. Of the caller's descriptors they inherit ``keep`` alone;
    standard input, output and error are /dev/null, unless kept. The helper exits with the
    status of ``first``, and both end with the caller. What ``first`` sees as / is the root of its
    mount namespace, also where the caller is in a chroot(2). Raises Failure, "cannot TASK".
    """
    if not syscalls.available("mount_setattr"):  # loads ctypes, too, before the forks
        raise Failure("cannot confine a program: this needs the namespaces of Linux 5.12 or later")
    channel, theirs = socket.socketpair()
    helper = os.fork()
    if helper == 0:
        _be_helper(flags, functools.partial(_in_own_root, task, first), theirs, {*keep, theirs.fileno()})
    theirs.close()
    try:
        return helper, channel, _negotiate(channel, helper, task)
    except BaseException:
        channel.close()
        wait_for(helper)
        raise


def wait_for(helper: int, seconds: float | None = 60.0) -> int:
    """Wait until a helper has ended, with all its namespaces; return its exit status.

    It is killed after ``seconds``, never if None.
    """
    handle = os.pidfd_open(helper)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            os.kill(helper, signal.SIGKILL)
    finally:
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])


def canonical(path: str) -> str:
    """Return a root's path with its parents resolved, the root itself not; raises Failure for a relative path."""
    if not path.startswith("/"):
        raise Failure(f"cannot confine a program to {path!r}: it is not an absolute path")
    parent, _, name = path.rstrip("/").rpartition("/")
    return os.path.join(os.path.realpath(parent or "/"), name)


def refuse(channel: socket.socket, failure: Failure | Exception) -> None:
    """Send a failure to the caller; a bug of ours too, which would be lost otherwise."""
    if not isinstance(failure, Failure):
        failure = Failure(f"cannot set up the namespaces: {failure!r}")
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps({"failure": [failure.message, failure.hint]}).encode() + b"\n")


def reason(answer: object) -> Failure | None:
    """Return the failure in an answer, if any."""
    if not isinstance(answer, dict) or "failure" not in answer:
        return None
    message, hint = answer["failure"]
    return Failure(message, hint=hint)


def _be_helper(
    flags: int, first: Callable[[Rights, socket.socket], NoReturn], channel: socket.socket, keep: set[int]
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        _close_all_but(keep)
        try:
            syscalls.unshare(flags)
            channel.sendall(b"p")
        except PermissionError:
            syscalls.unshare(flags | syscalls.CLONE_NEWUSER)
            channel.sendall(b"u")
        privileged, mapped = (byte == b"1"[0] for byte in channel.recv(2))
        child = os.fork()
        if child == 0:
            _be_first(first, Rights(privileged, mapped), channel)
        channel.close()
        # Nothing is opened from here on, /dev/null neither: when the child calls pivot_root(2), this
        # process is moved into the new, untrusted root as well.
        os.closerange(0, 1 << 20)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except OSError as error:
        channel.sendall(f"e{error.errno}".encode())
    finally:
        os._exit(code if code >= 0 else 128 - code)


def _be_first(
    first: Callable[[Rights, socket.socket], NoReturn], rights: Rights, channel: socket.socket
) -> NoReturn:
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        new_session_keyring()
        first(rights, channel)
    except Exception as error:  # noqa: BLE001 - there is nowhere else that it could be seen
        refuse(channel, error)
    finally:
        os._exit(1)


def _in_own_root(
    task: str, first: Callable[[Rights, socket.socket], NoReturn], rights: Rights, channel: socket.socket
) -> NoReturn:
    own_root(task)
    first(rights, channel)


def _close_all_but(keep: set[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in {0, 1, 2} - keep:
        os.dup2(null, fd)
    low = 3
    for fd in sorted(fd for fd in keep if fd > 2):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 20)


def _negotiate(channel: socket.socket, helper: int, task: str) -> Rights:
    answer = channel.recv(16)
    if answer not in (b"p", b"u"):
        why = os.strerror(int(answer[1:])) if answer[1:].isdigit() else "the helper ended"
        if may_be_chrooted():  # no user namespace can be made in one: user_namespaces(7)
            raise chrooted(task, f"cannot make namespaces: {why}")
        more = "; none can be made in a chroot(2)" if answer == b"e%d" % errno.EPERM else ""
        raise Failure(
            f"cannot make namespaces: {why}",
            hint=f"run as root, or allow user namespaces (sysctl user.max_user_namespaces){more}",
        )
    # Root in a container without root is like everybody else: its mounts are of a user namespace.
    outer = ids_mapped()
    privileged, mapped = answer == b"p" and outer is None, answer == b"p" and outer is not False
    if answer == b"u":
        try:
            mapped = map_ids(helper)
        except OSError as error:
            why = error.strerror or str(error)
            raise Failure(f"cannot map the ids of a user namespace: {why}", hint="run as root") from None
    channel.sendall(f"{privileged:d}{mapped:d}".encode())
    return Rights(privileged, mapped)
