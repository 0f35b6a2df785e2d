"""Frozen values that flow from a target file to a root; imports nothing of the package.

Paths are ``str`` with surrogateescape (``os.fsdecode``), absolute, without a
trailing slash, relative to the root or the sysroot; a path on this machine is
a *real* path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol


class Kind(StrEnum):
    """Kind of an artifact; the values are those of ``plan --json``."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"
    NODE = "node"
    TEXT = "text"
    DATABASE = "database"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a value: target file, key, line."""

    file: str  # for messages: targets/cvs.toml
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
    """Renders a database's content from its inputs; picklable."""

    def render(self) -> bytes:
        """Return the whole file."""

    def digest(self) -> str:
        """Return a hex digest of the inputs of ``render``; cheap."""


class Artifact(NamedTuple):  # tens of thousands are made: a tuple is five times as fast
    """One path in a root, and all that is needed to make it."""

    path: str  # canonical: no symlink among its parents
    kind: Kind
    mode: int = 0  # the twelve permission bits; 0 for a link
    uid: int = 0
    gid: int = 0
    source: str = ""  # FILE, SEED: the real path that is copied
    sources: tuple[str, ...] = ()  # every real path it depends on (doit's file_dep)
    link: str = ""  # LINK: its text
    content: bytes = b""  # TEXT
    device: Device | None = None  # NODE
    recipe: Recipe | None = None  # DATABASE
    after: tuple[str, ...] = ()  # artifacts (paths in the root) that this one depends on
    capabilities: bool = False  # keep security.capability of the source
    elf: str = ""  # FILE: "program", "library" or "" (a publish is ordered by it)
    implied: bool = False  # DIRECTORY: a parent that no key describes
    daemon_owned: bool = False  # DIRECTORY: other content is the daemon's ([directories], mounts)


# The root directory itself; it is made and mended, never in a record, never removed.
TOP = Artifact("/", Kind.DIRECTORY, 0o755)


@dataclass(frozen=True, slots=True)
class Reason:
    """One link of a why chain: ``parent`` (a path in the root) brought this in.

    With no parent ``words`` name the target file's key: "binaries: nginx".
    """

    words: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path of a tree or glob that was left out on purpose."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Artifacts of a target, sorted by path; computed without reading the root."""

    target: str
    root: str  # real path
    artifacts: Mapping[str, Artifact]
    reasons: Mapping[str, tuple[Reason, ...]]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    seeds: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)  # by declared path
    top: Artifact = TOP

    @property
    def devices(self) -> dict[str, Device]:
        """The device nodes, by path."""
        return {
            path: artifact.device
            for path, artifact in self.artifacts.items()
            if artifact.kind is Kind.NODE and artifact.device is not None
        }
