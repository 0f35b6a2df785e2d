"""Remembers what files say, so that an unchanged file is not read again."""

from __future__ import annotations

import os

from chrootbuild.elf.facts import Facts

__all__ = ["Memo"]


class Memo:
    """Facts by real path, ino, size, mtime and ctime."""

    def __init__(self) -> None:
        self._facts: dict[str, tuple[tuple[int, int, int, int], Facts]] = {}

    def get(self, real: str, info: os.stat_result) -> Facts | None:
        """Return the facts of a file that has not changed since they were read."""
        entry = self._facts.get(real)
        if entry is not None and entry[0] == (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns):
            return entry[1]
        return None

    def put(self, real: str, info: os.stat_result, facts: Facts) -> None:
        """Remember the facts of a file."""
        self._facts[real] = ((info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns), facts)
