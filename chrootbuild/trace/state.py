"""State or input: a file that was read, then written, is the service's state, with its directory."""

from __future__ import annotations

from chrootbuild.trace.access import Deed
from chrootbuild.trace.content import holds_state
from chrootbuild.trace.draft import INPUT, Draft, best
from chrootbuild.trace.rules import zone
from chrootbuild.trace.uses import Use

__all__ = ["is_input", "seed"]

_CONSUMES = frozenset({Deed.REMOVE, Deed.RENAME_FROM})  # a queue file, or a temporary one
# Directories of hier(7) whose subdirectories each belong to one service.
_DATA = ("/var/lib", "/var/spool", "/var/db", "/var/games", "/var/mail", "/srv", "/usr/local/var")


def is_input(draft: Draft, use: Use) -> bool:
    """Return whether a file's content is input of the run, not its own output."""
    deeds = use.deeds.keys()
    if not deeds & frozenset(INPUT) or deeds & _CONSUMES:
        return False
    if not deeds & {Deed.WRITE, Deed.RENAME_TO, Deed.UPDATE}:
        return True
    history = draft.found.histories.get(use.canonical)
    return history is not None and history.read_first and holds_state(draft.host, use.canonical)


def seed(draft: Draft, use: Use) -> None:
    """Propose the data directory of a file that was read, then written."""
    if Deed.EXEC in use.deeds or not draft.found.is_state(use.canonical) or draft.has(use):
        return
    top = _data_directory(draft, use.canonical)
    if top:
        by = use.deeds[best(use, Deed.UPDATE, Deed.READ, Deed.RENAME_TO)]
        draft.enter("seed", f"{top}/", f"reads and writes {use.path.rpartition('/')[2]} there", by)
        draft.seeds.add(top)


def _data_directory(draft: Draft, path: str) -> str:
    """Return the topmost directory above a file owned by the service, else the one below /var/lib etc."""
    uids = {uid for identity in draft.found.identities for uid in identity.users} | {draft.known.uid}
    top = ""
    parent = path.rpartition("/")[0]
    while parent:
        info = draft.host.stat(parent)
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
