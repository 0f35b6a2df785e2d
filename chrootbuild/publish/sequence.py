"""Schedule of a publish: the stale paths as steps in their order; nothing is changed here."""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping
from dataclasses import replace

from chrootbuild.artifact import Kind
from chrootbuild.compare.change import Comparison
from chrootbuild.compare.drift import inspect
from chrootbuild.errors import Failure
from chrootbuild.paths import split
from chrootbuild.publish.order import Phase, end_of, is_executable, phase_of, phase_of_exchange
from chrootbuild.publish.step import Operation
from chrootbuild.publish.swap_choice import exchanges
from chrootbuild.root.stage import name_of
from chrootbuild.root.tree import Root
from chrootbuild.state.record import Installed
from chrootbuild.system.rights.user import privileged


def arrange(
    root: Root,
    comparison: Comparison,
    staged: Mapping[str, Installed],
    *,
    whole: bool,
    mounts: Collection[str] = (),
) -> list[Operation]:
    """Return the steps: directories, new paths, libraries, links, data, programs, removals last.

    ``whole``: directories can be swapped as a whole, but those with one of
    ``mounts`` in them. Raises Failure where something foreign stands in the way.
    """
    stale = comparison.stale
    removed = {path for path, change in stale.items() if change.artifact is None}
    gone_with: set[str] = set()  # directories that a put replaces, and our paths in them
    directories: list[Operation] = []
    puts: dict[str, Operation] = {}
    phases: dict[str, Phase] = {}
    for path, change in stale.items():
        artifact = change.artifact
        if artifact is None or path not in staged:
            continue
        info = root.lstat(path)
        op = Operation("put", path, name_of(path), mode=artifact.mode, uid=artifact.uid, gid=artifact.gid)
        if artifact.kind is Kind.DIRECTORY:
            directories.append(replace(op, kind="directory"))
            continue
        there = "" if info is None else "directory" if stat.S_ISDIR(info.st_mode) else "file"
        if there == "directory":
            op = replace(op, ours=tuple(_all_ours(root, path, removed, comparison)))
            gone_with.update(op.ours)
        puts[path], phases[path] = op, phase_of(comparison, artifact, there)
    removes = [path for path in removed if path not in gone_with]
    late = _programs_change(comparison)
    names = {path: op.name for path, op in puts.items()}
    wholes = exchanges(root, comparison, names, removes, mounts, late=late) if whole else []
    wholes = _without_second_mixed(wholes, phases)
    within = {path for op in wholes for path in op.staged}
    going = {path for op in wholes for path in op.ours} - {path for op in wholes for path in op.linked}
    alone = [op for path, op in puts.items() if path not in within]
    together = [*alone, *wholes]
    moved = _in_order(root, comparison, _with_ahead(together, puts, phases) if late else together, phases)
    first = [op for due, op in moved if due is not Phase.LAST]
    last = [op for due, op in moved if due is Phase.LAST]
    last += _removes(root, comparison, [path for path in removes if path not in going])
    if first and last and late:
        # A program that is just being started was exec'd before the renames, and loads its libraries now.
        first.append(Operation("pause", last[0].path))
    steps = [*sorted(directories, key=lambda op: op.path), *first, *last]
    return steps if privileged() else _unlocked(comparison, steps)


def _programs_change(comparison: Comparison) -> bool:
    """Return whether a program started during the publish may need a path that is removed."""
    for path, change in comparison.stale.items():
        if change.artifact is not None:
            if is_executable(change.artifact):
                return True
            continue
        if ".so" in path or _was_program(path, comparison.known[path]):
            return True
    return False


def _was_program(path: str, entry: Installed) -> bool:
    return entry.kind not in (Kind.DIRECTORY, Kind.LINK) and bool(entry.mode & 0o111) and ".so" not in path


def _without_second_mixed(found: list[Operation], phases: Mapping[str, Phase]) -> list[Operation]:
    """Leave out all but one directory with programs: they may need new files of the others."""
    mixed = [op for op in found if phase_of_exchange(op, phases) is Phase.PROGRAMS][1:]
    return [op for op in found if op not in mixed]


def _with_ahead(
    moved: list[Operation], puts: Mapping[str, Operation], phases: Mapping[str, Phase]
) -> list[Operation]:
    """Return the puts and swaps, and early puts of new libraries in a directory that is swapped late.

    A path replaced before that directory may need them.
    """
    due = {op.path: _due(op, phases) for op in moved}
    found: list[Operation] = []
    for op in moved:
        others = [phase for path, phase in due.items() if path != op.path] if op.kind == "exchange" else []
        if any(Phase.NEW_LINK < phase <= due[op.path] for phase in others):
            new = [path for path in op.staged if phases[path] in (Phase.NEW_LIBRARY, Phase.NEW_LINK)]
            found += [puts[path] for path in new]
            op = replace(op, ahead=frozenset(new))
        found.append(op)
    return found


def _due(op: Operation, phases: Mapping[str, Phase]) -> Phase:
    return phases[op.path] if op.kind == "put" else phase_of_exchange(op, phases)


def _in_order(
    root: Root, comparison: Comparison, moved: list[Operation], phases: Mapping[str, Phase]
) -> list[tuple[Phase, Operation]]:
    """Return the puts and swaps with their phases, in order."""
    place = {path: op for op in moved for path in op.staged if path not in op.ahead}
    keys: list[tuple[Phase, int, str, Operation]] = []
    for op in moved:
        due, behind = _due(op, phases), 0
        end = end_of(comparison, op.path) if place and op.kind == "put" else ""
        if end in place and root.lstat(end) is None:
            # Else the link would dangle for a moment.
            due, behind = max((due, 0), (_due(place[end], phases), 1))
        keys.append((due, behind, op.path, op))
    return [(due, op) for due, _, _, op in sorted(keys, key=lambda key: key[:3])]


def _unlocked(comparison: Comparison, steps: list[Operation]) -> list[Operation]:
    """Add u+w to directories that lack it, and restore their mode at the end; root needs none of it."""
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
    """Return all paths in a directory to remove; raises Failure where something foreign is in it."""
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
    """Return the removals of paths: programs before the libraries that they need, directories last."""
    files: list[Operation] = []
    directories: list[Operation] = []
    known = comparison.known
    for path in sorted(paths, key=lambda path: (not _was_program(path, known[path]), split(path)[0], path)):
        info = root.lstat(path)
        if info is None:
            continue
        is_directory = comparison.known[path].kind == Kind.DIRECTORY
        op = Operation("rmdir" if is_directory else "unlink", path, "", info.st_ino, info.st_ctime_ns)
        (directories if is_directory else files).append(op)
    return files + sorted(directories, key=lambda op: op.path, reverse=True)
