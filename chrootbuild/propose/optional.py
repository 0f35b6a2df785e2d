"""Optional paths of a run, used only because a listing showed them: tried last, if a check fails.

Three kinds. Directories that a program lists and stats from end to end without
opening a file. Large ones of which it opens every file. And configuration
fragments that were found by listing, never requested by name, and only load a
module: an empty directory is no error, and a module that the service needs is
named by its own configuration. A fragment with any other line stays: it may
forbid something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from chrootbuild.propose.builder import OPENED, ProposalBuilder
from chrootbuild.propose.rules import never
from chrootbuild.propose.uses import Use
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Deed

_SWEPT = 16  # files; a smaller directory may be needed as a whole
_READ = 64  # files; a directory of configuration is smaller
_LIMIT = 4096  # bytes of a fragment
_TEXT_LIMIT = 256 << 10
_MODULE = re.compile(rb"([A-Za-z0-9_.+-]+\.so)\b")
_LOADS = re.compile(
    rb"[A-Za-z_]+[ \t=]+(?:[A-Za-z0-9_]+[ \t]+)?[\"']?"
    # A path, with one way to match it: else a word of forty letters backtracks in 2^40 ways.
    rb"(?:/?[A-Za-z0-9_.+-]+(?:/[A-Za-z0-9_.+-]+)*)?\.so[\"']?"
)
_COMMENT = (b"#", b";", b"//")


@dataclass(frozen=True, slots=True)
class Optional:
    """Optional paths: ``swept`` maps a directory to the sweep's top, ``read`` are those read whole.

    The others are paths as requested.
    """

    swept: dict[str, str]
    read: frozenset[str]
    fragments: frozenset[str]
    modules: frozenset[str]


def optional(builder: ProposalBuilder, uses: list[Use]) -> Optional:
    """Return the part of ``uses`` that may be left out at first."""
    through = _gone_through(builder, builder.found.looks)
    sizes = {directory: size for directory, size in through.items() if size >= _SWEPT}
    opened = {path for use in uses if use.deeds.keys() & OPENED for path in (use.path, use.canonical)}
    read = _gone_through(builder, dict.fromkeys(builder.found.listed, opened)) if opened else {}
    swept: dict[str, str] = {}
    for directory in sorted(through):
        top = swept.get(directory.rpartition("/")[0], directory if directory in sizes else "")
        if top:
            swept[directory] = top
    loads: dict[str, frozenset[str]] = {}
    for use in uses:
        if Deed.READ in use.deeds and use.path.rpartition("/")[0] in through:
            modules = _fragment(builder.sysroot, use.canonical)
            if modules:
                loads[use.path] = modules
    named = set(_named(builder, loads)) if loads else set()
    extra = {module for modules in loads.values() for module in modules} - named
    return Optional(
        swept,
        frozenset(directory for directory, size in read.items() if size >= _READ),
        frozenset(path for path, modules in loads.items() if modules <= extra),
        frozenset(use.path for use in uses if use.path.rpartition("/")[2] in extra),
    )


def _gone_through(builder: ProposalBuilder, looked: Mapping[str, AbstractSet[str]]) -> dict[str, int]:
    """Return the directories that one program listed and of which it used at least 90 % of the names."""
    found: dict[str, int] = {}
    for program, listed in builder.found.listed.items():
        looks = looked.get(program, frozenset())
        for directory in listed:
            if not builder.sysroot.isdir(directory) or never(directory, directory=True):
                continue
            try:
                names = builder.sysroot.listdir(directory)
            except Unreadable:
                continue
            seen = sum(_looked_at(builder.sysroot, f"{directory}/{name}", looks) for name in names)
            if names and seen * 10 >= len(names) * 9:
                found[directory] = len(names)
    return found


def _looked_at(sysroot: Sysroot, path: str, looks: AbstractSet[str]) -> bool:
    """Return whether a program used a path, or the same file by another name."""
    if path in looks:
        return True
    try:
        return sysroot.canonical(path) in looks
    except Unreadable:
        return True  # a dangling link: nothing to use


def _fragment(sysroot: Sysroot, path: str) -> frozenset[str]:
    """Return the modules that a fragment loads; empty if it has any other line."""
    modules: set[str] = set()
    for line in _lines(sysroot.content(path, _LIMIT)):
        if not _LOADS.fullmatch(line):
            return frozenset()
        modules.update(name.decode() for name in _MODULE.findall(line))
    return frozenset(modules)


def _named(builder: ProposalBuilder, loads: dict[str, frozenset[str]]) -> Iterator[str]:
    """Yield the modules named in other files that were read."""
    for path, use in builder.found.uses.items():
        if (
            path in loads
            or Deed.READ not in use.deeds
            or use.canonical.startswith(("/usr/", "/proc/", "/dev/"))
        ):
            continue
        yield from _modules(builder.sysroot.content(use.canonical, _TEXT_LIMIT))
    for artifact in builder.known.artifacts.values():
        yield from _modules(artifact.content)


def _modules(text: bytes) -> Iterator[str]:
    for line in _lines(text):
        yield from (name.decode() for name in _MODULE.findall(line))


def _lines(text: bytes) -> Iterator[bytes]:
    for line in text.split(b"\n"):
        line = line.strip()
        if line and not line.startswith(_COMMENT):
            yield line
