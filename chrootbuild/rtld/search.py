"""Common part of all systems' search rules: directories, answers, and their edges."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chrootbuild.elf.objects import Object, Objects
from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Load, Missing, Shared, Via
from chrootbuild.sysroot.lookup import Unreadable

_MOST = 1024  # directories of one search list: bounds the work on a hostile file
_INHERITED = 4096  # directories inherited from all loaders: bounds a chain of such files


class Element(NamedTuple):
    """A directory of an object's search list, tokens replaced."""

    directory: str
    origin: bool = False  # it used $ORIGIN
    some: bool = False  # one of a token's several values


class Where(NamedTuple):
    """A searched directory, and its origin."""

    directory: str
    via: Via
    words: str  # "RUNPATH /opt/x/lib"
    proc: bool = False  # from the main program's $ORIGIN, which needs /proc
    some: bool = False  # searched by some CPUs only


class Found(NamedTuple):
    """A file that satisfies a name."""

    target: Object
    via: Via
    words: str  # "found in RUNPATH /opt/x/lib"
    cached: bool = False  # needs an entry in the root's ld.so.cache
    hint: str = ""  # a directory needed in the root's ld-elf.so.hints
    warning: str = ""
    brings: tuple[Load, ...] = ()  # files that led to it, needed in the root too


class Answer(NamedTuple):
    """Outcome of a search: the loaded file first, then its copies for other CPUs."""

    found: tuple[Found, ...] = ()
    searched: tuple[str, ...] = ()
    failure: Failure | None = None  # what stops the linker


class Edge(NamedTuple):
    """One object's request with its answer; made once, used by every program."""

    name: str
    target: Object | None
    loads: tuple[Load, ...]
    copies: tuple[Object, ...] = ()
    optional: bool = False
    missing: Missing | None = None
    failure: Failure | None = None
    found: tuple[Found, ...] = ()  # if the loads do not tell all


class Rules:
    """Search rules of a run-time linker; one value serves all programs of an interpreter."""

    by_soname = True  # a loaded object satisfies its DT_SONAME
    cancels = ""  # the library that pthread_cancel and pthread_exit open
    libc: tuple[str, ...] = ()  # the library that opens ``cancels``
    preload = ""  # the file that lists libraries for every program
    compat32 = False  # FreeBSD: a 32-bit program on a 64-bit system
    shares = False  # no answer depends on which program asks, by anything but its own search list
    lasting = True  # searching does not change what is found next

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.edges: dict[tuple[Object, tuple[Where, ...]], tuple[Edge, ...]] = {}
        self.remarks: dict[Object, tuple[str, ...]] = {}  # warnings about an object's own search lists
        self.warnings: tuple[str, ...] = ()  # about files that every program reads
        self.shared: dict[tuple[str, ...], Shared] = {}  # by NEEDED
        self._lists: dict[tuple[Object, Via], tuple[Where, ...]] = {}

    def interpreters(self, asked: str) -> tuple[str, ...]:
        """Return the paths that the kernel tries for a PT_INTERP."""
        return (asked,)

    def inherited(self, target: Object, loader: tuple[Where, ...]) -> tuple[Where, ...]:
        """Return the directories that requests of ``target`` inherit, given its loader's."""
        raise NotImplementedError

    def search(self, name: str, by: Object, inherited: tuple[Where, ...]) -> Answer:
        """Search for one name requested by ``by``."""
        raise NotImplementedError

    def elements(self, by: Object, text: str) -> list[Element]:
        """Return the directories of a search list, tokens replaced."""
        raise NotImplementedError

    def directories(self, by: Object, via: Via) -> tuple[Where, ...]:
        """Return an object's RPATH or RUNPATH as directories."""
        text = by.facts.rpath if via is Via.RPATH else by.facts.runpath
        if text is None:
            return ()
        known = self._lists.get((by, via))
        if known is None:
            known = self._lists[by, via] = self._directories(by, via, text)
        return known

    def _directories(self, by: Object, via: Via, text: str) -> tuple[Where, ...]:
        found: dict[str, Where] = {}
        relative: dict[str, None] = {}
        for directory, origin, some in self.elements(by, text):
            if len(found) + len(relative) >= _MOST:
                self.remarks[by] = (f"{by.path} has more than {_MOST} directories in its {via}",)
                return tuple(found.values())
            if not directory.startswith("/"):
                # Relative to the working directory at start: nothing can be copied.
                relative[f"{by.path} searches {directory or '.'!r} below the current directory ({via})"] = (
                    None
                )
                continue
            directory = directory.rstrip("/") or "/"
            where = Where(directory, via, f"{via} {directory}", by.main and origin, some)
            found.setdefault(directory, where)
        if relative:
            self.remarks[by] = (*self.remarks.get(by, ()), *relative)
        return tuple(found.values())


def inherit(own: tuple[Where, ...], loader: tuple[Where, ...]) -> tuple[Where, ...]:
    """Return an object's own directories, then those of its loader, each once."""
    return tuple(dict.fromkeys((*own, *loader)))[:_INHERITED]


def join(directory: str, name: str) -> str:
    """Join directory and name as the linkers do."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def fatal(error: Failure, name: str, by: Object) -> Failure:
    """Return the error, extended by the object that requested the file."""
    hint = "the run-time linker stops at this file: replace it, or take it out of the way"
    if isinstance(error, Unreadable):
        hint = "the run-time linker would open this file: let it be read, or take it out of the way"
    return Failure(f"{error.message}, needed by {by.path} as {name}", hint=hint)


def make_edge(
    name: str,
    by: Object,
    answer: Answer,
    *,
    said: str = "",
    via: Via | None = None,
    optional: bool = False,
) -> Edge:
    """Make an edge of an answer; ``said`` are the words before "found in ...", ``via`` the kind."""
    said = said or f"needs {name}"
    if not answer.found:
        missing = Missing(name, by.path, answer.searched, optional) if answer.failure is None else None
        return Edge(name, None, (), (), optional, missing, answer.failure)
    first = answer.found[0]
    load = Load(name, first.target.path, by.path, via or first.via, f"{said}, {first.words}", optional)
    if len(answer.found) == 1 and not (first.cached or first.hint or first.warning or first.brings):
        return Edge(name, first.target, (load,), (), optional)
    copies = answer.found[1:]
    return Edge(
        name,
        first.target,
        (
            load,
            *(
                Load(name, copy.target.path, by.path, copy.via, f"{said}: {copy.words}", optional)
                for copy in copies
            ),
        ),
        tuple(copy.target for copy in copies),
        optional,
        found=answer.found,
    )


# glibc takes $NAME only if no letter, digit or underscore follows.
_GNU = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM))(?![A-Za-z0-9_])")
_MOST_TOKENS = 64  # combinations of alternatives
_LONGEST = 4096  # characters: no path is longer, and a hostile file may have thousands of tokens


def uses(text: str, token: str) -> bool:
    """Return whether the text has this token, as glibc parses it."""
    return any(token in match.groups() for match in _GNU.finditer(text))


def expand(text: str, values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the text with glibc's tokens replaced, one per alternative value, best first.

    Empty for a token without a value, since glibc drops such an element, and for a text longer
    than a path can be.
    """
    if "$" not in text:
        return (text,)
    texts = [""]
    end = 0
    for match in _GNU.finditer(text):
        before = text[end : match.start()]
        choices = values.get(match[1] or match[2], ())
        texts = [head + before + choice for head in texts for choice in choices if len(head) < _LONGEST][
            :_MOST_TOKENS
        ]
        end = match.end()
    return tuple(head + text[end:] for head in texts)
