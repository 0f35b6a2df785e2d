"""A root, accessed only through directory descriptors (law 3).

No link is followed, no mount is crossed, no existing file is opened for
writing. A compromised daemon may own the tree and change it between
two calls: an open descriptor keeps its inode, and a name is only
ever used with the descriptor of its directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from chrootbuild.errors import Failure
from chrootbuild.paths import split
from chrootbuild.system.files import sha256_of
from chrootbuild.system.mounts import is_mount
from chrootbuild.system.openat import STEP, open_beneath
from chrootbuild.system.signature import Observed, xattrs_of
from chrootbuild.text import kind_of

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# Nothing there, a link, a socket, another filesystem, or not ours to read.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EXDEV, errno.ENOTDIR, errno.EACCES, errno.EPERM)


class Root:
    """An open root directory. Use as a context manager: it holds descriptors.

    ``path`` is its real path, ``declared`` the target's (its parents may be links); once
    open only ``fd`` is used. ``dev`` is its filesystem: nothing on another one is ours.
    """

    def __init__(self, path: str, fd: int, declared: str = "") -> None:
        self.path = path
        self.declared = declared or path
        self.fd = fd
        self.dev = os.fstat(fd).st_dev
        self._held: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        os.close(self.fd)

    def forget(self, path: str) -> None:
        """Close the held descriptors of a directory about to be replaced, and of all below it."""
        below = f"{path}/"
        for held in [held for held in self._held if held == path or held.startswith(below)]:
            os.close(self._held.pop(held))

    def release(self) -> None:
        """Close the descriptors held of directories below the root."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def real(self, path: str) -> str:
        """Return the real path of a path in the root, for messages and for doit."""
        return self.path if path == "/" else self.path + path

    # -- directories -----------------------------------------------------------------------

    def directory(self, path: str) -> int | None:
        """Return a descriptor of a directory in the root; it stays open until ``release``.

        None where it is absent, or a component is a link or no directory.
        Raises Failure where another filesystem is mounted on the way.
        """
        if path == "/":
            return self.fd
        fd = self._held.get(path)
        if fd is not None:
            return fd
        if len(self._held) >= 64:  # RLIMIT_NOFILE is usually 1024, and callers go by directory
            self.release()
        try:
            fd = open_beneath(self.fd, path[1:])
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise Failure(
                    f"cannot enter {self.real(path)}: another filesystem is mounted on the way",
                    hint="unmount it, or leave what is below it out of the target",
                ) from None
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise Failure(f"cannot enter {self.real(path)}: {error.strerror}") from None
        self._held[path] = fd
        return fd

    # -- looking ---------------------------------------------------------------------------

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the stat of a path, itself not followed; None if it or a parent is absent."""
        parent, name = split(path)
        fd = self.directory(parent)
        if fd is None:
            return None
        if not name:
            return os.fstat(fd)
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise Failure(f"cannot look at {self.real(path)}: {error.strerror}") from None

    def readlink(self, path: str) -> str:
        """Return a link's text; empty where it is no link."""
        parent, name = split(path)
        fd = self.directory(parent)
        try:
            return "" if fd is None else os.readlink(name, dir_fd=fd)
        except OSError:
            return ""

    def open(self, path: str) -> int | None:
        """Open a regular file for reading; None where there is none, or a link on the way."""
        parent, name = split(path)
        directory = self.directory(parent)
        if directory is None:
            return None
        try:
            fd = open_beneath(directory, name, _FILE)
        except OSError as error:
            if error.errno in _NO_FILE:
                return None
            raise Failure(f"cannot read {self.real(path)}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        return fd

    def observe(self, path: str) -> Observed | None:
        """Read a regular file whole; None where there is none."""
        fd = self.open(path)
        if fd is None:
            return None
        try:
            digest, xattrs = sha256_of(fd), xattrs_of(fd)
            return Observed(os.fstat(fd), digest, xattrs)
        except OSError as error:
            raise Failure(f"cannot read {self.real(path)}: {error.strerror}") from None
        finally:
            os.close(fd)

    def is_mount(self, path: str) -> bool:
        """Return whether a path of the root, a file or a directory, is a mount point."""
        parent, name = split(path)
        fd = self.directory(parent)
        return fd is not None and is_mount(fd, name)

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory; empty where there is none."""
        fd = self.directory(path)
        try:
            return [] if fd is None else sorted(os.listdir(fd))
        except OSError as error:
            raise Failure(f"cannot list {self.real(path)}: {error.strerror}") from None

    def walk(self, below: str = "/", *, skip: Iterable[str] = ()) -> Iterator[tuple[str, os.stat_result]]:
        """Yield (path, stat) of all below a directory, sorted, parents first, without other filesystems."""
        left_out = set(skip)
        stack = [below]
        while stack:
            here = stack.pop()
            deeper = []
            for name in self.listdir(here):
                path = f"/{name}" if here == "/" else f"{here}/{name}"
                if path in left_out or (info := self.lstat(path)) is None:
                    continue
                yield path, info
                if stat.S_ISDIR(info.st_mode) and info.st_dev == self.dev:
                    deeper.append(path)
            stack.extend(reversed(deeper))

    # -- changing --------------------------------------------------------------------------

    def parent(self, path: str) -> tuple[int, str]:
        """Return the descriptor of the directory that holds ``path``, and the name in it.

        Raises Failure where it is absent: somebody changed the root meanwhile.
        """
        above, name = split(path)
        fd = self.directory(above)
        if fd is None:
            raise Failure(
                f"cannot install {self.real(path)}: {self.real(above)} is not a directory of the root any more",
                hint="something in the root changes it; stop it and build again",
            )
        return fd, name

    def unlink(self, path: str) -> None:
        """Remove one name, a link itself not its target; success where absent."""
        above, name = split(path)
        fd = self.directory(above)
        if fd is None:
            return
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Failure(f"cannot remove {self.real(path)}: {error.strerror}") from None

    def rmdir(self, path: str) -> bool:
        """Remove a directory if it is empty; return whether it is gone."""
        above, name = split(path)
        fd = self.directory(above)
        if fd is None:
            return True
        self.forget(path)
        try:
            os.rmdir(name, dir_fd=fd)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY):
                return False
            raise Failure(f"cannot remove {self.real(path)}: {error.strerror}") from None
        return True

    def set_directory(self, path: str, mode: int, owner: tuple[int, int] | None) -> None:
        """Give a directory of the root its owner and mode, through its descriptor."""
        fd = self.directory(path)
        if fd is None:
            raise Failure(f"cannot change {self.real(path)}: it is not a directory of the root any more")
        try:
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
        except OSError as error:
            raise Failure(f"cannot change {self.real(path)}: {error.strerror}") from None


def read_root(path: str) -> Root | None:
    """Open an existing root; None where there is none. Raises Failure where it is a link."""
    parent = os.path.realpath(os.path.dirname(path))
    where = os.path.join(parent, os.path.basename(path))
    try:
        fd = os.open(where, STEP)
    except (FileNotFoundError, NotADirectoryError):
        if not os.path.lexists(where):
            return None
        raise Failure(
            f"cannot use {where} as a root: it is {kind_of(os.lstat(where).st_mode)}, not a directory",
            hint="name the directory itself in the target file's root",
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Failure(
                f"cannot use {where} as a root: it is a symbolic link",
                hint="name the directory itself in the target file's root",
            ) from None
        raise Failure(f"cannot open the root {where}: {error.strerror}") from None
    return Root(where, fd, path)


def open_root(path: str, trusted: Sequence[str] = ()) -> Root:
    """Open a root, made with its missing parents (root's, 0755).

    Raises Failure where it is a link, or where somebody else can write to one
    of its parents (law 8): they could redirect every later build.
    """
    from chrootbuild.system.rights.trust import refuse_untrusted

    parent = os.path.dirname(path)
    existing = parent
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    refuse_untrusted([existing, *trusted], what="a root's parent")
    try:
        os.makedirs(parent, mode=0o755, exist_ok=True)
        found = read_root(path)
        if found is None:
            os.mkdir(path, 0o755)
            found = read_root(path)
    except OSError as error:
        raise Failure(f"cannot make the root {path}: {error.strerror}") from None
    assert found is not None
    return found
