"""Differences between a path of a root and its record entry."""

from __future__ import annotations

import os
import stat

from chrootbuild.artifact import Artifact, Device, Kind
from chrootbuild.errors import Failure
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Installed, is_exposed
from chrootbuild.system.rights.user import privileged
from chrootbuild.system.signature import RACY, signature
from chrootbuild.text import kind_of

CLOSED = "cannot be read"


def inspect(root: Root, path: str, wanted: Installed, info: os.stat_result, *, closely: bool = False) -> str:
    """Return the difference of a path of the root from its wanted entry; empty where there is none.

    An unchanged signature proves the content of what only we can write; else, and with ``closely``
    (verify), every byte is read. A daemon-owned directory may be a mount point.
    """
    if kind_differs(wanted, info):
        return f"{kind_of(info.st_mode)} is in the place of {_article(wanted.kind)}"
    if wanted.kind == Kind.DIRECTORY and info.st_dev != root.dev:
        if wanted.detail == "open":
            return ""
        raise Failure(
            f"cannot install {root.real(path)}: another filesystem is mounted there",
            hint="unmount it, or leave the path out of the target",
        )
    difference = ""
    if (info.st_uid, info.st_gid) != (wanted.uid, wanted.gid):
        difference = f"owner is {info.st_uid}:{info.st_gid}, not {wanted.uid}:{wanted.gid}"
    elif wanted.kind != Kind.LINK and stat.S_IMODE(info.st_mode) != wanted.mode:
        difference = f"mode is {stat.S_IMODE(info.st_mode):04o}, not {wanted.mode:04o}"
    if difference:
        # A bind mount of the same filesystem has its device number: only the mount ID tells.
        mounted = wanted.kind == Kind.DIRECTORY and wanted.detail == "open" and root.is_mount(path)
        return "" if mounted else difference
    return differs(root, path, wanted, info, closely=closely)


def top_differs(root: Root, top: Artifact) -> str:
    """Return how the root directory itself differs from the planned one; empty where it does not."""
    info = os.fstat(root.fd)
    # An ordinary user cannot give it away, and its group is that of the directory it was made in.
    if privileged() and (info.st_uid, info.st_gid) != (top.uid, top.gid):
        return f"owner is {info.st_uid}:{info.st_gid}, not {top.uid}:{top.gid}"
    ours = info.st_uid == os.geteuid() or privileged()
    if ours and stat.S_IMODE(info.st_mode) != top.mode:
        return f"mode is {stat.S_IMODE(info.st_mode):04o}, not {top.mode:04o}"
    return ""


def differs(root: Root, path: str, wanted: Installed, info: os.stat_result, *, closely: bool = False) -> str:
    """Return the difference of a link's text, a node's numbers or a file's content from the wanted entry."""
    if wanted.kind == Kind.LINK:
        text = root.readlink(path)
        return "" if text == wanted.detail else f"link points to {text}, not to {wanted.detail}"
    if wanted.kind == Kind.NODE:
        here = str(Device(stat.S_ISCHR(info.st_mode), os.major(info.st_rdev), os.minor(info.st_rdev)))
        return "" if here == wanted.detail else f"is {here}, not {wanted.detail}"
    if wanted.kind == Kind.DIRECTORY:
        return ""
    proven = not closely and signature(info) == wanted.root
    if proven and not is_exposed(wanted):
        return ""
    if wanted.root != RACY and wanted.root[2] != info.st_size:
        return f"content differs from what was installed: {info.st_size} bytes, not {wanted.root[2]}"
    seen = root.observe(path)
    if seen is None:
        return "" if proven else CLOSED  # its owner, we, cannot read it; who opens it has to change its mode
    if signature(seen.stat) != signature(info):
        return "it changes while it is read"
    if seen.sha256 != wanted.detail:
        return "content differs from what was installed"
    if wanted.mtime_ns and info.st_mtime_ns != wanted.mtime_ns:
        return "modification time differs from what was installed"
    if [(name, value.hex()) for name, value in seen.xattrs] != _xattrs(wanted):
        names = ", ".join(name for name, _ in seen.xattrs) or "none"
        return f"extended attributes differ from what was installed: {names}"
    return ""


def _xattrs(wanted: Installed) -> list[tuple[str, str]]:
    return [("security.capability", wanted.capability)] if wanted.capability else []


def kind_differs(entry: Installed, info: os.stat_result) -> bool:
    """Return whether a path's file type is not its entry's."""
    formats = {
        Kind.LINK: (stat.S_IFLNK,),
        Kind.DIRECTORY: (stat.S_IFDIR,),
        Kind.NODE: (stat.S_IFCHR, stat.S_IFBLK),
    }
    return stat.S_IFMT(info.st_mode) not in formats.get(Kind(entry.kind), (stat.S_IFREG,))


def _article(kind: str) -> str:
    return {"node": "a device", "text": "a file", "database": "a file"}.get(kind, f"a {kind}")
