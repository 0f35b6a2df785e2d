"""The run-time linker's own files in a root: ld.so.cache with ld.so.conf, or ld-elf.so.hints.

They are written by us, never by a program of the root (law 7), and only
where a library would not be found without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chrootbuild.draft import split
from chrootbuild.host import Host

__all__ = ["LoaderFile", "loader_files"]


@dataclass(frozen=True, slots=True)
class LoaderFile:
    """A file to put into the root."""

    path: str
    content: bytes
    mode: int


def loader_files(host: Host, cache: Iterable[tuple[str, str]], hints: Iterable[str]) -> list[LoaderFile]:
    """Return the files that ``cache`` (soname, path) and ``hints`` (directories) ask for."""
    files: list[LoaderFile] = []
    entries = sorted(set(cache))
    if entries:
        from chrootbuild.elf import render_cache

        directories = sorted({split(path)[0] for _, path in entries})
        text = "".join(f"{directory}\n" for directory in directories)
        files.append(LoaderFile("/etc/ld.so.cache", render_cache(host, entries), 0o644))
        files.append(LoaderFile("/etc/ld.so.conf", text.encode("utf-8", "surrogateescape"), 0o644))
    listed = tuple(hints)
    if listed:
        from chrootbuild.elf import hints as elf_hints

        # ldconfig(8) of FreeBSD writes it 0444.
        files.append(LoaderFile("/var/run/ld-elf.so.hints", elf_hints.render(listed), 0o444))
    return files
