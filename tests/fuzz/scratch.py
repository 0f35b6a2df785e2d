"""Where the targets put their bytes: sysroots, a project and its state, made once in a process."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from chrootbuild.artifact import Origin
from chrootbuild.root.tree import Root, read_root
from chrootbuild.state.project import Project
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target
from tests.support.trace_sysroot import ELF, sysroot

__all__ = [
    "ORIGIN",
    "a_target",
    "empty_root",
    "scratch",
    "sysroot_with",
    "the_project",
    "traced_sysroot",
    "with_state",
]

ORIGIN = Origin("targets/t.toml", "devices")


@functools.cache
def scratch() -> Path:
    folder = tempfile.mkdtemp(prefix="chrootbuild-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def folder_of(name: str) -> Path:
    folder = scratch() / name
    folder.mkdir(parents=True)
    return folder


def sysroot_with(name: str, data: bytes, paths: Iterable[str], mode: int = 0o644) -> Sysroot:
    """Write the bytes to some paths of a sysroot."""
    base = folder_of(name)
    for path in paths:
        place = f"{base}{path}"
        if not os.path.exists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT, mode))
        with open(place, "wb") as file:
            file.write(data)
    return Sysroot(str(base))


@functools.cache
def the_project() -> Project:
    base = folder_of("project")
    for name in ("targets/common", "state/installed", "root"):
        (base / name).mkdir(parents=True)
    return Project(str(base), f"{base}/state", f"{base}/build")


def with_state(name: str, data: bytes) -> Project:
    """Write the bytes to a file of the project's state folder."""
    project = the_project()
    Path(project.state, name).write_bytes(data)
    return project


@functools.cache
def empty_root() -> Root:
    root = read_root(f"{the_project().directory}/root")
    assert root is not None
    return root


def a_target() -> Target:
    return Target("t", "targets/t.toml", ORIGIN, f"{the_project().directory}/root")


@functools.cache
def traced_sysroot() -> str:
    sysroot(folder_of("traced"), {"/bin/sh": ELF, "/usr/lib/libx.so.1": ELF, "/etc/x.conf": "user = foo\n",
                                "/etc/localtime": "-> /usr/share/zoneinfo/UTC", "/usr/share/zoneinfo/UTC": None,
                                "/var/lib/x/state": None, "/run/x/": None})  # fmt: skip
    return str(folder_of("traced"))
