"""Programs, libraries, files, trees and state: from a target's keys to artifacts of a draft."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from dataclasses import dataclass, field

from chrootbuild.accounts import Names
from chrootbuild.artifact import Artifact, Kind, Origin, Reason
from chrootbuild.draft import FOUND, NAMED, Draft, join, split
from chrootbuild.elf import Closure, Resolver, Via
from chrootbuild.errors import TargetError
from chrootbuild.host import Host, Unreadable
from chrootbuild.spec import FileItem, Target

__all__ = ["SEARCH_PATH", "Gatherer", "find_program"]

SEARCH_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

# What a tree or a glob never brings; an exact path does.
_SECRETS = re.compile(
    r"(g?shadow-?|master\.passwd|spwd\.db|opasswd|.*\.key|ssh_host_.*_key|id_(rsa|dsa|ecdsa|ed25519)(_sk)?)"
)
_NOT_TREES = {"/", "/proc", "/sys", "/dev", "/run", "/usr", "/etc", "/var", "/home", "/root"}
_SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def find_program(host: Host, name: str) -> str | None:
    """Return where a bare program name is in the sysroot, searched as the target's keys say."""
    for directory in SEARCH_PATH:
        path = join(directory, name)
        info = host.stat(path)
        if info is not None and stat.S_ISREG(info.st_mode) and info.st_mode & 0o111:
            return path
    return None


@dataclass(slots=True)
class Gatherer:
    """Brings what the keys name, with the closure of each program and library."""

    target: Target
    draft: Draft
    resolver: Resolver
    names: Names
    cache: dict[tuple[str, str], None] = field(default_factory=dict)  # for the root's ld.so.cache
    hints: dict[str, None] = field(default_factory=dict)  # for the root's ld-elf.so.hints
    _done: set[str] = field(default_factory=set)
    _excluded: list[re.Pattern[str]] = field(default_factory=list)
    _setuid: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for item in self.target.exclude:
            tree = item.value.endswith("/")
            pattern = fnmatch.translate(item.value.rstrip("/"))
            self._excluded.append(re.compile(pattern.replace(r"\Z", r"(/.*)?\Z") if tree else pattern))
        for item in self.target.setuid:
            try:
                self._setuid.add(self.draft.host.canonical(item.value))
            except Unreadable as error:
                raise _missing(item.value, item.origin, error) from None

    # -- programs and libraries ------------------------------------------------------------

    def binaries(self) -> None:
        """Bring each program of ``binaries``, found in the search path where it is a bare name."""
        for item in self.target.binaries:
            path = item.value
            if "/" not in path:
                found = find_program(self.draft.host, path)
                if found is None:
                    raise TargetError(
                        f"cannot find the program {path} ({item.origin})",
                        details=(f"searched: {', '.join(SEARCH_PATH)}",),
                        hint=f"install the package that has it (chrootbuild locate {path}), or leave it out",
                    )
                path = found
            self.program(path, Reason(f"binaries: {item.value}"), item.origin)

    def libraries(self) -> None:
        """Bring each library of ``libraries``: a path, or what a glob matches."""
        for item in self.target.libraries:
            reason = Reason(f"libraries: {item.value}")
            paths = [item.value]
            if _is_glob(item.value):
                paths = [path for path in self.draft.host.glob(item.value) if not self._is_excluded(path)]
                paths = [path for path in paths if self.draft.host.isfile(path)]
            for path in paths:
                self._file(path, reason, item.origin)
                self._closure(path, self.resolver.library, item.origin)

    def program(self, path: str, reason: Reason, origin: Origin) -> None:
        """Bring one program and its closure."""
        info = self.draft.host.stat(path)
        if info is not None and not stat.S_ISREG(info.st_mode):
            raise TargetError(f"cannot take {path} as a program: it is not a regular file ({origin})")
        self._file(path, reason, origin)
        self._closure(path, self.resolver.program, origin)

    def _closure(self, path: str, resolve: object, origin: Origin) -> None:
        assert callable(resolve)
        canonical = self.draft.host.canonical(path)
        if canonical in self._done:
            return
        self._done.add(canonical)
        try:
            closure: Closure = resolve(path)
        except Unreadable as error:
            raise TargetError(f"{error.message} ({origin})", hint=error.hint) from None
        for missing in closure.missing:
            if missing.optional:
                self.draft.warn(f"{missing.by} can use {missing.name}, which is not there")
                continue
            raise TargetError(
                f"cannot find {missing.name}, needed by {missing.by} ({origin})",
                details=(f"searched: {', '.join(missing.searched)}",) if missing.searched else (),
                hint=f"install the package that has it (chrootbuild locate {split(missing.name)[1]}),"
                " or leave the program out",
            )
        for warning in closure.warnings:
            self.draft.warn(warning)
        for load in closure.loads:
            words = f"has {load.name} as its interpreter" if load.via is Via.INTERPRETER else load.words
            self._file(load.path, Reason(words, self.draft.where(load.by)), origin)
        self.cache.update(dict.fromkeys(closure.cache))
        self.hints.update(dict.fromkeys(closure.hints))

    # -- files -----------------------------------------------------------------------------

    def files(self) -> None:
        """Bring each entry of ``files``: exact paths first, they say more than a tree does."""
        for item in sorted(
            self.target.files, key=lambda item: item.path.endswith("/") or _is_glob(item.path)
        ):
            reason = Reason(f"files: {item.path}")
            if _is_glob(item.path.rstrip("/")):
                self._glob(item, reason)
            elif item.path.endswith("/"):
                self._require(item.path.rstrip("/") or "/", item.origin)
                self._tree(item.path.rstrip("/") or "/", reason, item)
            else:
                self._exact(item, reason)

    def _glob(self, item: FileItem, reason: Reason) -> None:
        tree = item.path.endswith("/")
        for path in self.draft.host.glob(item.path.rstrip("/")):
            if self._is_excluded(path) or self._is_secret(path):
                continue
            if self.draft.host.isdir(path):
                if tree:
                    self._tree(path, reason, item)
                continue
            self._any(path, reason, item, FOUND)

    def _exact(self, item: FileItem, reason: Reason) -> None:
        self._require(item.path, item.origin)
        if self._is_excluded(item.path):
            return
        self._any(item.path, reason, item, NAMED)

    def _tree(self, path: str, reason: Reason, item: FileItem) -> None:
        host = self.draft.host
        if not host.isdir(path):
            raise TargetError(
                f"cannot take {path}/ as a tree: it is not a directory ({item.origin})",
                hint="leave the slash at the end out",
            )
        self._directory(path, reason, item, FOUND)
        top = host.canonical(path)
        if top in self._done:
            return
        self._done.add(top)
        hidden = ""
        for child, info in host.walk(top):
            if hidden and child.startswith(hidden):
                continue
            # In the words of the target: below the path as it was written.
            named = path + child[len(top) :] if top != "/" else child
            if self._is_excluded(named) or self._is_excluded(child) or self._is_secret(child):
                hidden = child + "/" if stat.S_ISDIR(info.st_mode) else hidden
                continue
            self._any(named, reason, item, FOUND)

    def _any(self, path: str, reason: Reason, item: FileItem, rank: int) -> None:
        """Bring whatever is at ``path``: a link with its target, a directory alone, a file."""
        host = self.draft.host
        info = host.lstat(path)
        if info is None:
            return
        if stat.S_ISLNK(info.st_mode):
            self._link(path, reason, item, rank)
        elif stat.S_ISDIR(info.st_mode):
            self._directory(path, reason, item, rank)
        elif stat.S_ISREG(info.st_mode):
            kind = self._file(path, reason, item.origin, item, rank)
            if kind == "library":
                self._closure(path, self.resolver.library, item.origin)
            elif kind:
                self._closure(path, self.resolver.program, item.origin)
        else:
            self.draft.skip(path, f"it is {_SPECIAL[stat.S_IFMT(info.st_mode)]}")

    def _link(self, path: str, reason: Reason, item: FileItem, rank: int) -> None:
        host, draft = self.draft.host, self.draft
        where = draft.place(path, reason, follow=False)
        source = host.real(join(host.canonical(split(path)[0]), split(path)[1]))
        text = host.readlink(path)
        if draft.rank(where) < NAMED:
            draft.add(Artifact(where, Kind.LINK, source=source, sources=(source,), link=text), reason)
        if not host.exists(path):
            return  # dangling, and stays so
        canonical = host.canonical(path)
        via = Reason(f"{where} links to it", where)
        if self._is_excluded(canonical) or (rank < NAMED and self._is_secret(canonical)):
            return
        if not host.isdir(path):
            self._any(canonical, via, item, FOUND)
            draft.place(path, reason)
        elif canonical in _NOT_TREES or (path + "/").startswith(canonical + "/"):
            draft.skip(canonical + "/", f"{path} links to it; name it in files to have it")
        elif canonical not in self._done:
            draft.place(path, reason)
            self._tree(canonical, via, item)

    def _directory(self, path: str, reason: Reason, item: FileItem, rank: int) -> None:
        info = self.draft.host.stat(path)
        assert info is not None
        where = self.draft.place(path, reason)
        if where == "/":
            return
        # owner, group and mode of an entry are its own, and those of everything in its tree.
        directory = Artifact(
            where,
            Kind.DIRECTORY,
            stat.S_IMODE(info.st_mode) & ~0o6000 if item.mode is None else item.mode,
            self.names.uid(item.owner) if item.owner else info.st_uid,
            self.names.gid(item.group) if item.group else info.st_gid,
            sources=(),
        )
        self.draft.add(directory, reason, rank=rank, origin=item.origin)

    def _file(
        self, path: str, reason: Reason, origin: Origin, item: FileItem | None = None, rank: int = FOUND
    ) -> str:
        """Bring the regular file that ``path`` leads to, under its own canonical path; return what it is."""
        host = self.draft.host
        try:
            source = host.canonical(path)
            info = host.lstat(source)
        except Unreadable as error:
            raise _missing(path, origin, error) from None
        assert info is not None
        if not stat.S_ISREG(info.st_mode):
            raise TargetError(f"cannot copy {path}: it is not a regular file ({origin})")
        where = self.draft.place(path, reason)
        kind = self.resolver.classify(source)
        artifact = self._copy(where, source, kind, info, item)
        self.draft.add(artifact, reason, rank=rank, origin=origin)
        return kind

    def _copy(
        self, where: str, source: str, kind: str, info: os.stat_result, item: FileItem | None
    ) -> Artifact:
        real = self.draft.host.real(source)
        special = source in self._setuid
        mode, uid, gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        mode = mode if special else mode & ~0o6000
        if kind and not special:
            mode, uid, gid = mode & ~0o022, 0, 0
        if item is not None and (item.mode is not None or item.owner or item.group):
            mode = mode if item.mode is None else item.mode
            uid = self.names.uid(item.owner) if item.owner else uid
            gid = self.names.gid(item.group) if item.group else gid
        elf = "library" if kind == "library" else "program" if kind else ""
        return Artifact(
            where, Kind.FILE, mode, uid, gid, source=real, sources=(real,), capabilities=special, elf=elf
        )

    def data(self, path: str, reason: Reason, origin: Origin) -> None:
        """Bring one file that another key needs, with the links on the way to it."""
        self._any(path, reason, FileItem(path, origin), FOUND)

    # -- state -----------------------------------------------------------------------------

    def seeds(self) -> dict[str, tuple[Artifact, ...]]:
        """Return for each ``seed`` everything in it, as it is; a secret is state as well."""
        found = {}
        for item in self.target.seed:
            path = item.value.rstrip("/")
            self._require(path, item.origin)
            reason = Reason(f"seed: {item.value}")
            top = self.draft.host.canonical(path)
            where = self.draft.place(path, reason)
            found[where] = tuple(self._seed(top, where))
            self.draft.reasons.setdefault(where, {}).setdefault(reason)
        return found

    def _seed(self, top: str, where: str) -> list[Artifact]:
        host = self.draft.host
        info = host.lstat(top)
        assert info is not None
        entries = [(top, info)]
        if stat.S_ISDIR(info.st_mode):
            entries += host.walk(top)
        seeds = []
        for path, info in entries:
            place = where + path[len(top) :]
            if self._is_excluded(path):
                continue
            mode, real = stat.S_IMODE(info.st_mode), host.real(path)
            if stat.S_ISDIR(info.st_mode):
                seeds.append(Artifact(place, Kind.DIRECTORY, mode, info.st_uid, info.st_gid))
            elif stat.S_ISLNK(info.st_mode):
                link = host.readlink(path)
                seeds.append(Artifact(place, Kind.LINK, 0, info.st_uid, info.st_gid, source=real, link=link))
            elif stat.S_ISREG(info.st_mode):
                seeds.append(Artifact(place, Kind.FILE, mode, info.st_uid, info.st_gid, source=real))
            else:
                self.draft.skip(place, f"it is {_SPECIAL[stat.S_IFMT(info.st_mode)]}")
        return seeds

    # -- what is left out ------------------------------------------------------------------

    def _is_excluded(self, path: str) -> bool:
        return any(pattern.match(path) for pattern in self._excluded)

    def _is_secret(self, path: str) -> bool:
        """Tell whether a tree or glob has to leave ``path`` out, and note it."""
        info = self.draft.host.lstat(path)
        if info is None or stat.S_ISLNK(info.st_mode):
            return False
        if stat.S_ISREG(info.st_mode) and _SECRETS.fullmatch(split(path)[1]):
            self.draft.skip(path, "a secret by its name; name it exactly in files to have it")
            return True
        needed = 0o005 if stat.S_ISDIR(info.st_mode) else 0o004
        if info.st_mode & needed != needed and not stat.S_ISSOCK(info.st_mode):
            self.draft.skip(path, "others may not read it; name it exactly in files to have it")
            return True
        return False

    def _require(self, path: str, origin: Origin) -> None:
        try:
            self.draft.host.lstat(path)
            if self.draft.host.lstat(path) is None:
                raise Unreadable(path, 2)
        except Unreadable as error:
            raise _missing(path, origin, error) from None


def _missing(path: str, origin: Origin, error: Unreadable) -> TargetError:
    return TargetError(
        f"cannot read {path}: {error.message.partition(': ')[2]} ({origin})",
        hint=error.hint or f"chrootbuild locate {split(path)[1]} says which package has it; or leave it out",
    )


def _is_glob(path: str) -> bool:
    return any(mark in path for mark in "*?[")
