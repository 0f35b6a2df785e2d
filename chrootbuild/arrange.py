"""From what is stale to the steps that publish it, in their order; nothing is changed here."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from chrootbuild.artifact import Kind
from chrootbuild.draft import split
from chrootbuild.errors import Failure
from chrootbuild.fresh import Comparison, inspect
from chrootbuild.record import Installed
from chrootbuild.root import Root
from chrootbuild.stage import name_of, privileged

__all__ = ["Operation", "arrange"]

_EXCHANGE_FROM = 2  # changes in one directory; a single rename is a moment by itself


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a publish: directory, put, exchange, unlink or rmdir.

    ``name`` is what is staged and ``ino`` its inode: once that is not in the stage
    any more, the step was done. ``ours`` are the paths that an exchanged directory
    held when it was looked at: what else turns up in it is the daemon's.
    """

    kind: str
    path: str
    name: str = ""
    ino: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    ours: tuple[str, ...] = ()
    content: tuple[
        tuple[str, str], ...
    ] = ()  # exchange: (path, staged name, "/" a directory, "" what is there)


def arrange(
    root: Root, comparison: Comparison, staged: Mapping[str, Installed], *, whole: bool
) -> list[Operation]:
    """Return the steps: directories, libraries, links, data, programs, and what goes at the end.

    ``whole`` says that directories can be exchanged as a whole. Raises Failure where something foreign stands in the way.
    """
    stale = comparison.stale
    removed = {path for path, change in stale.items() if change.artifact is None}
    gone_with: set[str] = set()  # directories that a put replaces, and all of ours in them
    directories, puts = [], []
    for path, change in stale.items():
        artifact = change.artifact
        if artifact is None or path not in staged:
            continue
        kind = "directory" if artifact.kind is Kind.DIRECTORY else "put"
        op = Operation(kind, path, name_of(path), 0, artifact.mode, artifact.uid, artifact.gid)
        (directories if kind == "directory" else puts).append(op)
        info = root.lstat(path)
        if kind == "put" and info is not None and stat.S_ISDIR(info.st_mode):
            gone_with.update(_all_ours(root, path, removed, comparison))
    removes = [path for path in removed if path not in gone_with]
    exchanges = _exchanges(root, comparison, puts, removes) if whole else []
    within = tuple(f"{op.path}/" for op in exchanges)
    puts = [op for op in puts if not op.path.startswith(within)] if within else puts
    removes = [path for path in removes if not path.startswith(within)] if within else removes
    directories = [op for op in directories if not (within and op.path.startswith(within))]
    order = {path: _rank(comparison, path) for path in stale}
    moved = sorted([*puts, *exchanges], key=lambda op: (order.get(op.path, 0), op.path))
    return [*sorted(directories, key=lambda op: op.path), *moved, *_removes(root, comparison, removes)]


def _rank(comparison: Comparison, path: str) -> int:
    artifact = comparison.changes[path].artifact
    if artifact is None or artifact.kind is Kind.DIRECTORY:
        return 0
    if artifact.elf == "library":
        return 0
    if artifact.kind is Kind.LINK:
        return 1
    return 3 if artifact.elf == "program" else 2


def _all_ours(root: Root, top: str, removed: set[str], comparison: Comparison) -> list[str]:
    """Return everything in a directory that has to go; raises Failure where something foreign is in it."""
    found = [top]
    for path, info in root.walk(top):
        entry = comparison.known.get(path)
        ours = path in removed and entry is not None and info.st_dev == root.dev
        if not ours or (entry and inspect(root, path, entry, info)):
            raise Failure(
                f"cannot install {root.real(top)}: a directory is there, and {root.real(path)} in it is not ours",
                hint="move it away, then build again",
            )
        found.append(path)
    return found


def _removes(root: Root, comparison: Comparison, paths: list[str]) -> list[Operation]:
    files, directories = [], []
    for path in paths:
        is_directory = comparison.known[path].kind == Kind.DIRECTORY
        (directories if is_directory else files).append(path)
    files.sort(key=lambda path: (split(path)[0], path))
    unlinks = [Operation("unlink", path) for path in files]
    return unlinks + [Operation("rmdir", path) for path in sorted(directories, reverse=True)]


# -- whole directories ---------------------------------------------------------------------


def _exchanges(
    root: Root, comparison: Comparison, puts: list[Operation], removes: list[str]
) -> list[Operation]:
    """Return an exchange for each directory that is wholly ours and in which several things change."""
    count: dict[str, int] = defaultdict(int)
    for path in [*(op.path for op in puts), *removes]:
        count[split(path)[0]] += 1
    names = {op.path: op.name for op in puts}
    chosen: list[Operation] = []
    for directory in sorted(count):
        if count[directory] < _EXCHANGE_FROM or directory == "/":
            continue
        if any(directory.startswith(f"{op.path}/") for op in chosen):
            continue
        content = _content(root, comparison, directory, names)
        if content is not None:
            artifact = comparison.changes[directory].artifact
            assert artifact is not None
            ours = [path for path, _ in content]
            ours += [path for path in removes if path.startswith(f"{directory}/")]
            chosen.append(
                Operation(
                    "exchange",
                    directory,
                    f"{name_of(directory)}.new",
                    0,
                    artifact.mode,
                    artifact.uid,
                    artifact.gid,
                    tuple(ours),
                    tuple(content),
                )
            )
    return chosen


def _content(
    root: Root, comparison: Comparison, directory: str, names: Mapping[str, str]
) -> list[tuple[str, str]] | None:
    """Return what a directory will hold, recursively; None where it is not wholly ours.

    Wholly ours: nobody but us may write in it, and there is nothing in it
    that we did not install. It must be in the root as planned already.
    """
    change = comparison.changes.get(directory)
    info = root.lstat(directory)
    if change is None or change.artifact is None or change.action != "keep" or info is None:
        return None
    owner = 0 if privileged() else None
    if change.artifact.mode & 0o022 or (owner == 0 and change.artifact.uid != 0) or info.st_dev != root.dev:
        return None
    children = comparison.children.get(directory, ())
    planned = {path for path in children if comparison.changes[path].artifact is not None}
    content: list[tuple[str, str]] = []
    for name in root.listdir(directory):
        path = f"{directory}/{name}"
        if path not in planned and path not in children:
            return None
    for path in sorted(planned):
        artifact = comparison.changes[path].artifact
        assert artifact is not None
        if artifact.kind is Kind.DIRECTORY:
            deeper = _content(root, comparison, path, names)
            if deeper is None:
                return None
            content += [(path, "/"), *deeper]
        elif path in names:
            content.append((path, names[path]))
        elif comparison.changes[path].action == "keep":
            content.append((path, ""))
        else:
            return None  # stale, and not part of this publish
    return content
