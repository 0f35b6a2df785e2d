"""One step of a publish, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a publish: directory, put, exchange, pause, unlink or rmdir.

    ``name`` is the staged name and ``ino`` its inode: once that is gone from the stage,
    the step was done. Of a removed path ``ino`` and ``ctime`` (ns) are those compared: a
    later inode in its place stays. ``ours`` are the paths in a replaced directory when it
    was compared: any other is the daemon's.
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
    # exchange: (path, staged name; "/": a directory, "": the file already there)
    content: tuple[tuple[str, str], ...] = ()
    ahead: frozenset[str] = frozenset()  # paths of content that an earlier put installs

    @property
    def staged(self) -> tuple[str, ...]:
        """The staged paths of a swap: neither directories nor files already there."""
        return tuple(path for path, name in self.content if name not in ("", "/"))

    @property
    def linked(self) -> frozenset[str]:
        """The paths that a swap leaves unchanged."""
        return frozenset(path for path, name in self.content if name == "")
