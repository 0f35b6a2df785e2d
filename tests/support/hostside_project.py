"""A project in a temporary folder with one target, for the tests of the host's side and of schedule."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chrootbuild.hostside import make
from chrootbuild.hostside.snippet import Snippet
from chrootbuild.state.project import Project, find_project
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_target

# A name of a folder that every syntax has trouble with, but for blanks at its ends.
ODD = 'it\'s 100% "q" $HOME #1;[x]{y}*?`z`'


def make_project(where: Path, text: str = "", name: str = "web") -> Project:
    """Write targets/NAME.toml in ``where`` and return the project."""
    targets = where / "targets"
    targets.mkdir(parents=True, exist_ok=True)
    targets.joinpath(f"{name}.toml").write_text(text, "utf-8")
    return find_project(str(where))


def make_sysroot(where: Path, *, freebsd: bool = False) -> Path:
    """Make a sysroot with accounts and a program or two; returns its path."""
    for path in ("etc", "usr/sbin", "usr/bin", "bin", "var/log"):
        (where / path).mkdir(parents=True)
    users = "root:x:0:0::/root:/bin/sh\nwww:x:80:80::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
    where.joinpath("etc/passwd").write_text(users)
    where.joinpath("etc/group").write_text("root:x:0:\nwww:x:80:\nssl:x:110:www\nlog:x:90:nobody,www\n")
    for path in ("usr/sbin/httpd", "usr/bin/cvs", "bin/sh"):
        where.joinpath(path).write_bytes(b"\x7fELF" if freebsd else b"#!/bin/sh\n")
        where.joinpath(path).chmod(0o755)
    return where


def snippets(where: Path, text: str, kind: str, name: str = "web", prefix: str = "") -> tuple[Snippet, ...]:
    """Return the snippets of a target that has this text."""
    project = make_project(where, text, name)
    return make.snippets(kind, target_of(project, name), project, prefix)


def target_of(project: Project, name: str = "web") -> Target:
    """Read a target of a project."""
    return read_target(project, name)


@contextmanager
def public_folder() -> Iterator[Path]:
    """Make a folder that every user can enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="chrootbuild-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
