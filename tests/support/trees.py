"""A tree as a map of one-line strings, so that tests compare whole trees."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def describe(path: str | Path) -> str:
    """Say what one path is: "dir 1777 0:0", "file 0644 0:0 <8 hex of sha256>", "link -> text", "char 1:3 0666 0:0"."""
    info = os.lstat(path)
    mode, owner = f"{stat.S_IMODE(info.st_mode):04o}", f"{info.st_uid}:{info.st_gid}"
    if stat.S_ISLNK(info.st_mode):
        return f"link -> {os.readlink(path)}"
    if stat.S_ISDIR(info.st_mode):
        return f"dir {mode} {owner}"
    if stat.S_ISREG(info.st_mode):
        return f"file {mode} {owner} {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]}"
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        kind = "char" if stat.S_ISCHR(info.st_mode) else "block"
        return f"{kind} {os.major(info.st_rdev)}:{os.minor(info.st_rdev)} {mode} {owner}"
    return f"{'fifo' if stat.S_ISFIFO(info.st_mode) else 'socket'} {mode} {owner}"


def tree(root: str | Path) -> dict[str, str]:
    """Return every path below ``root`` ("/etc/passwd") with its description; links are not followed."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            found[path[len(str(root)) :]] = describe(path)
    return found
