"""The run-time linker's own files in a root: ld.so.cache with ld.so.conf, or ld-elf.so.hints.

We write them, never a program of the root (law 7), and only
where a library would not be found without them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chrootbuild.elf import Memo, render_cache
from chrootbuild.elf import hints as elf_hints
from chrootbuild.host import Host
from chrootbuild.paths import split

__all__ = ["LoaderFile", "cache_files", "hints_file"]


@dataclass(frozen=True, slots=True)
class LoaderFile:
    """A file to put into the root."""

    path: str
    content: bytes
    mode: int


def cache_files(host: Host, memo: Memo | None, libraries: Iterable[tuple[str, str]]) -> list[LoaderFile]:
    """Return ld.so.cache for ``libraries`` (name, path), and the ld.so.conf from which ldconfig makes it."""
    pairs = sorted(set(libraries))
    if not pairs:
        return []
    # ldconfig(8) searches glibc-hwcaps below each directory by itself.
    directories = sorted({split(path)[0].partition("/glibc-hwcaps/")[0] for _, path in pairs})
    text = "".join(f"{directory}\n" for directory in directories)
    return [
        LoaderFile("/etc/ld.so.cache", render_cache(host, pairs, memo), 0o644),
        LoaderFile("/etc/ld.so.conf", text.encode("utf-8", "surrogateescape"), 0o644),
    ]


def hints_file(directories: Iterable[str], *, compat32: bool, little: bool = True) -> list[LoaderFile]:
    """Return the hints file of ``directories``, mode 0444 as from FreeBSD's ldconfig(8)."""
    listed = tuple(directories)
    path = elf_hints.path(compat32=compat32)
    return [LoaderFile(path, elf_hints.render(listed, little=little), 0o444)] if listed else []
