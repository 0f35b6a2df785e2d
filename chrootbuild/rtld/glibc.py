"""Search rules of glibc's ld.so (ld.so(8); glibc, elf/dl-load.c)."""

from __future__ import annotations

from chrootbuild.elf.facts import OSABI_GNU, OSABI_SYSV, Facts
from chrootbuild.elf.objects import Object, Objects
from chrootbuild.errors import Failure
from chrootbuild.rtld import glibc_built_in
from chrootbuild.rtld.model import Via
from chrootbuild.rtld.search import Answer, Element, Found, Rules, Where, expand, fatal, inherit, join, uses

_OSABI_ARM = 64
_CACHED = Where("", Via.CACHE, "ld.so.cache")
_CACHED_BELOW = Where("", Via.CACHE, "ld.so.cache", some=True)


class Glibc(Rules):
    """Rules for all programs of one interpreter and machine."""

    shares = True
    cancels = "libgcc_s.so.1"
    libc = ("libc.so.6",)
    preload = "/etc/ld.so.preload"

    def __init__(self, objects: Objects, interpreter: str, facts: Facts) -> None:
        super().__init__(objects)
        self.bits, self.little, self.machine = facts.bits, facts.little, facts.machine
        made = glibc_built_in.build(objects, interpreter, facts)
        self.default = tuple(Where(name, Via.DEFAULT, name) for name in made.directories)
        self._default = frozenset(made.directories)
        self._levels = made.names.levels
        self._below = glibc_built_in.Subdirectories(objects, made).below
        self._cache = glibc_built_in.Cache(objects, facts)
        if self._cache.warning:
            self.warnings = (self._cache.warning,)
        self._values = {"LIB": (made.lib,), "PLATFORM": made.names.platforms}
        self._plain: dict[str, Answer] = {}  # the answers that do not depend on the requesting object

    # -- the lists of directories ----------------------------------------------------------

    def inherited(self, target: Object, loader: tuple[Where, ...]) -> tuple[Where, ...]:
        """Return the RPATHs of an object and of its chain of loaders."""
        return inherit(self.directories(target, Via.RPATH), loader) if target.facts.rpath else loader

    def elements(self, by: Object, text: str) -> list[Element]:
        """Split at ":", replace tokens; an empty element is the working directory, an empty list none."""
        found: list[Element] = []
        for element in text.split(":") if text else ():
            choices = expand(element, {**self._values, "ORIGIN": (by.origin,)})
            origin = uses(element, "ORIGIN")
            found.extend(Element(directory, origin, len(choices) > 1) for directory in choices)
        return found

    # -- the search ------------------------------------------------------------------------

    def search(self, name: str, by: Object, inherited: tuple[Where, ...]) -> Answer:
        """Search for one name, in the order of ld.so(8)."""
        if inherited or by.facts.runpath is not None or by.facts.nodeflib or "$" in name:
            return self._search(name, by, inherited)
        answer = self._plain.get(name)
        if answer is None:
            answer = self._search(name, by, ())
            if answer.failure is None:
                self._plain[name] = answer
        return answer

    def _search(self, name: str, by: Object, inherited: tuple[Where, ...]) -> Answer:
        found: dict[str, Found] = {}  # by path: the file for each CPU level, the best level first
        searched: list[str] = []
        choices = expand(name, {**self._values, "ORIGIN": (by.origin,)})
        try:
            for text in choices:
                if self._text(text, by, inherited, found, searched) and len(choices) == 1:
                    break
        except Failure as error:
            if not found:
                return Answer(searched=tuple(searched), failure=fatal(error, name, by))
        if by.main and uses(name, "ORIGIN"):
            warning = f"{by.path} asks for {name}, which works in the root with /proc mounted only"
            found = {path: place._replace(warning=warning) for path, place in found.items()}
        return Answer(tuple(found.values()), tuple(searched))

    def _text(
        self,
        name: str,
        by: Object,
        inherited: tuple[Where, ...],
        found: dict[str, Found],
        searched: list[str],
    ) -> bool:
        """Search until a file for every CPU is found; return whether there is one."""
        if "/" in name:
            searched.append(name)
            target = self.usable(name) if name.startswith("/") else None
            if target is not None:
                found[name] = Found(target, Via.PATH, f"opened as {name}")
            return target is not None
        first = self.directories(by, Via.RUNPATH) if by.facts.runpath is not None else inherited
        for where in first:
            searched.append(where.words)
            if self._directory(where, name, found):
                return True
        searched.append("ld.so.cache")
        if self._cached(name, by, found):
            return True
        for where in () if by.facts.nodeflib else self.default:
            searched.append(where.words)
            if self._directory(where, name, found):
                return True
        return False

    def _directory(self, where: Where, name: str, found: dict[str, Found]) -> bool:
        """Add a directory's files for each CPU level, best first; return whether one is for all."""
        proc = where.proc and where.directory not in self._default
        for below in self._below(where.directory):
            target = self.usable(join(where.directory, f"{below}/{name}"))
            if target is not None:
                place = where._replace(words=f"{where.words}/{below}", some=True)
                found.setdefault(target.path, _copy(target, place, best=not found, cached=proc))
        target = self.usable(join(where.directory, name))
        if target is None:
            return False
        found.setdefault(target.path, _copy(target, where, best=not found, cached=proc))
        return not where.some

    def _cached(self, name: str, by: Object, found: dict[str, Found]) -> bool:
        """Add the ld.so.cache entries for each CPU level, best first; return whether one is for all."""
        whole = False
        for path, level in self._cache.paths(name, self._levels).items():
            directory = path.rpartition("/")[0].removesuffix(f"/{level}")
            if by.facts.nodeflib and path.startswith(tuple(f"{name}/" for name in self._default)):
                continue
            target = self.usable(path)
            if target is not None:
                where = _CACHED_BELOW._replace(words=f"ld.so.cache, {level}") if level else _CACHED
                cached = by.facts.nodeflib or directory not in self._default
                found.setdefault(path, _copy(target, where, best=not found, cached=cached))
                whole = whole or not level
        return whole

    def usable(self, path: str) -> Object | None:
        """Return the object at a path; None for none, or for another class or machine.

        Raises Failure for a file that stops ld.so: not a sound ELF file of this byte order.
        """
        target = self.objects.get(path)
        if target is None:
            return None
        facts = target.facts
        error = facts.error
        if facts.bits:
            if facts.bits != self.bits:
                return None
            if facts.little != self.little:
                error = "ELF file data encoding is not that of the machine"
            elif facts.osabi not in (OSABI_SYSV, OSABI_GNU, _OSABI_ARM):
                error = "ELF file OS ABI invalid"
            elif facts.machine != self.machine:
                return None
        if error:
            raise Failure(f"cannot load {path}: {error}")
        return target


def _copy(target: Object, where: Where, *, best: bool, cached: bool) -> Found:
    """Label a file: for the best CPU level, for other levels, or for every CPU."""
    if best:
        return Found(target, where.via, f"found in {where.words}", cached)
    if where.some:
        return Found(target, Via.HWCAPS, f"the copy in {where.words}, for other CPUs", cached)
    return Found(target, Via.HWCAPS_BASE, f"the copy in {where.words}, for every CPU", cached)
