"""Search rules of FreeBSD's rtld (rtld(1); FreeBSD, libexec/rtld-elf/rtld.c)."""

from __future__ import annotations

import re

from chrootbuild.elf.facts import Facts
from chrootbuild.elf.objects import Object, Objects
from chrootbuild.errors import Failure
from chrootbuild.rtld.freebsd_files import HintsError, default_hints, parse_hints, read_libmap
from chrootbuild.rtld.freebsd_files import hints_path as path_hints
from chrootbuild.rtld.model import Load, Via
from chrootbuild.rtld.search import Answer, Element, Found, Rules, Where, fatal, join
from chrootbuild.sysroot.lookup import Unreadable

_COMPAT_INTERPRETER = "/libexec/ld-elf32.so.1"
_BINARY_LIMIT = 16 << 20  # bytes
_PLATFORMS = {3: "i386", 62: "amd64", 183: "arm64", 40: "arm", 20: "powerpc", 21: "powerpc", 243: "riscv"}
_TOKEN = re.compile(r"\$(?:\{(ORIGIN|OSNAME|OSREL|PLATFORM|LIB)\}|(ORIGIN|OSNAME|OSREL|PLATFORM|LIB))")
_STANDARD = re.compile(rb"\0((?:/lib/casper:)?/lib(?:32)?:/usr/lib(?:32)?)\0")
_VERSION = re.compile(rb'^USERLAND_VERSION="([^"\n]{1,64})"', re.MULTILINE)


class FreeBSD(Rules):
    """Rules for all programs of one interpreter and machine."""

    cancels = "libgcc_s.so.1"
    libc = ("libthr.so.3", "libc.so.7")

    def __init__(self, objects: Objects, interpreter: str, facts: Facts) -> None:
        super().__init__(objects)
        sysroot = objects.sysroot
        self.bits, self.little, self.machine = facts.bits, facts.little, facts.machine
        # i386 programs on amd64: the kernel uses another interpreter, with its own paths.
        self.compat32 = facts.bits == 32 and sysroot.isfile(_COMPAT_INTERPRETER)
        self.map = read_libmap(sysroot, "/etc/libmap32.conf" if self.compat32 else "/etc/libmap.conf")
        self.lasting = not self.map
        self.standard = self._standard(interpreter)
        self.hinted = self._hinted()
        self._releases = self._release(facts)

    def _standard(self, interpreter: str) -> tuple[str, ...]:
        """Return the standard directories: those built into the interpreter, else the usual ones."""
        for path in self.interpreters(interpreter or "/libexec/ld-elf.so.1"):
            try:
                match = _STANDARD.search(self.objects.sysroot.read(path, _BINARY_LIMIT))
            except Unreadable:
                continue
            if match:
                return tuple(match[1].decode().split(":"))
        if self.compat32:
            return ("/lib32", "/usr/lib32")
        casper = ("/lib/casper",) if self.objects.isdir("/lib/casper") else ()
        return (*casper, "/lib", "/usr/lib")

    def _hinted(self) -> tuple[str, ...]:
        sysroot, path = self.objects.sysroot, path_hints(compat32=self.compat32)
        if sysroot.isfile(path):
            try:
                return parse_hints(sysroot.read(path, _BINARY_LIMIT))
            except (HintsError, Unreadable) as error:
                self.warnings = (f"cannot use {path}: {error}",)
                return ()
        return default_hints(sysroot, compat32=self.compat32)

    def _release(self, facts: Facts) -> tuple[str, ...]:
        """Return the values of $OSREL: the sysroot's release, and the one the object was built for."""
        found = []
        try:
            match = _VERSION.search(self.objects.sysroot.read("/bin/freebsd-version", _BINARY_LIMIT))
            if match:
                found = [match[1].decode(errors="replace")]
                found.append(re.sub(r"-p[0-9]+$", "", found[0]))
        except Unreadable:
            pass
        if facts.freebsd >= 500000:
            found.append(f"{facts.freebsd // 100000}.{facts.freebsd // 1000 % 100}-RELEASE")
        return tuple(dict.fromkeys(found))

    # -- the lists of directories ----------------------------------------------------------

    def interpreters(self, asked: str) -> tuple[str, ...]:
        """Return the interpreter for 32-bit programs, then the requested one."""
        usual = asked in ("/libexec/ld-elf.so.1", "/usr/libexec/ld-elf.so.1")
        return (_COMPAT_INTERPRETER, asked) if self.compat32 and usual else (asked,)

    def inherited(self, target: Object, loader: tuple[Where, ...]) -> tuple[Where, ...]:
        """Return the main program's RPATH, the only list that all its libraries inherit.

        The main program has no loader, so it comes first and inherits nothing.
        """
        return loader or self._main_rpath(target)

    def _main_rpath(self, target: Object) -> tuple[Where, ...]:
        return self.directories(target, Via.RPATH) if target.main else ()

    def elements(self, by: Object, text: str) -> list[Element]:
        """Split at ":" and ";", replace tokens; empty elements are skipped."""
        return [
            Element(directory)  # the kernel passes the program its own path: no /proc is needed
            for element in re.split("[:;]", text)
            if element
            for directory in self._expand(element, by)
        ]

    def _expand(self, text: str, by: Object) -> tuple[str, ...]:
        if "$" not in text:
            return (text,)
        values = {
            "ORIGIN": by.real.rpartition("/")[0] or "/",  # of a library too: rtld takes its realpath(3)
            "OSNAME": "FreeBSD",
            "PLATFORM": _PLATFORMS.get(self.machine, ""),
            "LIB": "lib32" if self.compat32 else "lib",
        }

        def replace(release: str) -> str:
            return _TOKEN.sub(lambda match: {**values, "OSREL": release}[match[1] or match[2]], text)

        return tuple(dict.fromkeys(replace(release) for release in self._releases or ("",)))

    # -- the search ------------------------------------------------------------------------

    def search(self, name: str, by: Object, inherited: tuple[Where, ...]) -> Answer:
        """Search for one name: the first existing file is taken, or stops the linker."""
        searched: list[str] = []
        path = by.real if by.main else by.path
        mapped = self.map.find(path, name)
        brings = self._brings(mapped, by)
        try:
            found = self._search(mapped[0] if mapped else name, by, inherited, searched)
        except Failure as error:
            return Answer(searched=tuple(searched), failure=fatal(error, name, by))
        if found is None:
            return Answer(searched=tuple(searched))
        if mapped:
            found = found._replace(words=f"mapped to {mapped[0]} by {mapped[1]}, {found.words}")
        return Answer((found._replace(brings=(*brings, *found.brings)),), tuple(searched))

    def _search(
        self, name: str, by: Object, inherited: tuple[Where, ...], searched: list[str]
    ) -> Found | None:
        if "/" in name:
            for text in self._expand(name, by):
                searched.append(text)
                target = self._usable(text) if text.startswith("/") else None
                if target is not None:
                    return Found(target, Via.PATH, f"opened as {text}")
            return None
        for where, hint in self._places(by, inherited):
            searched.append(where.words)
            mapped = self.map.find(by.path, where.directory)
            directory = mapped[0] if mapped else where.directory
            target = self._usable(join(directory, name))
            if target is not None:
                return Found(
                    target, where.via, f"found in {where.words}", hint=hint, brings=self._brings(mapped, by)
                )
        return None

    def _places(self, by: Object, inherited: tuple[Where, ...]) -> list[tuple[Where, str]]:
        """Return the directories in the order of rtld(1), each with the hints entry that lists it."""
        own: tuple[Where, ...]
        if by.facts.runpath is not None:
            own = self.directories(by, Via.RUNPATH)
        else:
            own = (*self.directories(by, Via.RPATH), *inherited)
        nodeflib = by.facts.nodeflib
        hinted = [name for name in self.hinted if not (nodeflib and name in self.standard)]
        words = path_hints(compat32=self.compat32).rpartition("/")[2]
        return [
            *((where, "") for where in dict.fromkeys(own)),
            *(
                (Where(name, Via.HINTS, f"{words} {name}"), "" if name in self.standard else name)
                for name in hinted
            ),
            *((Where(name, Via.DEFAULT, name), "") for name in (() if nodeflib else self.standard)),
        ]

    def _brings(self, mapped: tuple[str, str] | None, by: Object) -> tuple[Load, ...]:
        """Return the libmap files that a mapping needs: the first, and the one that holds it."""
        if mapped is None:
            return ()
        files = dict.fromkeys((self.map.files[0], mapped[1]))
        words = f"a library is mapped to {mapped[0]}"
        return tuple(Load(file, file, by.path, Via.LIBMAP, words) for file in files)

    def _usable(self, path: str) -> Object | None:
        target = self.objects.get(path)
        if target is None:
            return None
        facts = target.facts
        error = facts.error if facts.bits else "invalid file format"
        if not error and (facts.bits, facts.little) != (self.bits, self.little):
            error = "unsupported file layout, of another class or byte order"
        elif not error and facts.machine != self.machine:
            error = "unsupported machine"
        if error:
            raise Failure(f"cannot load {path}: {error}")
        return target
