"""What a confined program may still do: its capabilities, its user, and the ids of a user namespace."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess

from chrootbuild import syscalls
from chrootbuild.user import KEPT, User

__all__ = ["cut_capabilities", "map_ids", "reset_signals", "switch_user"]


def cut_capabilities() -> None:
    """Give up all capabilities but KEPT, also for every program run later. Raises OSError.

    no_new_privs is left alone: su(1) and the like are services too, and no setuid program
    can gain more than the bounding set.
    """
    kept = 0
    for number in KEPT.values():
        kept |= 1 << number
    for number in range(64):
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_READ, number)
        except OSError:
            break  # the last one this kernel knows was before
        if not kept >> number & 1:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    syscalls.capset(kept, 0)


def switch_user(user: User, *, groups: bool = True) -> None:
    """Become ``user``, the uid last. Raises OSError: EINVAL for an id that is not mapped.

    Not ``groups``: the user namespace allows no setgroups(2).
    """
    if groups:
        os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def reset_signals() -> None:
    """Give every signal its default action, and block none: Python ignores SIGPIPE."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def map_ids(pid: int) -> bool:
    """Map the ids of the user namespace of ``pid``; tell whether more than the caller's own are there.

    With newuidmap(1) and a range of ours in /etc/subuid and /etc/subgid the ids from 1 on are
    those of the range. Without them 0 is the caller, and nobody else exists. Raises OSError.
    """
    uid, gid = os.getuid(), os.getgid()
    users, groups = _range("/etc/subuid", uid), _range("/etc/subgid", uid)
    if users and groups and shutil.which("newuidmap") and shutil.which("newgidmap"):
        tools = (
            ["newuidmap", str(pid), "0", str(uid), "1", "1", *users],
            ["newgidmap", str(pid), "0", str(gid), "1", "1", *groups],
        )
        if all(subprocess.run(argv, check=False, capture_output=True).returncode == 0 for argv in tools):
            return True
    _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", f"0 {uid} 1\n")
    _write(f"/proc/{pid}/gid_map", f"0 {gid} 1\n")
    return False


def _range(path: str, uid: int) -> tuple[str, str] | None:
    """Return first id and count of a user's line in /etc/subuid or /etc/subgid: subuid(5)."""
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        names = {str(uid)}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except (OSError, UnicodeDecodeError):
        return None
    ours = (line for line in lines if line[0] in names and len(line) == 3)
    return next(((first, count) for _, first, count in ours), None)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
