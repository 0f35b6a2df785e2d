"""Marks that say what a test needs; CHROOTBUILD_MUST_RUN=root,cc,... turns a skip into a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest


def _namespaces() -> bool:
    argv = ["unshare", "--mount", "--pid", "--net", "--fork", "true"]
    return shutil.which("unshare") is not None and subprocess.run(argv, capture_output=True).returncode == 0


def _package(name: str) -> bool:
    argv = ["dpkg-query", "-W", "-f=${db:Status-Status}", name]
    if shutil.which("dpkg-query") is None:
        return False
    return subprocess.run(argv, capture_output=True, text=True).stdout == "installed"


_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "root": (lambda: os.getuid() == 0, "needs to run as root"),
    "cc": (lambda: shutil.which("cc") is not None, "needs a C compiler"),
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
