"""``files``: exact paths, trees and globs, with the links in them and their targets."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from chrootbuild.artifact import Artifact, Kind, Origin, Reason
from chrootbuild.errors import TargetError
from chrootbuild.paths import join, split
from chrootbuild.plan.builder import DECLARED, DESCRIBED, FOUND, NAMED, PlanBuilder, blame
from chrootbuild.plan.exclude import LeftOut
from chrootbuild.plan.programs import Gatherer, is_glob, not_there
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import FileItem

# Never added whole because a link leads to one; only where named.
_NOT_TREES = frozenset(
    (
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt"),
        *("/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/usr", "/usr/bin", "/usr/lib"),
        *("/usr/lib64", "/usr/libexec", "/usr/local", "/usr/sbin", "/usr/share", "/var", "/var/cache"),
        *("/var/lib", "/var/log", "/var/run", "/var/spool", "/tmp", "/var/tmp"),  # noqa: S108 -- names only
    )
)
_LONG = 512  # characters
_PATH_MAX = 4096  # bytes, with the NUL
SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class _Linked(NamedTuple):
    """A link to follow later: its name in the target, its place in the root, and the entry that named it."""

    path: str
    where: str
    reason: Reason
    item: FileItem
    exact: bool


@dataclass(slots=True)
class Files:
    """Adds the paths of ``files``. Link targets come last: an entry of their own overrides a link."""

    gatherer: Gatherer
    left: LeftOut
    _trees: set[str] = field(default_factory=set)
    _linked: list[_Linked] = field(default_factory=list)

    @property
    def builder(self) -> PlanBuilder:
        """The plan that artifacts are added to."""
        return self.gatherer.builder

    def bring(self, items: tuple[FileItem, ...]) -> None:
        """Add each entry: exact paths first, then trees, the deeper (more specific) ones first."""

        def order(item: FileItem) -> tuple[bool, int]:
            many = item.path.endswith("/") or is_glob(item.path)
            return many, -item.path.count("/") if many else 0

        for item in sorted(items, key=order):
            reason = Reason(f"files: {item.path}")
            path = item.path.rstrip("/")
            with blame(item.origin):
                if is_glob(path):
                    self._glob(item, reason)
                elif item.path.endswith("/"):
                    self._require(path, item.origin)
                    self._tree(path, reason, item)
                else:
                    self._require(path, item.origin)
                    if not self.left.excluded(path):
                        self._any(path, reason, item, NAMED)
        self._follow()

    def data(self, path: str, reason: Reason, origin: Origin) -> None:
        """Add one file that another key needs, with the links on the way to it."""
        self._any(path, reason, FileItem(path, origin), NAMED)
        self._follow()

    def _require(self, path: str, origin: Origin) -> None:
        try:
            if self.builder.sysroot.lstat(path) is None:
                raise Unreadable(path, errno.ENOENT)
        except Unreadable as error:
            raise not_there(path, origin, error) from None

    # -- many ------------------------------------------------------------------------------

    def _glob(self, item: FileItem, reason: Reason) -> None:
        rank = _rank(item)
        for path in self.builder.sysroot.glob(item.path.rstrip("/")):
            if self.left.excluded(path) or self.left.secret(path):
                continue
            if not item.path.endswith("/"):
                self._any(path, reason, item, rank)
            elif self.builder.sysroot.isdir(path):  # as in the shell: x*/ is directories only
                self._tree(path, reason, item)

    def _tree(self, path: str, reason: Reason, item: FileItem) -> None:
        sysroot = self.builder.sysroot
        if not sysroot.isdir(path):
            raise TargetError(
                f"cannot take {path}/ as a tree: it is not a directory ({item.origin})",
                hint="leave the slash at the end out",
            )
        rank = _rank(item)
        self._directory(path, reason, item, rank)
        top = sysroot.canonical(path)
        self._trees.add(top)
        for child in self._below(path, top):
            self._any(child, reason, item, rank)

    def _below(self, path: str, top: str) -> Iterator[str]:
        """Yield the paths below a directory that are not excluded, as the target spells them; follows no link."""
        sysroot, left = self.builder.sysroot, self.left
        stack = [top]
        while stack:
            here = stack.pop()
            deeper = []
            for name in sysroot.listdir(here):
                child = join(here, name)
                named = path + child[len(top) :]
                if too_long(sysroot, child):
                    self.builder.skip(named, "its path is longer than a path can be")
                    continue
                if left.excluded(named) or left.excluded(child) or left.secret(child):
                    continue
                yield named
                info = sysroot.lstat(child)
                if info is not None and stat.S_ISDIR(info.st_mode):
                    deeper.append(child)
            stack.extend(reversed(deeper))

    # -- one -------------------------------------------------------------------------------

    def _any(self, path: str, reason: Reason, item: FileItem, rank: int, *, exact: bool = False) -> None:
        """Add the link, directory (without its content) or file at ``path``."""
        info = self.builder.sysroot.lstat(path)
        if info is None:
            return
        if stat.S_ISLNK(info.st_mode):
            self._link(path, reason, item, rank)
        elif stat.S_ISDIR(info.st_mode):
            self._directory(path, reason, item, rank)
        elif stat.S_ISREG(info.st_mode):
            self.gatherer.file(path, reason, item.origin, item, rank, exact=exact or rank == NAMED)
        else:
            self.builder.skip(path, f"it is {SPECIAL[stat.S_IFMT(info.st_mode)]}")

    def _directory(self, path: str, reason: Reason, item: FileItem, rank: int) -> None:
        """Add a directory without its content; an entry's mode, owner and group apply to its whole tree."""
        info = self.builder.sysroot.stat(path)
        assert info is not None
        where = self.builder.place(path, reason)
        if where == "/":
            return
        names, mode = self.gatherer.names, item.mode
        if mode is not None and rank < NAMED:
            mode |= (mode & 0o444) >> 2  # search permission on a tree's directories for all readers
        directory = Artifact(
            where,
            Kind.DIRECTORY,
            stat.S_IMODE(info.st_mode) if mode is None else mode,
            names.uid(item.owner, item.origin) if item.owner else info.st_uid,
            names.gid(item.group, item.origin) if item.group else info.st_gid,
        )
        self.builder.add(directory, reason, rank=rank, origin=item.origin)

    def _link(self, path: str, reason: Reason, item: FileItem, rank: int) -> None:
        """Add a link with its text unchanged; its target is added later. A dangling one stays dangling."""
        sysroot, builder = self.builder.sysroot, self.builder
        where = builder.place(path, reason, follow=False)
        if builder.rank(where) == DECLARED:
            builder.note(where, reason)
            return
        source = sysroot.real(join(sysroot.canonical(split(path)[0]), split(path)[1]))
        text = sysroot.readlink(path)
        builder.add(Artifact(where, Kind.LINK, source=source, sources=(source,), link=text), reason)
        if sysroot.exists(path):
            self._linked.append(_Linked(path, where, reason, item, rank == NAMED))

    # -- link targets ----------------------------------------------------------------------

    def _follow(self) -> None:
        while self._linked:
            link = self._linked.pop(0)
            with blame(link.item.origin):
                self._target(link)

    def _target(self, link: _Linked) -> None:
        """Add a link's target: an exact link's with its entry's mode and owner, else the sysroot's."""
        sysroot, builder, path = self.builder.sysroot, self.builder, link.path
        canonical = sysroot.canonical(path)
        if self.left.excluded(canonical) or (not link.exact and self.left.secret(canonical)):
            return
        item = link.item if link.exact else FileItem(path, link.item.origin)
        rank = DESCRIBED if link.exact else FOUND
        via = Reason("links to it", link.where)
        if not sysroot.isdir(path):
            # The target's own links may lead elsewhere than the sysroot's.
            place = builder.place(path, link.reason)
            if builder.rank(place) == DECLARED:
                builder.note(place, via)
            elif sysroot.lstat(place) is None:
                self.gatherer.file(path, link.reason, item.origin, item, rank, exact=link.exact)
            else:
                self._any(place, via, item, rank, exact=link.exact)
        elif link.exact:
            builder.place(path, link.reason)
            self._directory(canonical, via, item, rank)
        elif self._is_there(canonical):
            builder.place(path, link.reason)
        elif canonical in _NOT_TREES or path.startswith(canonical + "/"):
            builder.skip(canonical + "/", f"{path} links to it; name it in files to have it")
        else:
            builder.place(path, link.reason)
            self._tree(canonical, via, item)

    def _is_there(self, directory: str) -> bool:
        """Return whether an added tree is this directory, or contains it."""
        while directory != "/":
            if directory in self._trees:
                return True
            directory = split(directory)[0]
        return False


def too_long(sysroot: Sysroot, path: str) -> bool:
    """Return whether a sysroot path exceeds PATH_MAX: path_resolution(7)."""
    return len(path) > _LONG and len(os.fsencode(sysroot.real(path))) >= _PATH_MAX


def _rank(item: FileItem) -> int:
    """Return the rank of a tree's or glob's files: DESCRIBED by an entry with an owner or mode, else FOUND."""
    return DESCRIBED if item.owner or item.group or item.mode is not None else FOUND
