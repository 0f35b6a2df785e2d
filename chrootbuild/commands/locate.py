"""chrootbuild locate: find a file in a sysroot, and the package that owns it."""

from __future__ import annotations

import argparse
import json
import os
import stat
import subprocess

from chrootbuild.commands import Context
from chrootbuild.errors import Failure
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.packages import Owned, named, owner_of
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.programs import find_program
from chrootbuild.target.reader import read_target
from chrootbuild.text import printable

# Directories of files that no package lists: made by hand, or by another installer.
_PLACES = (
    "/usr/local",
    "/opt",
    "/etc",
    *(f"/usr/{name}" for name in ("lib", "lib64", "libexec", "bin", "sbin", "share")),
)
_MANY = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="a file's name, a part of it, or a whole path")
    parser.add_argument("-t", "--target", help="look in this target's sysroot; default: this machine")


def run(context: Context, args: argparse.Namespace) -> int:
    """Print each path with its package; exit 1 for none."""
    top = read_target(context.project, args.target).sysroot if args.target else "/"
    sysroot = Sysroot(top)
    found = _whole(sysroot, args.name) if "/" in args.name else _by_name(sysroot, args.name)
    if not found:
        raise Failure(
            f"cannot find {args.name} in {sysroot.sysroot}",
            hint="a package that is not installed may have it: apt-file search, dnf provides, pacman -F, pkg provides",
        )
    for owned in found[:_MANY]:
        context.say(f"{printable(owned.path)}  {owned.package or 'of no package'}")
    if len(found) > _MANY:
        context.say(f"{len(found) - _MANY} more; give more of the name")
    context.say(f"hint: in the target file: {_line(sysroot, found[0].path)}")
    return 0


def _line(sysroot: Sysroot, path: str) -> str:
    """Return the target file line that brings a path into a root."""
    if sysroot.isdir(path):
        return f"files = {json.dumps([path + '/'])}"
    kind = Resolver(sysroot).classify(path) if sysroot.isfile(path) else ""
    key = {"library": "libraries", "": "files"}.get(kind, "binaries")
    return f"{key} = {json.dumps([path])}"


def _whole(sysroot: Sysroot, path: str) -> list[Owned]:
    path = os.path.normpath("/" + path.lstrip("/"))
    if sysroot.lstat(path) is None:
        return []
    return [
        Owned(
            path,
            owner_of(sysroot, path)
            or owner_of(sysroot, sysroot.canonical(path) if sysroot.exists(path) else path),
        )
    ]


def _by_name(sysroot: Sysroot, name: str) -> list[Owned]:
    found = [owned for owned in named(sysroot, name) if sysroot.lstat(owned.path) is not None]
    if found:
        return found
    paths = _plocate(name) if sysroot.sysroot == "/" else None
    return [Owned(path, "") for path in (_walk(sysroot, name) if paths is None else paths)]


def _plocate(name: str) -> list[str] | None:
    """Search with plocate(1) or locate(1), which index every file; None without an index."""
    program = find_program("plocate") or find_program("locate")
    if program is None:
        return None
    done = subprocess.run([program, "-b", "-e", name], capture_output=True, check=False)
    return [os.fsdecode(line) for line in done.stdout.splitlines()] if done.stdout else None


def _walk(sysroot: Sysroot, name: str) -> list[str]:
    exact: list[str] = []
    partly: list[str] = []
    for place in _PLACES:
        if not sysroot.isdir(place) or sysroot.canonical(place) != place:
            continue
        for path, info in sysroot.walk(place):
            leaf = path.rpartition("/")[2]
            if stat.S_ISDIR(info.st_mode) or name not in leaf:
                continue
            (exact if leaf == name else partly).append(path)
    return sorted(set(exact or partly))
