"""Who wrote a state file: the owner and mode of what was opened, and the mark of a folder that root made.

A project that became root's (chown(1), recursively or not) may hold state that its former owner wrote.
Owners do not tell then. So root's state folders have a mark that no other user can give: their group.
chown(2) lets a user give a folder to groups of his own alone, and nobody is in that one: of its
16 bits all are set, which is no group where there are no more.
"""

from __future__ import annotations

import os

from chrootbuild import STATE_GROUP

_OTHERS_WRITE = 0o022


def sudo_caller() -> int | None:
    """Return the uid of the caller of sudo(8); None where there is none, or it is not believed."""
    text = os.environ.get("SUDO_UID", "")
    return int(text) if text.isascii() and text.isdecimal() and os.geteuid() == 0 else None


def fault_of(info: os.stat_result) -> str:
    """Return why a file that was opened, by its fstat(2), could be somebody else's; "" where it could not."""
    if info.st_mode & 0o170000 != 0o100000:
        return "it is not a regular file"
    if info.st_uid not in (0, os.geteuid(), sudo_caller()):
        return f"it belongs to uid {info.st_uid}"
    return "others can write it" if info.st_mode & _OTHERS_WRITE else ""


def believed(folder: str) -> bool:
    """Return whether what root finds in a state folder was written by root, or under sudo by the caller.

    Always for an ordinary user, and where the mark cannot be given: in a user namespace without that group,
    on a filesystem without owners. Raises OSError.
    """
    if os.geteuid() != 0:
        return True
    info = os.stat(folder)
    if info.st_mode & _OTHERS_WRITE:
        return False
    if info.st_uid != 0:
        return info.st_uid == sudo_caller()
    return info.st_gid == STATE_GROUP or not _can_mark(folder)


def make_folder(path: str) -> None:
    """Make a state folder and those above it, as far as they are missing, with root's mark; raises OSError."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, 0o755)
        except FileExistsError:
            continue
        if os.geteuid() == 0:
            mark(folder)


def mark(folder: str) -> bool:
    """Give a folder root's mark; return whether that was possible."""
    try:
        os.chown(folder, -1, STATE_GROUP)
    except OSError:
        return False
    return True


def _can_mark(folder: str) -> bool:
    """Return whether a folder could be marked, tried on one in it; True where it cannot be told."""
    try:
        with open("/proc/self/gid_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except (OSError, ValueError):
        ranges = []
    if ranges and not any(first <= STATE_GROUP < first + count for first, _, count in ranges):
        return False
    probe = f"{folder}/.{os.getpid()}.mark"
    try:
        os.mkdir(probe, 0o700)
    except OSError:  # read-only
        return True
    try:
        return mark(probe)
    finally:
        os.rmdir(probe)
