"""From what is stale to the steps that publish it, in their order; nothing is changed here."""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.draft import split
from chrootbuild.errors import Failure
from chrootbuild.fresh import Comparison, inspect
from chrootbuild.record import Installed
from chrootbuild.root import Root
from chrootbuild.stage import name_of, privileged

__all__ = ["Operation", "arrange"]

_LAST = 4  # the rank of directories from which things are only removed
_EXCHANGE_FROM = 2  # changes in one directory; a single rename is a moment by itself


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a publish: directory, put, exchange, pause, unlink or rmdir.

    ``name`` is what is staged and ``ino`` its inode: once that is not in the stage any more,
    the step was done. Of what is removed ``ino`` and ``ctime`` (ns) are what was seen: another
    thing in its place stays. ``ours`` are the paths that a replaced directory held when it was
    looked at: what else turns up in it is the daemon's.
    """

    kind: str
    path: str
    name: str = ""
    ino: int = 0
    ctime: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    ours: tuple[str, ...] = ()
    # exchange: (path, staged name, "/" a directory, "" what is there)
    content: tuple[tuple[str, str], ...] = ()


def arrange(
    root: Root,
    comparison: Comparison,
    staged: Mapping[str, Installed],
    *,
    whole: bool,
    mounts: Collection[str] = (),
) -> list[Operation]:
    """Return the steps: directories, libraries, links, data, programs, and what goes at the end.

    ``whole`` says that directories can be exchanged as a whole, but those with one of
    ``mounts`` in them. Raises Failure where something foreign stands in the way.
    """
    stale = comparison.stale
    removed = {path for path, change in stale.items() if change.artifact is None}
    gone_with: set[str] = set()  # directories that a put replaces, and all of ours in them
    directories: list[Operation] = []
    puts: list[Operation] = []
    for path, change in stale.items():
        artifact = change.artifact
        if artifact is None or path not in staged:
            continue
        kind = "directory" if artifact.kind is Kind.DIRECTORY else "put"
        info = root.lstat(path)
        ours: list[str] = []
        if kind == "put" and info is not None and stat.S_ISDIR(info.st_mode):
            ours = _all_ours(root, path, removed, comparison)
            gone_with.update(ours)
        op = Operation(
            kind, path, name_of(path), 0, 0, artifact.mode, artifact.uid, artifact.gid, tuple(ours)
        )
        (directories if kind == "directory" else puts).append(op)
    removes = [path for path in removed if path not in gone_with]
    exchanges = _exchanges(root, comparison, puts, removes, mounts) if whole else []
    within = tuple(f"{op.path}/" for op in exchanges)
    puts = [op for op in puts if not op.path.startswith(within)] if within else puts
    removes = [path for path in removes if not path.startswith(within)] if within else removes
    directories = [op for op in directories if not (within and op.path.startswith(within))]
    ranks = {op.path: _rank(comparison, op) for op in (*puts, *exchanges)}
    moved = sorted([*puts, *exchanges], key=lambda op: (ranks[op.path], op.path))
    first = [op for op in moved if ranks[op.path] < _LAST]
    last = [*(op for op in moved if ranks[op.path] == _LAST), *_removes(root, comparison, removes)]
    if last and any(ranks[op.path] in (0, 3) for op in first):
        # A program that is just being started was exec'd before the renames, and loads its libraries now.
        first.append(Operation("pause", last[0].path))
    steps = [*sorted(directories, key=lambda op: op.path), *first, *last]
    return steps if privileged() else _unlocked(comparison, steps)


def _rank(comparison: Comparison, op: Operation) -> int:
    """Return when a step is due: libraries and directories first, then links, data, programs."""
    if op.kind == "exchange":
        ranks = {_rank_of(comparison, path) for path, name in op.content if name not in ("", "/")}
        return 0 if 0 in ranks else max(ranks, default=_LAST)
    return _rank_of(comparison, op.path)


def _rank_of(comparison: Comparison, path: str) -> int:
    artifact = comparison.changes[path].artifact
    if artifact is None or artifact.kind is Kind.DIRECTORY or artifact.elf == "library":
        return 0
    if artifact.kind is Kind.LINK:
        return 1
    return 3 if artifact.elf == "program" else 2


def _unlocked(comparison: Comparison, steps: list[Operation]) -> list[Operation]:
    """Open directories that forbid writing to their owner, and close them at the end: root needs none of it."""
    own = {op.path: op for op in steps if op.kind == "directory"}
    closed: dict[str, Operation] = {}
    for path in {*own, *(split(op.path)[0] for op in steps)}:
        change = comparison.changes.get(path)
        if change is not None and change.artifact is not None and change.artifact.mode & 0o300 != 0o300:
            made = change.artifact
            closed[path] = Operation("directory", path, name_of(path), 0, 0, made.mode, made.uid, made.gid)
    opened = {path: replace(op, mode=op.mode | 0o700) for path, op in closed.items()}
    first = [op for path, op in sorted(opened.items()) if path not in own]
    steps = [opened.get(op.path, op) if op.kind == "directory" else op for op in steps]
    return [*first, *steps, *(op for _, op in sorted(closed.items(), reverse=True))]


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
    files: list[Operation] = []
    directories: list[Operation] = []
    for path in sorted(paths, key=lambda path: (split(path)[0], path)):
        info = root.lstat(path)
        if info is None:
            continue
        is_directory = comparison.known[path].kind == Kind.DIRECTORY
        op = Operation("rmdir" if is_directory else "unlink", path, "", info.st_ino, info.st_ctime_ns)
        (directories if is_directory else files).append(op)
    return files + sorted(directories, key=lambda op: op.path, reverse=True)


# -- whole directories ---------------------------------------------------------------------


def _exchanges(
    root: Root,
    comparison: Comparison,
    puts: list[Operation],
    removes: list[str],
    mounts: Collection[str],
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
        if any(mount.startswith(f"{directory}/") for mount in mounts):
            continue  # it would go away with the old directory
        content = (
            _content(root, comparison, directory, names) if _ours_above(comparison, directory) else None
        )
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
                    0,
                    artifact.mode,
                    artifact.uid,
                    artifact.gid,
                    tuple(ours),
                    tuple(content),
                )
            )
    return chosen


def _ours_above(comparison: Comparison, directory: str) -> bool:
    """Tell whether nobody but us can put another directory in the place of one."""
    while directory != "/":
        change = comparison.changes.get(directory)
        if change is None or change.artifact is None or not _only_ours(change.artifact):
            return False
        directory = split(directory)[0]
    return True


def _only_ours(artifact: Artifact) -> bool:
    if privileged():
        return artifact.uid == 0 and not artifact.mode & 0o022
    # Who may not write in it cannot rename it either.
    return artifact.mode & 0o300 == 0o300 and not artifact.mode & 0o022


def _content(
    root: Root, comparison: Comparison, directory: str, names: Mapping[str, str]
) -> list[tuple[str, str]] | None:
    """Return what a directory will hold, recursively; None where it is not wholly ours.

    Wholly ours: nobody but us may write in it, and there is nothing in it
    that we did not install. It must be in the root as planned already.
    """
    change = comparison.changes.get(directory)
    if change is None or change.artifact is None or change.action != "keep":
        return None
    if not _only_ours(change.artifact) or change.artifact.open:
        return None
    children = comparison.children.get(directory, ())
    if not set(children).issuperset(f"{directory}/{name}" for name in root.listdir(directory)):
        return None
    content: list[tuple[str, str]] = []
    for path in sorted(children):
        child = comparison.changes[path]
        if child.artifact is None:
            # Something of ours that goes; not what stays because it was changed, and no directory.
            if child.action == "keep" or comparison.known[path].kind == Kind.DIRECTORY:
                return None
        elif child.artifact.kind is Kind.DIRECTORY:
            deeper = _content(root, comparison, path, names)
            if deeper is None:
                return None
            content += [(path, "/"), *deeper]
        elif path in names:
            content.append((path, names[path]))
        elif child.action == "keep":
            content.append((path, ""))
        else:
            return None  # stale, and not part of this publish
    return content
