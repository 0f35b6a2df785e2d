"""Privileges of a confined program: its capabilities, its user, and the ids of a user namespace."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping

from chrootbuild.system import syscalls
from chrootbuild.system.rights.user import CONFINED, User


def cut_capabilities(capabilities: Mapping[str, int] = CONFINED) -> None:
    """Drop all capabilities but these, from the bounding set too. Raises OSError.

    no_new_privs stays unset: services use su(1) and the like, and no setuid program
    can gain more than the bounding set.
    """
    kept = 0
    for number in capabilities.values():
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

    Without ``groups`` setgroups(2) is not called: the user namespace denies it.
    """
    if groups:
        os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def reset_signals() -> None:
    """Reset every signal to its default action, and block none: Python ignores SIGPIPE."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def map_ids(pid: int) -> bool:
    """Map the ids of the user namespace of ``pid``; return whether more than the caller's own are mapped.

    With newuidmap(1) and a range of ours in /etc/subuid and /etc/subgid the ids from 1 on are
    those of the range. Without them only 0 is mapped, to the caller. Raises OSError.
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


def ids_mapped() -> bool | None:
    """Return whether other ids than its own exist for this process; None in the initial user namespace.

    user_namespaces(7): /proc/self/uid_map, and /proc/self/setgroups, which says deny where no group can be set.
    """
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            counts = [int(line.split()[2]) for line in file]
        with open("/proc/self/setgroups", encoding="ascii") as file:
            denied = file.read().strip() == "deny"
    except (OSError, ValueError, IndexError):
        return None
    if sum(counts) == (1 << 32) - 1 and len(counts) == 1:
        return None
    return sum(counts) > 1 and not denied


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
