"""The plan under construction: canonical places in the root, and the artifacts there.

A place in the root is canonical against the sysroot and the target's own
links: every link met on the way becomes an artifact of its own (law 3).
"""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from chrootbuild.artifact import Artifact, Kind, Origin, Reason, Skipped
from chrootbuild.errors import TargetError
from chrootbuild.paths import MAX_LINKS, LinkLoopError, join, split, walk
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot

_ENOUGH = 8  # reasons kept of a link that half of the root is reached through

# Ranks where two keys describe one path, lowest first: a file of a closure or tree, one of an
# entry with an owner or mode, one that a key names, one that the target file declares
# ([text], [links], ...).
FOUND, DESCRIBED, NAMED, DECLARED = range(4)


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    links: tuple[str, ...]  # canonical paths of the links met on the way, all artifacts by now


class PlanBuilder:
    """Collects artifacts and the reasons for them; read with ``artifacts`` and ``reasons``."""

    def __init__(self, sysroot: Sysroot, target: str = "") -> None:
        self.sysroot = sysroot
        self._target = target  # as an Origin names the target file, which overrides its includes
        self.artifacts: dict[str, Artifact] = {}
        self.reasons: dict[str, dict[Reason, None]] = {}  # an ordered set
        self.skipped: dict[str, str] = {}
        self.warnings: dict[str, None] = {}
        self._rank: dict[str, int] = {}
        self._origin: dict[str, Origin] = {}
        self._parents: dict[str, _Place] = {"/": _Place("/", ())}
        self._overlay: dict[str, str | None] = {}  # declared: a link's text, None for no link

    # -- places ----------------------------------------------------------------------------

    def declare(self, declared: Mapping[str, str | None]) -> None:
        """Take the target's own paths: path -> a link's text, None for anything but a link.

        Repeated to a fixed point: a declared link may lie behind another one.
        """
        known: dict[str, str | None] | None = None
        for _ in range(MAX_LINKS):
            known = dict(self._overlay)
            found: dict[str, str | None] = {}
            for path in sorted(declared):  # parents first
                parent, name = split(path)
                found[join(self._walk(parent, None).path, name)] = declared[path]
                self._overlay = {**known, **found}
            self._overlay = found
            if found == known:
                break
        self._parents = {"/": _Place("/", ())}

    def place(self, path: str, reason: Reason, *, follow: bool = True) -> str:
        """Return the canonical path of ``path`` in the root; its links become artifacts.

        With ``follow=False`` a link at the path itself is not followed: its own
        place is returned. ``reason`` is added to the links on the way.
        """
        parent, name = split(path)
        place = self._parent(parent, reason)
        if not name:
            return "/"
        self._note_links(place.links, reason)
        where = join(place.path, name)
        if not follow or self._link_text(where) is None:
            return where
        walked = self._walk(path, reason)
        self._note_links(walked.links, reason)
        return walked.path

    def where(self, path: str) -> str:
        """Return the canonical path of a path already placed, for no new reason."""
        parent, name = split(path)
        known = self._parents.get(parent)
        if known is None or self._link_text(join(known.path, name)) is not None:
            return self._walk(path, None).path
        return join(known.path, name)

    def _note_links(self, links: Iterable[str], reason: Reason) -> None:
        for link in links:
            reasons = self.reasons[link]
            if len(reasons) < _ENOUGH:
                reasons.setdefault(reason)

    def _parent(self, path: str, reason: Reason) -> _Place:
        place = self._parents.get(path)
        if place is None:
            above, name = split(path)
            known = self._parents.get(above)
            where = join(known.path, name) if known is not None else ""
            if known is not None and name not in ("", ".", "..") and self._link_text(where) is None:
                place = _Place(where, known.links)  # a tree is walked downwards: start from its parent
            else:
                place = self._walk(path, reason)
            self._parents[path] = place
        return place

    def _link_text(self, where: str) -> str | None:
        """Return the text of the link at a canonical path, None where there is none."""
        if where in self._overlay:
            return self._overlay[where]
        info = self.sysroot.lstat(where)
        if info is None or not stat.S_ISLNK(info.st_mode):
            return None
        return self.sysroot.readlink(where)

    def _walk(self, path: str, reason: Reason | None) -> _Place:
        links: dict[str, None] = {}

        def readlink(where: str) -> str | None:
            text = self._link_text(where)
            if text is not None:
                links[where] = None
                if reason is not None:
                    self._add_link(where, text, reason)
            return text

        try:
            return _Place(walk(path, readlink), tuple(links))
        except LinkLoopError as loop:
            raise Unreadable(path, errno.ELOOP, hint=f"{loop.filename} leads back to itself") from None

    def _add_link(self, where: str, text: str, reason: Reason) -> None:
        if where in self._overlay:
            # A declared link is added under its own key; here it only gets one more reason.
            self.reasons.setdefault(where, {}).setdefault(reason)
            return
        source = self.sysroot.real(where)
        self.add(Artifact(where, Kind.LINK, source=source, sources=(source,), link=text), reason)

    # -- artifacts -------------------------------------------------------------------------

    def add(
        self, artifact: Artifact, reason: Reason, *, rank: int = FOUND, origin: Origin | None = None
    ) -> None:
        """Put an artifact at its path; raises TargetError where it conflicts with another one.

        The higher rank wins; equal ones must agree. The reason is kept either way.
        """
        path = artifact.path
        known = self.artifacts.get(path)
        if known is None or rank > self._rank[path]:
            self.artifacts[path] = artifact
            self._rank[path] = rank
            if origin is not None:
                self._origin[path] = origin
        elif known != artifact and rank == self._rank[path]:
            self.artifacts[path] = self._agree(known, artifact, origin)
        self.reasons.setdefault(path, {}).setdefault(reason)

    def rank(self, path: str) -> int:
        """Return the rank of the artifact at a canonical path; -1 where there is none."""
        return self._rank.get(path, -1)

    def note(self, path: str, reason: Reason) -> None:
        """Add a reason to an existing artifact."""
        self.reasons.setdefault(path, {}).setdefault(reason)

    def _agree(self, known: Artifact, other: Artifact, origin: Origin | None) -> Artifact:
        """Return the one artifact that two keys of equal rank mean, or raise TargetError."""
        rank, before = self._rank[known.path], self._origin.get(known.path)
        if known.kind is Kind.DIRECTORY and other.kind is Kind.DIRECTORY:
            if known.implied or other.implied:
                return known if other.implied else other
            if rank < DECLARED or _looks(known) == _looks(other):
                return known._replace(open=known.open or other.open)
        elif known.kind is Kind.FILE and other.kind is Kind.FILE and known.source == other.source:
            if rank < NAMED:
                return known
        elif known.kind is Kind.LINK and other.kind is Kind.LINK and known.link == other.link:
            return known
        if before is not None and origin is not None and before.file != origin.file:
            # Two names of one path: the target file overrides its includes, as for one name.
            if before.file == self._target:
                return known
            self._origin[known.path] = origin
            return other
        raise TargetError(
            f"cannot put two things at {known.path}: a {known.kind} and a {other.kind}"
            if known.kind is not other.kind
            else f"cannot put two things at {known.path}: two different ones are described",
            details=tuple(str(place) for place in (before, origin) if place is not None),
            hint="describe it once, or leave the other out with exclude",
        )

    def skip(self, path: str, reason: str) -> None:
        """Note that a path was left out on purpose."""
        self.skipped.setdefault(path, reason)

    def warn(self, text: str) -> None:
        """Add a warning."""
        self.warnings.setdefault(text)

    def skips(self) -> tuple[Skipped, ...]:
        """Return the excluded paths, sorted."""
        return tuple(Skipped(path, reason) for path, reason in sorted(self.skipped.items()))

    def imply_parents(self, *others: str) -> None:
        """Add the parents of all artifacts and of ``others`` that no key describes: root's, 0755."""
        for path in sorted([*self.artifacts, *others]):
            below = path
            while (parent := split(below)[0]) != "/":
                implied = Artifact(parent, Kind.DIRECTORY, 0o755, implied=True)
                known = self.artifacts.get(parent)
                if known is not None:
                    if known.kind is not Kind.DIRECTORY:
                        self._agree(known, implied, None)
                    break
                self.add(implied, Reason("lies in it", below))
                below = parent


def _looks(directory: Artifact) -> tuple[int, int, int]:
    return directory.mode, directory.uid, directory.gid


@contextlib.contextmanager
def blame(origin: Origin) -> Iterator[None]:
    """Turn errors about the sysroot into ones that name the target file's entry ``origin``."""
    try:
        yield
    except Unreadable as error:
        raise TargetError(f"{error.message} ({origin})", hint=error.hint) from None
