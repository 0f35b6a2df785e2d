"""The frozen values that flow from a target file to a root. Imports nothing of the package.

Paths are ``str`` with surrogateescape (``os.fsdecode``), absolute, without a
trailing slash, and mean a place inside the root or the sysroot; a path on
this machine is called a *real* path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

__all__ = ["Artifact", "Device", "Kind", "Origin", "Plan", "Reason", "Recipe", "Skipped"]


class Kind(StrEnum):
    """What an artifact is in the root; the words of ``plan --json``."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"
    NODE = "node"
    TEXT = "text"
    DATABASE = "database"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a target file something was said."""

    file: str  # as people are shown it: targets/cvs.toml
    key: str  # binaries, accounts.users, check.service.ready
    line: int | None = None  # from 1

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}"


@dataclass(frozen=True, slots=True)
class Device:
    """A device node's type and numbers, as mknod(2) takes them."""

    char: bool  # else a block device
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{'char' if self.char else 'block'} {self.major}:{self.minor}"


class Recipe(Protocol):
    """Makes the content of a database from what it depends on; picklable."""

    def render(self) -> bytes:
        """Return the whole file."""

    def digest(self) -> str:
        """Return a hex digest of everything that ``render`` depends on, cheaply."""


class Artifact(NamedTuple):  # made by the ten thousand: a tuple is five times as fast
    """One path in a root, and all that is needed to make it."""

    path: str  # canonical: no symlink among its parents
    kind: Kind
    mode: int = 0  # the twelve permission bits; 0 for a link
    uid: int = 0
    gid: int = 0
    source: str = ""  # FILE, SEED: the real path that is copied
    sources: tuple[str, ...] = ()  # every real path it is made from (doit's file_dep)
    link: str = ""  # LINK: its text
    content: bytes = b""  # TEXT
    device: Device | None = None  # NODE
    recipe: Recipe | None = None  # DATABASE
    after: tuple[str, ...] = ()  # artifacts (paths in the root) this one is made from
    capabilities: bool = False  # keep security.capability of the source
    elf: str = ""  # FILE: "program", "library" or "" (what publishing orders by)
    implied: bool = False  # DIRECTORY: a parent that no key describes
    open: bool = False  # DIRECTORY: what else is in it is the daemon's ([directories], mounts)


@dataclass(frozen=True, slots=True)
class Reason:
    """One link of a why chain: ``parent`` (a path in the root) brought this in.

    With no parent ``words`` name the target file's key: "binaries: nginx".
    """

    words: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that was asked for, by a tree or glob, and left out on purpose."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every artifact of a target, by path, sorted; computed without looking at the root."""

    target: str
    root: str  # real path
    artifacts: Mapping[str, Artifact]
    reasons: Mapping[str, tuple[Reason, ...]]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    seeds: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)  # by declared path

    @property
    def devices(self) -> dict[str, Device]:
        """The device nodes, by path."""
        return {
            path: artifact.device
            for path, artifact in self.artifacts.items()
            if artifact.kind is Kind.NODE and artifact.device is not None
        }
