"""Directories under watch, by watchdog: each on its own, never recursively, and never a single file.

Every watch is a thread of watchdog's. What is only read, opened or written to is not asked for: a
package manager writes FILE.dpkg-new and renames it, and all that is of interest is the name.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterable
from typing import Self

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from chrootbuild.errors import Failure

_FILTER = [
    events.DirCreatedEvent,
    events.DirDeletedEvent,
    events.DirMovedEvent,
    events.FileClosedEvent,
    events.FileCreatedEvent,
    events.FileDeletedEvent,
    events.FileMovedEvent,
]
# What watchdog is told of only by the log: that the kernel dropped events.
_LOGGERS = ("watchdog.observers.inotify_c", "watchdog.observers.inotify")


class _Handler(events.FileSystemEventHandler):
    def __init__(self, tell: Callable[[str], object]) -> None:
        self.tell = tell

    def dispatch(self, event: events.FileSystemEvent) -> None:
        for path in {event.src_path, event.dest_path}:
            if path:
                self.tell(os.fsdecode(path))


class _Overflow(logging.Handler):
    def __init__(self, lost: Callable[[], object]) -> None:
        super().__init__(logging.WARNING)
        self.lost = lost

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self.lost()


class Watcher:
    """The directories under watch. ``tell`` gets each path that something happened to, from another thread.

    ``lost`` is called when the kernel dropped events. Use as a context manager.
    """

    def __init__(self, tell: Callable[[str], object], lost: Callable[[], object]) -> None:
        self._handler = _Handler(tell)
        self._overflow = _Overflow(lost)
        self._watches: dict[str, ObservedWatch | None] = {}  # None: it is not there now
        self._observer: BaseObserver = Observer()

    def __enter__(self) -> Self:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(self._overflow)
            logger.propagate = False
        try:
            self._observer.start()
        except OSError as error:
            raise _cannot(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.stop()
        self._observer.join()
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._overflow)

    @property
    def directories(self) -> int:
        """How many directories are watched."""
        return sum(watch is not None for watch in self._watches.values())

    def __contains__(self, path: str) -> bool:
        return path in self._watches

    def watch(self, directories: Iterable[str]) -> set[str]:
        """Watch these directories and no others, and return those that are new among them.

        One that is not there is taken up by ``renew``. Raises Failure where the system's limit is reached.
        """
        wanted = set(directories)
        for path in self._watches.keys() - wanted:
            self._drop(path)
            del self._watches[path]
        new = wanted - self._watches.keys()
        for path in sorted(new):
            self._watches[path] = self._add(path)
        return new

    def renew(self, path: str) -> list[str]:
        """Watch a directory, and those below it, once more: another one may have taken its name.

        Returns the directories whose watch is new. Raises Failure as ``watch`` does.
        """
        within = f"{path}/"
        renewed = [place for place in self._watches if place == path or place.startswith(within)]
        for place in sorted(renewed):
            self._drop(place)
            self._watches[place] = self._add(place)
        return renewed

    def _add(self, path: str) -> ObservedWatch | None:
        if not os.path.isdir(path):
            return None
        try:
            return self._observer.schedule(self._handler, path, event_filter=_FILTER)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EMFILE, errno.EAGAIN):
                raise _cannot(error) from None
            return None
        except RuntimeError as error:  # can't start new thread
            raise Failure(f"cannot watch {path}: {error}") from None

    def _drop(self, path: str) -> None:
        watch = self._watches[path]
        if watch is not None:
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(watch)


def _cannot(error: OSError) -> Failure:
    return Failure(
        f"cannot watch directories: {error.strerror or error}",
        hint="raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl(8)",
    )
