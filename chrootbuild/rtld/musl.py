"""Search rules of musl's dynamic linker (musl, ldso/dynlink.c)."""

from __future__ import annotations

import re

from chrootbuild.elf.facts import Facts
from chrootbuild.elf.objects import Object, Objects
from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Load, Via
from chrootbuild.rtld.search import Answer, Element, Found, Rules, Where, fatal, inherit, join
from chrootbuild.sysroot.lookup import Unreadable

_DEFAULT = ("/lib", "/usr/local/lib", "/usr/lib")
_PATH_LIMIT = 1 << 20  # bytes
# The interpreter is libc, and stands for the libraries that other systems split off.
_ITSELF = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\.")
_ORIGIN = re.compile(r"\$(?:\{ORIGIN\}|ORIGIN)")


class Musl(Rules):
    """Rules for all programs of one interpreter and machine."""

    by_soname = False  # only requested names are compared

    def __init__(self, objects: Objects, interpreter: str, facts: Facts) -> None:
        super().__init__(objects)
        self.bits, self.little, self.machine = facts.bits, facts.little, facts.machine
        self.interpreter = self._interpreter(interpreter, facts)
        self.path_file, directories = self._path_file()
        self.default = tuple(Where(name, Via.DEFAULT, name) for name in directories)

    def _interpreter(self, interpreter: str, facts: Facts) -> Object | None:
        candidates = (interpreter,) if interpreter else self.objects.sysroot.glob("/lib/ld-musl-*.so.1")
        for path in candidates:
            try:
                found = self.objects.get(path)
            except Unreadable:
                continue
            if found is not None and (found.facts.machine, found.facts.bits) == (facts.machine, facts.bits):
                return found
        return None

    def _path_file(self) -> tuple[str, tuple[str, ...]]:
        """Return /etc/ld-musl-ARCH.path, below the interpreter's prefix, and the directories in use."""
        if self.interpreter is None:
            return "", _DEFAULT
        prefix, _, name = self.interpreter.path.rpartition("/")
        prefix = prefix.rpartition("/")[0]
        match = re.fullmatch(r"ld-musl-(.+)\.so\.1", name)
        path = f"{prefix}/etc/ld-musl-{match[1]}.path" if match else ""
        sysroot = self.objects.sysroot
        if not path or not sysroot.isfile(path):
            return "", _DEFAULT
        text = sysroot.read(path, _PATH_LIMIT).decode(errors="surrogateescape")
        return path, tuple(name.rstrip("/") or "/" for name in re.split(r"[:\n]+", text) if name)

    def inherited(self, target: Object, loader: tuple[Where, ...]) -> tuple[Where, ...]:
        """Return the search lists of an object and of its loaders; RUNPATH counts as RPATH."""
        own = self.directories(target, Via.RUNPATH) + self.directories(target, Via.RPATH)
        return inherit(own, loader) if own else loader

    def elements(self, by: Object, text: str) -> list[Element]:
        """Split at ":" or newline; any token but $ORIGIN voids the whole list."""
        origins = _ORIGIN.findall(text)
        if len(origins) != text.count("$"):
            return []
        text = _ORIGIN.sub(lambda _: by.origin, text)
        return [Element(name, bool(origins)) for name in re.split(r"[:\n]+", text) if name]

    def search(self, name: str, by: Object, inherited: tuple[Where, ...]) -> Answer:
        """Search for one name: the first existing file is taken, or stops the linker."""
        itself = self.interpreter
        if itself is not None and (_ITSELF.match(name) or name == itself.path):
            return Answer((Found(itself, Via.LOADED, "which the interpreter is"),))
        searched: list[str] = []
        try:
            if "/" in name:
                target = self._usable(name) if name.startswith("/") else None
                found = (Found(target, Via.PATH, f"opened as {name}"),) if target is not None else ()
                return Answer(found, (name,))
            for where in (*inherited, *self.default):
                searched.append(where.words)
                target = self._usable(join(where.directory, name))
                if target is not None:
                    return Answer((self._found(target, where, by),), tuple(searched))
        except Failure as error:
            return Answer(searched=tuple(searched), failure=fatal(error, name, by))
        return Answer(searched=tuple(searched))

    def _found(self, target: Object, where: Where, by: Object) -> Found:
        warning = ""
        brings: tuple[Load, ...] = ()
        if where.proc:
            warning = f"{where.words} is from the program's $ORIGIN: musl knows it with /proc mounted only"
        if where.via is Via.DEFAULT and self.path_file:
            words = "is the list of directories that its interpreter searches"
            brings = (Load(self.path_file, self.path_file, by.path, Via.PATH_FILE, words),)
        return Found(target, where.via, f"found in {where.words}", warning=warning, brings=brings)

    def _usable(self, path: str) -> Object | None:
        target = self.objects.get(path)
        if target is None:
            return None
        facts = target.facts
        if facts.error:
            raise Failure(f"cannot load {path}: {facts.error}")
        if (facts.bits, facts.little, facts.machine) != (self.bits, self.little, self.machine):
            raise Failure(f"cannot load {path}: it is for another machine")
        return target
