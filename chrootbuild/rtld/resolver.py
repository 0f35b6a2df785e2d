"""Closures of programs, libraries and scripts: all that they load."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TypeVar

from chrootbuild.elf.detect import is_freebsd, is_musl
from chrootbuild.elf.facts import DF_1_PIE, ET_EXEC, Facts
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.objects import Object, Objects
from chrootbuild.errors import Failure
from chrootbuild.rtld.glibc import Glibc
from chrootbuild.rtld.model import Closure, Load, Missing, Shared, Via
from chrootbuild.rtld.process import Process
from chrootbuild.rtld.search import Rules
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot

_T = TypeVar("_T")
_HEAD = 4096  # bytes of a script: FreeBSD reads a page for the first line, Linux 256 bytes
_DEEPEST = 5  # nested script interpreters, as in Linux


class Resolver:
    """Resolver of one sysroot's programs; shared lookups are done once.

    ``system`` is "linux" or "freebsd", or "" to decide by each object.
    """

    def __init__(self, sysroot: Sysroot, memo: Memo | None = None, system: str = "") -> None:
        self.sysroot = sysroot
        self.system = system
        self.objects = Objects(sysroot, memo if memo is not None else Memo())
        self._rules: dict[tuple[object, ...], Rules] = {}  # by all that selects them
        self._known: dict[tuple[object, ...], Rules] = {}  # the same, by a cheaper key

    def program(self, path: str) -> Closure:
        """Return the closure of a program: an ELF file, or a script.

        Raises Unreadable where it cannot be read, Failure where it or a file it
        loads would stop the kernel or the run-time linker.
        """
        return self._program(path, ())

    def _program(self, path: str, above: tuple[str, ...]) -> Closure:
        main = self.objects.program(path)
        if main.facts.bits == 0:
            return self._script(path, above)
        if main.facts.error:
            raise Failure(f"cannot load {path}: {main.facts.error}")
        if not main.facts.interpreter:
            return Closure(path, "static")
        return _dynamic(self._system(main), main)

    def library(self, path: str) -> Closure:
        """Return the closure of an object opened with dlopen(3), as ldd(1) shows it.

        Raises as program does.
        """
        main = self.objects.get(path)
        if main is None:
            raise Unreadable(path, errno.ENOENT)
        if main.facts.bits == 0 and main.facts.error == "invalid ELF header":
            return Closure(path, "other")
        if main.facts.error:
            raise Failure(f"cannot load {path}: {main.facts.error}")
        if not main.facts.dynamic:
            return Closure(path, "static")
        return _dynamic(self._system(main), main)

    def classify(self, path: str) -> str:
        """Return a file's kind: "program", "library", "script" or ""; cheap, raises nothing."""
        try:
            found = self.objects.get(path)
            if found is None:
                return ""
            if found.facts.bits == 0:
                info = self.sysroot.stat(path)
                executable = info is not None and info.st_mode & 0o111
                return "script" if executable and self._head(path).startswith(b"#!") else ""
        except Unreadable:
            return ""
        if found.facts.error:
            return ""
        return "program" if _is_program(found.facts) else "library"

    def fault(self, path: str) -> str:
        """Return why an ELF file cannot be loaded; "" for a sound one and for any other file."""
        try:
            found = self.objects.get(path)
        except Unreadable:
            return ""
        return found.facts.error if found is not None and found.facts.bits else ""

    # -- scripts ---------------------------------------------------------------------------

    def _head(self, path: str) -> bytes:
        with self.sysroot.open(path) as file:
            return file.read(_HEAD)

    def _script(self, path: str, above: tuple[str, ...]) -> Closure:
        from chrootbuild.elf import shebang

        asked = shebang.parse(self._head(path))
        if asked is None:
            return Closure(path, "other")
        if path in above or len(above) >= _DEEPEST:
            raise Failure(
                f"cannot follow the #! line of {path}: its interpreter is a script, and so on",
                hint="the kernel gives up as well: name a program in the #! line",
            )
        loads: list[Load] = []
        missing: list[Missing] = []
        parts: list[Closure] = []
        for name, places, via, words in (
            (asked.interpreter, (asked.interpreter,), Via.INTERPRETER, "has {} as its interpreter"),
            (asked.program, shebang.places(asked.program), Via.ENV, "runs {} by env"),
        ):
            if not name:
                continue
            found = next(
                (place for place in places if place.startswith("/") and self.sysroot.isfile(place)), ""
            )
            if not found:
                missing.append(Missing(name, path, places))
                continue
            loads.append(Load(name, found, path, via, words.format(name)))
            parts.append(self._program(found, (*above, path)))
            loads.extend(parts[-1].loads)
        missing.extend(item for part in parts for item in part.missing)
        return Closure(
            path,
            "script",
            _once(loads),
            _once(missing),
            _once(item for part in parts for item in part.warnings),
            _once(item for part in parts for item in part.cache),
            _once(item for part in parts for item in part.hints),
            _once(item for part in parts for item in part.hints32),
        )

    # -- ELF -------------------------------------------------------------------------------

    def _system(self, main: Object) -> Rules:
        facts = main.facts
        known = self._known.get(facts.platform) if facts.interpreter else None
        if known is not None:
            return known
        name = self._name(facts)
        key = (name, facts.bits, facts.little, facts.machine, facts.eflags, facts.interpreter)
        rules = self._rules.get(key) or _rules(name)(self.objects, facts.interpreter, facts)
        if rules.lasting:
            self._rules[key] = rules
            if facts.interpreter:
                self._known[facts.platform] = rules
        return rules

    def _name(self, facts: Facts) -> str:
        if self.system == "freebsd" or (not self.system and is_freebsd(facts)):
            return "freebsd"
        return "musl" if is_musl(facts) else "glibc"


def _rules(name: str) -> Callable[[Objects, str, Facts], Rules]:
    # Imported when needed: most sysroots need one, and start-up stays short.
    if name == "freebsd":
        from chrootbuild.rtld.freebsd import FreeBSD

        return FreeBSD
    if name == "musl":
        from chrootbuild.rtld.musl import Musl

        return Musl
    return Glibc


def _dynamic(rules: Rules, main: Object) -> Closure:
    """Return a main object's closure; programs with nothing but the same NEEDED load the same."""
    if not (rules.shares and main.main and main.facts.plain):
        return Process(rules, main).closure()
    known = rules.shared.get(main.facts.needed)
    if known is None or main.identity in known.identities:
        return _worked_out(rules, main)
    mine = [
        Load(load.name, load.path, main.path, load.via, load.words, load.optional) for load in known.first
    ]
    return Closure(main.path, "dynamic", (*mine, *known.rest))


def _worked_out(rules: Rules, main: Object) -> Closure:
    """Load everything; memoize the closure if it has nothing but loads."""
    process = Process(rules, main)
    found = process.closure()
    needed = main.facts.needed
    asked = sum(1 for load in found.loads if load.by == main.path)
    if (
        needed not in rules.shared
        and not (found.missing or found.warnings or found.cache)
        and not any("$" in name for name in needed)
        and all(load.by == main.path for load in found.loads[:asked])
        and main not in process.names.values()  # it is no library of its own
    ):
        identities = frozenset(process.identities) - {main.identity}
        rules.shared[needed] = Shared(found.loads[:asked], found.loads[asked:], identities)
    return found


def _is_program(facts: Facts) -> bool:
    if facts.type == ET_EXEC or facts.flags1 & DF_1_PIE:
        return True
    # libc.so.6 has an interpreter too: run, it prints its version.
    return bool(facts.interpreter) and not facts.soname


def _once(items: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(items))
