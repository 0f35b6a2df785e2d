"""One step of a publish, as a value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Operation"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a publish: directory, put, exchange, pause, unlink or rmdir.

    ``name`` is what is staged and ``ino`` its inode: once that is not in the stage any more,
    the step was done. Of what is removed ``ino`` and ``ctime`` (ns) are what was seen: another
    thing in its place stays. ``ours`` are the paths that a replaced directory held when it was
    looked at: what else turns up in it is the daemon's.
    """

    kind: str
    path: str
    name: str = ""
    ino: int = 0
    ctime: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    ours: tuple[str, ...] = ()
    # exchange: (path, staged name, "/" a directory, "" what is there)
    content: tuple[tuple[str, str], ...] = ()
    ahead: frozenset[str] = frozenset()  # of content: what a put brings before

    @property
    def staged(self) -> tuple[str, ...]:
        """The paths that an exchange brings: neither directories nor what is there already."""
        return tuple(path for path, name in self.content if name not in ("", "/"))

    @property
    def linked(self) -> frozenset[str]:
        """The paths that are the same before and after an exchange."""
        return frozenset(path for path, name in self.content if name == "")
