"""Simulation of loading one program: breadth-first, each name satisfied once."""

from __future__ import annotations

import re

from chrootbuild.elf.objects import Object
from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Closure, Load, Missing, Via
from chrootbuild.rtld.search import Answer, Edge, Rules, Where, make_edge
from chrootbuild.sysroot.lookup import Unreadable

_PRELOAD_LIMIT = 1 << 20  # bytes
_Step = tuple[Object, tuple[Where, ...]]  # an object, and the directories its requests inherit


class Process:
    """State of a run-time linker that maps nothing."""

    def __init__(self, rules: Rules, main: Object) -> None:
        self.rules = rules
        self.main = main
        self.names: dict[str, Object] = {}  # object by the name it satisfies
        self.identities: dict[tuple[int, int], Object] = {}
        self.queue: list[_Step] = []
        self.loads: list[Load] = []
        self.missing: list[Missing] = []
        self.warnings: list[str] = list(rules.warnings)
        self.cache: list[tuple[str, str]] = []
        self.hints: list[str] = []

    def closure(self) -> Closure:
        """Load everything and return the closure; raises Failure for an error that stops the linker."""
        if self.main.main:
            self.interpreter()
        self.add(self.main, ())
        if self.main.main:
            self.preload()
            for name in self.main.facts.audits:
                self.audit(name)
        done = 0
        while done < len(self.queue):
            walked = done
            while walked < len(self.queue):
                self.step(*self.queue[walked])
                walked += 1
            # A program calls dlopen(3) only after all of NEEDED is loaded.
            for target, inherited in self.queue[done:walked]:
                if target.facts.dlopens or target.facts.cancels:
                    self.run(target, inherited)
            done = walked
        if self.rules.remarks:
            for target, _ in self.queue:
                self.warnings.extend(self.rules.remarks.get(target, ()))
        return Closure(
            self.main.path,
            "dynamic",
            tuple(self.loads),
            tuple(dict.fromkeys(self.missing)),
            tuple(dict.fromkeys(self.warnings)),
            tuple(dict.fromkeys(self.cache)),
            () if self.rules.compat32 else tuple(dict.fromkeys(self.hints)),
            tuple(dict.fromkeys(self.hints)) if self.rules.compat32 else (),
        )

    # -- the start -------------------------------------------------------------------------

    def interpreter(self) -> None:
        """Load the interpreter, the program's first object."""
        asked = self.main.facts.interpreter
        if not asked:
            return
        paths = self.rules.interpreters(asked) if asked.startswith("/") else ()
        found = next((found for path in paths if (found := self.rules.objects.get(path)) is not None), None)
        if found is None:
            self.missing.append(Missing(asked, self.main.path, paths or (f"{asked}, a relative path",)))
            return
        facts, mine = found.facts, self.main.facts
        error = facts.error
        if (facts.bits, facts.little, facts.machine) != (mine.bits, mine.little, mine.machine):
            error = error or "it is for another machine"
        if error:
            raise Failure(
                f"cannot load {found.path}: {error}, the interpreter of {self.main.path}",
                hint="the kernel starts no program with this interpreter: replace it",
            )
        words = f"has {asked} as its interpreter"
        self.loads.append(Load(asked, found.path, self.main.path, Via.INTERPRETER, words))
        self.names[asked] = found
        if facts.soname and self.rules.by_soname:
            self.names[facts.soname] = found
        self.identities[found.identity] = found

    def preload(self) -> None:
        """Load the libraries of the system's preload file; absent ones are skipped, as by ld.so."""
        path, sysroot = self.rules.preload, self.rules.objects.sysroot
        if not path or not sysroot.exists(path):
            return
        try:
            text = sysroot.read(path, _PRELOAD_LIMIT).decode(errors="surrogateescape")
        except Unreadable as error:
            self.warnings.append(error.message)
            return
        names = re.sub(r"#.*", "", text).replace(":", " ").split()
        if names:
            words = "is read by every program"
            self.loads.append(Load(path, path, self.main.path, Via.PRELOAD, words, optional=True))
        for name in names:
            if name not in self.names:
                self.offer(name, Via.PRELOAD, "preloads")

    def audit(self, name: str) -> None:
        """Load an auditor and its closure in a namespace of its own, as rtld-audit(7) does."""
        step = (self.main, self.rules.inherited(self.main, ()))
        edge = self.ask(step, name, Via.AUDIT, "is audited by", optional=True)
        if edge.target is None:
            self.warnings.append(f"{self.main.path} is audited by {name}, which cannot be loaded")
            return
        self.loads.extend(edge.loads)
        self.note(edge)
        other = Process(self.rules, edge.target).closure()
        self.loads.extend(other.loads)
        self.missing.extend(other.missing)
        self.warnings.extend(other.warnings)
        self.cache.extend(other.cache)
        self.hints.extend((*other.hints, *other.hints32))

    def offer(self, name: str, via: Via, verb: str) -> None:
        """Load an optional object for the main program."""
        step = (self.main, self.rules.inherited(self.main, ()))
        edge = self.ask(step, name, via, verb, optional=True)
        if edge.target is None:
            self.warnings.append(f"{self.main.path} {verb} {name}, which cannot be loaded")
        else:
            self.take(edge, *step)

    # -- the walk --------------------------------------------------------------------------

    def add(self, target: Object, loader: tuple[Where, ...]) -> None:
        """Add an object under the name that it satisfies."""
        self.identities[target.identity] = target
        if target.facts.soname and self.rules.by_soname:
            self.names.setdefault(target.facts.soname, target)
        self.queue.append((target, self.rules.inherited(target, loader)))

    def step(self, target: Object, inherited: tuple[Where, ...]) -> None:
        """Follow all requests of one object."""
        edges = self.rules.edges.get((target, inherited))
        if edges is None:
            edges = self.rules.edges[target, inherited] = self.edges((target, inherited))
        names, loads = self.names, self.loads
        for edge in edges:
            have = names.get(edge.name)
            if have is not None and have is edge.target and not edge.copies:
                loads.extend(edge.loads)
            else:
                self.take(edge, target, inherited)

    def edges(self, step: _Step) -> tuple[Edge, ...]:
        """Return the requests of an object, searched once for all programs."""
        target, inherited = step
        facts, search = target.facts, self.rules.search
        found = [make_edge(name, target, search(name, target, inherited)) for name in facts.needed]
        found.extend(self.ask(step, name, Via.FILTER, "is a filter for") for name in facts.filters)
        words = "is an auxiliary filter for"
        found.extend(self.ask(step, name, Via.AUXILIARY, words, optional=True) for name in facts.auxiliaries)
        return tuple(found)

    def ask(
        self, step: _Step, name: str, via: Via, verb: str, end: str = "", *, optional: bool = False
    ) -> Edge:
        """Search for a name that is requested other than by NEEDED."""
        answer = self.rules.search(name, *step)
        return make_edge(name, step[0], answer, said=f"{verb} {name}{end}", via=via, optional=optional)

    def take(self, edge: Edge, by: Object, inherited: tuple[Where, ...]) -> None:
        """Follow one edge, to a loaded object or to a new one."""
        have, target = self.names.get(edge.name), edge.target
        if have is None:
            if target is None:
                self.nothing(edge)
                return
            have = self.identities.get(target.identity)
            if have is None:
                have = target
                self.add(target, inherited)
            self.names[edge.name] = have
            if edge.found:
                self.note(edge)
        if target is None or target.identity != have.identity:
            words = f"needs {edge.name}, which is loaded already"
            self.loads.append(Load(edge.name, have.path, by.path, Via.LOADED, words, edge.optional))
            return
        self.loads.extend(edge.loads)
        for copy in edge.copies:
            if copy.identity not in self.identities:
                self.add(copy, inherited)

    def note(self, edge: Edge) -> None:
        """Record the cache entry or hints directory that an edge needs in a root."""
        for found in edge.found:
            if found.cached:
                self.cache.append((edge.name, self.without_dots(found.target.path)))
            self.loads.extend(load for load in found.brings if load not in self.loads)
            if found.hint:
                self.hints.append(found.hint)
            if found.warning:
                self.warnings.append(found.warning)

    def without_dots(self, path: str) -> str:
        """Return a path whose directory, such as $ORIGIN/../lib, is resolved."""
        if "/../" not in path and "/./" not in path:
            return path
        directory, _, name = path.rpartition("/")
        return f"{self.rules.objects.sysroot.canonical(directory)}/{name}"

    def nothing(self, edge: Edge) -> None:
        """Record an unsatisfied name; raises a Failure that stops the linker."""
        if edge.failure is not None:
            if not edge.optional:
                raise edge.failure
            self.warnings.append(edge.failure.message)
        elif edge.missing is not None:
            self.missing.append(edge.missing)

    # -- dlopen(3) -------------------------------------------------------------------------

    def run(self, target: Object, inherited: tuple[Where, ...]) -> None:
        """Open the dlopen(3) libraries of an object's notes, and those of its thread functions."""
        if target.facts.cancels and self.rules.cancels:
            self.cancel(target, inherited)
        for note in target.facts.dlopens:
            if note.priority == "suggested":
                continue
            optional = note.priority != "required"
            end = f" for {note.feature}" if note.feature else ""
            searched: list[str] = []
            for name in note.sonames:
                edge = self.ask((target, inherited), name, Via.NOTE, "may open", end, optional=optional)
                if edge.target is not None or edge.failure is not None or name in self.names:
                    self.take(edge, target, inherited)
                    break
                searched.extend(edge.missing.searched if edge.missing else ())
            else:
                where = tuple(dict.fromkeys(searched))
                self.missing.append(Missing(note.sonames[0], target.path, where, optional))

    def cancel(self, target: Object, inherited: tuple[Where, ...]) -> None:
        """Open libgcc_s, without which pthread_cancel and pthread_exit abort."""
        name = self.rules.cancels
        if name in self.names:
            return
        libc = next((self.names[libc] for libc in self.rules.libc if libc in self.names), None)
        step = next((step for step in self.queue if step[0] is libc), (target, inherited))
        answer: Answer = self.rules.search(name, *step)
        words = f"calls {target.facts.cancels}, which opens {name}"
        edge = make_edge(name, target, answer, said=words, via=Via.CANCEL, optional=True)
        if edge.target is not None:
            self.take(edge, *step)
        else:
            self.warnings.append(f"{target.path} {words}: it is not there, and the program would abort")
