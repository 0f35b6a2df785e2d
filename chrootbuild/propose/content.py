"""Kind of a sysroot's file (program, library, secret), by mode and first bytes."""

from __future__ import annotations

import re

from chrootbuild.propose.builder import INPUT, OPENED, ProposalBuilder, best
from chrootbuild.propose.rules import is_library_name, is_secret_name, zone
from chrootbuild.propose.uses import Use
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Deed

_ELF = b"\x7fELF"
_KEY = b"PRIVATE KEY-----"  # PEM: RFC 7468; also of OpenSSH
_LOOK = 1 << 16  # bytes searched for a key
_PID = re.compile(rb"\s*\d*\s*")


def mode_of(sysroot: Sysroot, path: str) -> int:
    """Return st_mode of a path's target, of a dangling link itself; 0 for none."""
    info = sysroot.stat(path) or sysroot.lstat(path)
    return info.st_mode if info is not None else 0


def is_program(sysroot: Sysroot, use: Use) -> bool:
    """Return whether a path was executed, or is a program that was only looked up."""
    if Deed.EXEC in use.deeds:
        return True
    if not mode_of(sysroot, use.canonical) & 0o111 or is_library_name(use.canonical):
        return False
    head = _head(sysroot, use.canonical, 4)
    if Deed.ACCESS_EXEC in use.deeds:
        return head.startswith((_ELF, b"#!"))
    return not use.deeds.keys() & OPENED and head == _ELF


def is_library(sysroot: Sysroot, use: Use) -> bool:
    """Return whether a path is a shared object: by name or mapping, and ELF."""
    named = is_library_name(use.canonical) or is_library_name(use.path) or Deed.MAP in use.deeds
    return named and _head(sysroot, use.canonical, 4) == _ELF


def is_script(sysroot: Sysroot, path: str) -> bool:
    """Return whether a file is a script: executable, with a ``#!`` line."""
    return bool(mode_of(sysroot, path) & 0o111) and _head(sysroot, path, 2) == b"#!"


def holds_state(sysroot: Sysroot, path: str) -> bool:
    """Return whether a file holds more than a pid: lock and pid files are recreated."""
    return _PID.fullmatch(_head(sysroot, path, 64)) is None


def secret(sysroot: Sysroot, use: Use) -> str:
    """Return the reason to copy a file only if the target names it, or ""."""
    name = "name it under files if it has to be there"
    if is_secret_name(use.canonical) or is_secret_name(use.path):
        return f"a key or hashes, by its name; {name}"
    if not _is_public(sysroot, use.canonical):
        return f"others may not read it; {name}"
    if _KEY in _head(sysroot, use.canonical, _LOOK):
        return f"a private key; {name}"
    return ""


def _is_public(sysroot: Sysroot, path: str) -> bool:
    """Return whether others may read a file and search every directory above it."""
    needed = 0o004
    while path:
        if not mode_of(sysroot, path) & needed:
            return False
        path, needed = path.rpartition("/")[0], 0o001
    return True


def _head(sysroot: Sysroot, path: str, size: int) -> bytes:
    try:
        with sysroot.open(path) as file:
            return file.read(size)
    except (Unreadable, OSError):
        return b""


_CONSUMES = frozenset({Deed.REMOVE, Deed.RENAME_FROM})  # a queue file, or a temporary one
# Directories of hier(7) whose subdirectories each belong to one service.
_DATA = ("/var/lib", "/var/spool", "/var/db", "/var/games", "/var/mail", "/srv", "/usr/local/var")


def is_input(builder: ProposalBuilder, use: Use) -> bool:
    """Return whether a file's content is input of the run, not its own output."""
    deeds = use.deeds.keys()
    if not deeds & frozenset(INPUT) or deeds & _CONSUMES:
        return False
    if not deeds & {Deed.WRITE, Deed.RENAME_TO, Deed.UPDATE}:
        return True
    history = builder.found.histories.get(use.canonical)
    return history is not None and history.read_first and holds_state(builder.sysroot, use.canonical)


def seed(builder: ProposalBuilder, use: Use) -> None:
    """Propose the data directory of a file that was read, then written."""
    if Deed.EXEC in use.deeds or not builder.found.is_state(use.canonical) or builder.has(use):
        return
    top = _data_directory(builder, use.canonical)
    if top:
        by = use.deeds[best(use, Deed.UPDATE, Deed.READ, Deed.RENAME_TO)]
        builder.enter("seed", f"{top}/", f"reads and writes {use.path.rpartition('/')[2]} there", by)
        builder.seeds.add(top)


def _data_directory(builder: ProposalBuilder, path: str) -> str:
    """Return the topmost directory above a file owned by the service, else the one below /var/lib etc."""
    uids = {uid for identity in builder.found.identities for uid in identity.users} | {builder.known.uid}
    top = ""
    parent = path.rpartition("/")[0]
    while parent:
        info = builder.sysroot.stat(parent)
        if info is not None and info.st_uid and info.st_uid in uids and not zone(parent):
            top = parent
        parent = parent.rpartition("/")[0]
    if top:
        return top
    for place in _DATA:
        if path.startswith(f"{place}/"):
            below = path[len(place) + 1 :].split("/")
            return f"{place}/{below[0]}" if len(below) > 1 else ""
    return ""
