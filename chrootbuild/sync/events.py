"""Directories under watch, by watchdog: each on its own, never recursively, and never a single file.

All of them share one descriptor of inotify(7) and one thread, whatever their number. What is only
read, opened or written to is not asked for: a package manager writes FILE.dpkg-new and renames it, and
all that is of interest is the name.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, Self

from watchdog.observers import inotify_c
from watchdog.utils import BaseThread

_BINDINGS: Any = inotify_c  # its types differ from version to version
_OF = inotify_c.InotifyConstants
_MASK = (
    *(_OF.IN_CREATE, _OF.IN_DELETE, _OF.IN_MOVED_FROM, _OF.IN_MOVED_TO, _OF.IN_CLOSE_WRITE),
    *(_OF.IN_DELETE_SELF, _OF.IN_MOVE_SELF, _OF.IN_ONLYDIR),
)
_EVENT = struct.Struct("=iIII")  # struct inotify_event, its name behind it
_BUFFER = 1 << 16
# What a directory cannot be watched for, and how many more could be: inotify(7), ERRORS.
_LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches is reached",
    errno.EMFILE: "fs.inotify.max_user_instances is reached, or the limit of open files",
}


class _Event(NamedTuple):
    """An event of a watch: the name of what it happened to, empty for the directory itself."""

    wd: int
    name: bytes


class _Listener:
    """What watchdog calls back, in its thread."""

    def __init__(self, tell: Callable[[str], object], lost: Callable[[], object]) -> None:
        self.tell = tell
        self.lost = lost
        self.paths: dict[
            int, tuple[str, ...]
        ] = {}  # by watch descriptor: two paths may lead to one directory

    def on_event(self, event: _Event) -> None:
        """Tell the paths of an event."""
        for path in self.paths.get(event.wd, ()):
            self.tell(os.path.join(path, os.fsdecode(event.name)) if event.name else path)

    def on_watch_deleted(self, wd: int) -> None:
        """Do nothing: the directory's own end is an event as well."""

    def on_queue_overflow(self) -> None:
        """Tell that the kernel dropped events."""
        self.lost()


class _Inotify(BaseThread):
    """The InotifyFD of watchdog 7, for versions 4 to 6, whose own class is for one directory."""

    def __init__(self) -> None:
        super().__init__()
        self._fd = _checked(_BINDINGS.inotify_init())
        self._end, self._tell_end = os.pipe()
        self._ids: dict[int, set[int]] = {}
        self._callbacks: set[Any] = set()

    def add_callback(self, path: bytes, mask: int, callback: Any, id_: int) -> int:
        """Watch a directory, and return the watch descriptor; raises OSError."""
        wd = _checked(_BINDINGS.inotify_add_watch(self._fd, path, mask))
        self._ids.setdefault(wd, set()).add(id_)
        self._callbacks.add(callback)
        return wd

    def remove_callbacks(self, callbacks: list[tuple[int, int]]) -> None:
        """End what add_callback began; a watch that nobody has any more is removed."""
        for wd, id_ in callbacks:
            ids = self._ids.get(wd, set())
            ids.discard(id_)
            if not ids:
                self._ids.pop(wd, None)
                _BINDINGS.inotify_rm_watch(self._fd, wd)

    def on_thread_stop(self) -> None:
        """Wake the thread, for it to end."""
        os.write(self._tell_end, b"!")

    def run(self) -> None:
        """Read events, and call back."""
        while self._end not in select.select([self._fd, self._end], [], [])[0]:
            data, start = os.read(self._fd, _BUFFER), 0
            while start < len(data):
                wd, mask, _, length = _EVENT.unpack_from(data, start)
                name = data[start + _EVENT.size : start + _EVENT.size + length].rstrip(b"\0")
                start += _EVENT.size + length
                for callback in tuple(self._callbacks):
                    if mask & _OF.IN_Q_OVERFLOW:
                        callback.on_queue_overflow()
                    elif not mask & _OF.IN_IGNORED:
                        callback.on_event(_Event(wd, name))
        for fd in (self._fd, self._end, self._tell_end):
            os.close(fd)


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Watcher:
    """The directories under watch. ``tell`` gets each path that something happened to, from another thread.

    ``lost`` is called when the kernel dropped events. Use as a context manager.
    """

    def __init__(self, tell: Callable[[str], object], lost: Callable[[], object]) -> None:
        self._listener = _Listener(tell, lost)
        self._watches: dict[str, int | None] = {}  # watch descriptors; None: it is not there now, or refused
        self._refused: set[str] = set()  # at one of the system's limits
        self._limit = ""  # the one that was met last
        self._inotify: Any = None

    def __enter__(self) -> Self:
        logging.getLogger("watchdog").addHandler(
            logging.NullHandler()
        )  # an overflow is told by the listener
        return self

    def __exit__(self, *_: object) -> None:
        if self._inotify is not None:
            self._inotify.stop()
            self._inotify.join()

    @property
    def directories(self) -> int:
        """How many directories are watched."""
        return sum(watch is not None for watch in self._watches.values())

    @property
    def unwatched(self) -> tuple[int, str]:
        """How many directories could not be watched, and which limit of the system was reached."""
        return len(self._refused), self._limit if self._refused else ""

    def __contains__(self, path: str) -> bool:
        return path in self._watches

    def watch(self, directories: Iterable[str]) -> set[str]:
        """Watch these directories and no others, and return those that are new among them.

        One that is not there is taken up by ``renew``; one that was refused is tried again by the next call.
        """
        wanted = set(directories)
        for path in self._watches.keys() - wanted:
            self._drop(path)
            del self._watches[path]
        new = wanted - self._watches.keys()
        again = self._refused & wanted
        self._add(new | again)
        return new | (again - self._refused)

    def renew(self, path: str) -> list[str]:
        """Watch a directory, and those below it, once more: another one may have taken its name.

        Returns the directories whose watch is new.
        """
        within = f"{path}/"
        renewed = sorted(place for place in self._watches if place == path or place.startswith(within))
        for place in renewed:
            self._drop(place)
        self._add(renewed)
        return renewed

    def _add(self, paths: Iterable[str]) -> None:
        """Watch directories, up to the first that is refused: then the others would be as well."""
        refused = False
        for path in sorted(paths):
            self._watches[path] = None
            self._refused.discard(path)
            if os.path.isdir(path):
                refused = refused or not self._add_one(path)
                if refused:
                    self._refused.add(path)

    def _add_one(self, path: str) -> bool:
        """Watch a directory, unless it is gone or closed to us; return False where the system refused it."""
        try:
            wd = self._started().add_callback(os.fsencode(path), sum(_MASK), self._listener, hash(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                return True
            self._limit = _LIMITS.get(error.errno or 0, error.strerror or str(error))
            return False
        except RuntimeError as error:  # can't start new thread
            self._limit = str(error)
            return False
        if wd >= 0:  # InotifyFD returns -1 where a directory may not be read
            self._listener.paths[wd] = (*self._listener.paths.get(wd, ()), path)
            self._watches[path] = wd
        return True

    def _started(self) -> Any:
        if self._inotify is None:
            inotify = getattr(_BINDINGS, "InotifyFD", _Inotify)()
            inotify.start()
            self._inotify = inotify
        return self._inotify

    def _drop(self, path: str) -> None:
        self._refused.discard(path)
        wd = self._watches[path]
        if wd is None:
            return
        rest = tuple(other for other in self._listener.paths.pop(wd, ()) if other != path)
        if rest:
            self._listener.paths[wd] = rest
        with suppress(OSError):
            self._inotify.remove_callbacks([(wd, hash(path))])
