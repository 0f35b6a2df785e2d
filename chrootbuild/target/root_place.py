"""Permitted places of a root: not in the system, the project or another root."""

from __future__ import annotations

import os
from collections.abc import Mapping

from chrootbuild.errors import TargetError
from chrootbuild.state.project import Project
from chrootbuild.target.model import Target

# No root may be or lie in these,
_WITHIN = (
    *"/bin /boot /dev /etc /lib /lib32 /lib64 /libx32 /libexec /proc /sbin /sys".split(),
    *"/usr/bin /usr/include /usr/lib /usr/lib32 /usr/lib64 /usr/libexec /usr/sbin /usr/share".split(),
)
# nor be one of these; it may lie below.
_ITSELF = (
    *("/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/usr", "/usr/local", "/var"),
    *("/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool"),
    *("/tmp", "/var/tmp"),  # noqa: S108 (nothing is written there)
)


def check_root(target: Target, project: Project) -> None:
    """Refuse a root in the place of system, sysroot or project; raises TargetError."""
    root, sysroot = _resolved(target.root), os.path.realpath(target.sysroot)
    if root == sysroot or _below(sysroot, root):
        where = "the sysroot itself" if root == sysroot else f"above the sysroot {target.sysroot}"
        raise _refuse(target, f"it is {where}")
    for place in ("/", sysroot) if sysroot != "/" else ("/",):
        _check_system(target, root, place.rstrip("/"))
    for path, words in ((project.targets, "the target files"), (project.state, "the project's state")):
        real = os.path.realpath(path)
        if root == real or _below(real, root):
            raise _refuse(target, f"it holds {words}, {path}")
        if _below(root, real):
            raise _refuse(target, f"it lies among {words}, {path}")


def _check_system(target: Target, root: str, prefix: str) -> None:
    if root == (prefix or "/"):
        raise _refuse(target, "it is the system itself")
    inside = root[len(prefix) :] if _below(root, prefix) else None
    if inside is None:
        return
    for place in _WITHIN:
        if inside == place or _below(inside, place) or _below(place, inside):
            raise _refuse(target, f"{prefix}{place} belongs to the system")
    for place in _ITSELF:
        if inside == place or _below(place, inside):
            raise _refuse(target, f"{prefix}{place} belongs to the system")


def _refuse(target: Target, fact: str) -> TargetError:
    return TargetError(
        f"cannot use {target.origin}: {target.root} cannot be a root: {fact}",
        hint=f"give it a directory of its own, such as /srv/chroot/{target.name}",
    )


def nested_roots(targets: Mapping[str, Target]) -> dict[str, TargetError]:
    """Return an error by name for every target whose root is, holds, or lies in an earlier target's."""
    failures: dict[str, TargetError] = {}
    roots: dict[str, str] = {}  # resolved root -> the target
    above: dict[str, str] = {}  # every directory above a root -> the target
    for name in sorted(targets):
        root = _resolved(targets[name].root)
        other = roots.get(root) or above.get(root)
        other = other or next((roots[path] for path in _parents(root) if path in roots), None)
        if other is None:
            roots[root] = name
            above |= dict.fromkeys(_parents(root), name)
            continue
        words = "is the same as" if root in roots else "holds" if root in above else "lies in"
        failures[name] = TargetError(
            f"cannot use {targets[name].origin}: the root {targets[name].root} of {name}"
            f" {words} that of {other}, {targets[other].root}",
            hint="give each target a root of its own, beside the other",
        )
    return failures


def _resolved(root: str) -> str:
    """Return a root with its parents' links resolved; the root itself is not followed."""
    return os.path.join(os.path.realpath(os.path.dirname(root)), os.path.basename(root))


def _below(path: str, parent: str) -> bool:
    return path.startswith(parent.rstrip("/") + "/") and path != parent


def _parents(path: str) -> list[str]:
    found = []
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return found
