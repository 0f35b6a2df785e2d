"""Mounts: as proc_pid_mountinfo(5) lists them, and whether a name is one."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chrootbuild.system.openat import open_beneath


class Mounted(NamedTuple):
    """A mount: the real path of its mount point, the filesystem's type, and whether it can be written.

    ``device`` is the filesystem's number as the kernel writes it, ``root`` the directory of it that is
    seen: of a bind mount not /.
    """

    path: str
    type: str
    writable: bool
    device: str = ""
    root: str = "/"


def read_mounts(text: str) -> Iterator[Mounted]:
    """Yield the mounts of a mountinfo in its order; a line of another form is passed over."""
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 3:
            options = {*fields[5].split(","), *rest[2].split(",")}
            yield Mounted(
                _unescape(fields[4]), rest[0], "ro" not in options, fields[2], _unescape(fields[3])
            )


def own_mounts() -> tuple[Mounted, ...]:
    """Return the mounts of our own mount namespace; raises OSError where they cannot be read."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return tuple(read_mounts(file.read()))


def mounts_below(mounts: Iterable[Mounted], directory: str) -> dict[str, Mounted]:
    """Return the mounts below a directory by their real paths: of several on one path the last, which is seen."""
    prefix = f"{directory.rstrip('/')}/"
    return {mount.path: mount for mount in mounts if mount.path.startswith(prefix) and mount.path != prefix}


def source_of(mounts: Iterable[Mounted], mount: Mounted) -> str:
    """Return where else a mount's directory is seen, by the mounts given; "" where none of them shows it."""
    found, longest = "", -1
    for other in mounts:
        above = other.root.rstrip("/")
        if (
            other.device == mount.device
            and f"{mount.root}/".startswith(f"{above}/")
            and len(above) > longest
        ):
            rest = mount.root[len(above) :]
            found, longest = (other.path.rstrip("/") + rest).rstrip("/") or "/", len(above)
    return found


def filesystem_of(mounts: Iterable[Mounted], directory: str) -> str:
    """Return the type of the filesystem that a directory is on, "" where no mount holds it."""
    found = Mounted("", "", writable=False)
    for mount in mounts:
        if len(mount.path) >= len(found.path) and f"{directory}/".startswith(f"{mount.path.rstrip('/')}/"):
            found = mount
    return found.type


def is_mount(directory: int, name: str) -> bool:
    """Return whether a name in a directory is a mount point: of a file, or of the same filesystem, too."""
    try:
        os.close(open_beneath(directory, name, getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)))
    except OSError as error:
        return error.errno == errno.EXDEV
    return False


def _unescape(field: str) -> str:
    """Return a mount point as it is: blanks, tabs, newlines, backslashes and # are octal in the file."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
