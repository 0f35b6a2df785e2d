"""Marks that say what a test needs; CHROOTBUILD_MUST_RUN=root,cc,... turns a skip into a failure."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def _namespaces() -> bool:
    argv = ["unshare", "--mount", "--pid", "--net", "--fork", "true"]
    return shutil.which("unshare") is not None and subprocess.run(argv, capture_output=True).returncode == 0


def _package(name: str) -> bool:
    argv = ["dpkg-query", "-W", "-f=${db:Status-Status}", name]
    if shutil.which("dpkg-query") is None:
        return False
    return subprocess.run(argv, capture_output=True, text=True).stdout == "installed"


@functools.cache
def _within_reach() -> bool:
    """Tell whether an ordinary user can run this Python and read this checkout."""
    if os.getuid() != 0:
        return True
    top, argv = Path(__file__).parent.parent, [sys.executable, "-c", "import chrootbuild.enter.enter"]
    try:
        done = subprocess.run(argv, user=65534, group=65534, extra_groups=[], cwd=top, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "root": (lambda: os.getuid() == 0, "needs to run as root"),
    "cc": (lambda: shutil.which("cc") is not None, "needs a C compiler"),
    "nobody": (_within_reach, "needs Python and the checkout to be within reach of an ordinary user"),
    "npm": (lambda: shutil.which("npm") is not None, "needs npm"),
    "strace": (lambda: shutil.which("strace") is not None, "needs strace"),
    "namespaces": (_namespaces, "needs mount, pid and network namespaces"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    must = os.environ.get("CHROOTBUILD_MUST_RUN", "").split(",")
    missing = [
        (name, reason)
        for name, (have, reason) in _NEEDS.items()
        if item.get_closest_marker(name) and not have()
    ]
    for mark in item.iter_markers("package"):
        missing += [("package", f"needs the package {name}") for name in mark.args if not _package(name)]
    for name, reason in missing:
        if name in must:
            pytest.fail(f"{reason}, and CHROOTBUILD_MUST_RUN says that it has to run")
        pytest.skip(reason)
