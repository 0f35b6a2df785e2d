"""Refreshes the signatures of published paths."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping

from chrootbuild.artifact import Kind
from chrootbuild.compare.drift import inspect
from chrootbuild.paths import split
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Installed
from chrootbuild.system.signature import RACY, TICK_NS, root_signature, settled_signature


def refresh_signatures(
    root: Root, artifacts: Mapping[str, Installed], moved: Iterable[str]
) -> dict[str, Installed]:
    """Return the entries with the present signatures of the ``moved`` paths.

    A rename or link changes the ctime, and invalidates the staged signature. Inode, size,
    mode and owner prove a file that only we can write; any other is read once more. A path
    that differs from the staged one is left racy: the next build compares its content.
    """
    found, doubtful = dict(artifacts), []
    for path in sorted(moved, key=lambda path: (split(path)[0], path)):
        entry = artifacts[path]
        info = root.lstat(path)
        proof = RACY
        if info is not None and _is_staged(root, path, entry, info):
            if stat.S_ISREG(info.st_mode) and (info.st_uid != os.geteuid() or info.st_mode & 0o022):
                doubtful.append(path)
            else:
                proof = root_signature(info)
        found[path] = entry._replace(root=proof)
    if doubtful:
        time.sleep(2 * TICK_NS / 1e9)  # later writes get another ctime
    for path in doubtful:
        info = root.lstat(path)
        if info is not None and not inspect(root, path, artifacts[path], info, closely=True):
            found[path] = artifacts[path]._replace(root=settled_signature(info))
    return found


def _is_staged(root: Root, path: str, entry: Installed, info: os.stat_result) -> bool:
    if entry.kind == Kind.DIRECTORY:
        here = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        return here == (stat.S_IFDIR, entry.mode, entry.uid, entry.gid)
    now, was = root_signature(info), entry.root
    if was != RACY and (now[0], now[2], now[3]) != (was[0], was[2], was[3]):
        return False
    if was == RACY and stat.S_ISREG(info.st_mode):
        return not inspect(root, path, entry, info, closely=True)
    if (info.st_uid, info.st_gid) != (entry.uid, entry.gid):
        return False
    if entry.kind == Kind.LINK:
        return root.readlink(path) == entry.detail
    return not entry.mtime_ns or info.st_mtime_ns == entry.mtime_ns
