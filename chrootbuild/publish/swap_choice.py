"""Swaps: directories replaced as a whole, for they are wholly ours and hold several changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.compare.change import Comparison
from chrootbuild.paths import split
from chrootbuild.publish.step import Operation
from chrootbuild.root.stage import name_of
from chrootbuild.root.tree import Root
from chrootbuild.system.rights.user import privileged

_FROM = 2  # changes in one directory; a single rename is atomic by itself


def exchanges(
    root: Root,
    comparison: Comparison,
    names: Mapping[str, str],
    removes: Collection[str],
    mounts: Collection[str],
    *,
    late: bool,
) -> list[Operation]:
    """Return a swap for each such directory that has none of ``mounts`` in it.

    ``names`` are the staged paths, with their staged names. ``late``: paths to
    remove are in the new directory too, and are removed later; only directories without
    staged paths are swapped for their removals.
    """
    if not late:
        return _chosen(root, comparison, names, [*names, *removes], mounts, ())
    keeping = _chosen(root, comparison, names, names, mounts, (), keep=removes)
    rest = [path for path in removes if not any(f"{path}/".startswith(f"{op.path}/") for op in keeping)]
    busy = {above for path in names for above in _above(path)}
    return [*keeping, *_chosen(root, comparison, {}, rest, mounts, busy)]


def _above(path: str) -> Iterable[str]:
    while path != "/":
        path = split(path)[0]
        yield path


def _chosen(
    root: Root,
    comparison: Comparison,
    names: Mapping[str, str],
    counted: Iterable[str],
    mounts: Collection[str],
    barred: Collection[str],
    keep: Collection[str] = (),
) -> list[Operation]:
    """Return swaps of directories with at least _FROM of ``counted``; removed paths among ``keep`` stay in them."""
    count = Counter(split(path)[0] for path in counted)
    going = [path for path, change in comparison.stale.items() if change.artifact is None]
    chosen: list[Operation] = []
    for directory in sorted(count):
        if count[directory] < _FROM or directory == "/" or directory in barred:
            continue
        if any(directory.startswith(f"{op.path}/") for op in chosen):
            continue
        if any(mount.startswith(f"{directory}/") for mount in mounts):
            continue  # it would be removed with the old directory
        if not _ours_above(comparison, directory):
            continue
        content = _content(root, comparison, directory, names, frozenset(keep))
        if content is not None:
            artifact = comparison.changes[directory].artifact
            assert artifact is not None
            ours = {path for path, _ in content}
            ours.update(path for path in going if path.startswith(f"{directory}/"))
            chosen.append(
                Operation(
                    "exchange",
                    directory,
                    f"{name_of(directory)}.new",
                    mode=artifact.mode,
                    uid=artifact.uid,
                    gid=artifact.gid,
                    ours=tuple(sorted(ours)),
                    content=tuple(content),
                )
            )
    return chosen


def _ours_above(comparison: Comparison, directory: str) -> bool:
    """Return whether only we can replace a directory."""
    while directory != "/":
        change = comparison.changes.get(directory)
        if change is None or change.artifact is None or not _only_ours(change.artifact):
            return False
        directory = split(directory)[0]
    return True


def _only_ours(artifact: Artifact) -> bool:
    if privileged():
        return artifact.uid == 0 and not artifact.mode & 0o022
    # Without write permission in it, its owner cannot rename it either.
    return artifact.mode & 0o300 == 0o300 and not artifact.mode & 0o022


def _content(
    root: Root, comparison: Comparison, directory: str, names: Mapping[str, str], keep: Collection[str]
) -> list[tuple[str, str]] | None:
    """Return the new content of a directory, recursively; None where it is not wholly ours.

    Wholly ours: only we may write in it, and we installed everything
    in it. It must be in the root as planned already.
    """
    change = comparison.changes.get(directory)
    if change is None or change.artifact is None or change.action != "keep":
        return None
    if not _only_ours(change.artifact) or change.artifact.open:
        return None
    children = comparison.children.get(directory, ())
    there = {f"{directory}/{name}" for name in root.listdir(directory)}
    if not set(children).issuperset(there):
        return None
    content: list[tuple[str, str]] = []
    for path in sorted(children):
        child = comparison.changes[path]
        if child.artifact is None:
            # A file of ours to remove; a changed one stays, and so does a directory.
            if child.action == "keep" or comparison.known[path].kind == Kind.DIRECTORY:
                return None
            if path in keep and path in there:
                content.append((path, ""))
        elif child.artifact.kind is Kind.DIRECTORY:
            deeper = _content(root, comparison, path, names, keep)
            if deeper is None:
                return None
            content += [(path, "/"), *deeper]
        elif path in names:
            content.append((path, names[path]))
        elif child.action == "keep":
            content.append((path, ""))
        else:
            return None  # stale, but not part of this publish
    return content
