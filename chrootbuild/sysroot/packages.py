"""Packages that own files: from the databases of dpkg, apk and pacman, read as text; for / also from rpm(8).

No program of a sysroot is run for it, and no database written.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.programs import find_program

_DPKG = "/var/lib/dpkg/info"
_APK = "/lib/apk/db/installed"
_PACMAN = "/var/lib/pacman/local"
# usr-merge: packages still list files under the old names.
_MERGED = ("/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/")


@dataclass(frozen=True, slots=True)
class Owned:
    """A file and the package that owns it."""

    path: str  # as the package lists it
    package: str


def _lists(sysroot: Sysroot) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield every installed package and the paths of its files."""
    yield from _dpkg(sysroot)
    yield from _apk(sysroot)
    yield from _pacman(sysroot)


def _text(sysroot: Sysroot, path: str) -> str:
    return sysroot.content(path).decode("utf-8", "surrogateescape")


def _dpkg(sysroot: Sysroot) -> Iterator[tuple[str, Iterable[str]]]:
    """deb(5), dpkg(1): info/PACKAGE[:ARCH].list has a path a line."""
    if not sysroot.isdir(_DPKG):
        return
    for name in sysroot.listdir(_DPKG):
        if name.endswith(".list"):
            yield name[:-5], _text(sysroot, f"{_DPKG}/{name}").splitlines()
        elif name.endswith(".conffiles"):
            yield name[:-10], _text(sysroot, f"{_DPKG}/{name}").splitlines()


def _apk(sysroot: Sysroot) -> Iterator[tuple[str, Iterable[str]]]:
    """apk-installed: P: a package, F: a directory, R: a file in it."""
    if not sysroot.isfile(_APK):
        return
    package, directory = "", ""
    paths: list[str] = []
    for line in [*_text(sysroot, _APK).splitlines(), ""]:
        if line.startswith("P:"):
            package = line[2:]
        elif line.startswith("F:"):
            directory = line[2:]
        elif line.startswith("R:"):
            paths.append(f"/{directory}/{line[2:]}" if directory else f"/{line[2:]}")
        elif not line and package:
            yield package, paths
            package, directory, paths = "", "", []


def _pacman(sysroot: Sysroot) -> Iterator[tuple[str, Iterable[str]]]:
    """alpm: local/NAME-VERSION-RELEASE/files has paths without the leading slash."""
    if not sysroot.isdir(_PACMAN):
        return
    for name in sysroot.listdir(_PACMAN):
        text = _text(sysroot, f"{_PACMAN}/{name}/files")
        yield name.rsplit("-", 2)[0], [f"/{line}" for line in text.splitlines() if not line.startswith("%")]


def _spellings(path: str) -> set[str]:
    """Return the spellings under which packages may list a path on a merged /usr."""
    found = {path}
    if path.startswith("/usr") and path[4:].startswith(_MERGED):
        found.add(path[4:])
    elif path.startswith(_MERGED):
        found.add("/usr" + path)
    return found


def owner_of(sysroot: Sysroot, path: str) -> str:
    """Return the package that owns a path of the sysroot; empty where none does."""
    wanted = _spellings(path)
    for package, paths in _lists(sysroot):
        if not wanted.isdisjoint(paths):
            return package
    if sysroot.sysroot == "/" and (rpm := find_program("rpm")):
        argv = [rpm, "-qf", "--qf", "%{NAME}\n", "--", path]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.stdout.split("\n")[0] if done.returncode == 0 else ""
    return ""


def named(sysroot: Sysroot, name: str) -> list[Owned]:
    """Return the installed files named ``name``; without any, those whose name contains it."""
    exact: list[Owned] = []
    partly: list[Owned] = []
    for package, paths in _lists(sysroot):
        for path in paths:
            leaf = path.rpartition("/")[2]
            if leaf == name:
                exact.append(Owned(path, package))
            elif name in leaf:
                partly.append(Owned(path, package))
    return sorted(set(exact or partly), key=lambda owned: (owned.path, owned.package))


def files_of(sysroot: Sysroot, package: str) -> list[str]:
    """Return the paths that an installed package lists."""
    found: set[str] = set()
    for name, paths in _lists(sysroot):
        if name == package or name.partition(":")[0] == package:
            found.update(paths)
    return sorted(found)
