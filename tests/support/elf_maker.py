"""Makes small real ELF files in a tree, and asks the real run-time linker about them."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chrootbuild.rtld.model import Closure, Via
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot

INTERPRETER = "/lib64/ld-linux-x86-64.so.2"
TRIPLET = "x86_64-linux-gnu"

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000  # <sched.h>, <sys/mount.h>
_START = {
    "64": '__asm__(".globl _start\\n_start: mov $60, %eax\\n xor %edi, %edi\\n syscall\\n");',
    "32": '__asm__(".globl _start\\n_start: mov $1, %eax\\n xor %ebx, %ebx\\n int $0x80\\n");',
}
# What a linker adds on its own, and what only the real root of this machine would show.
_QUIET = {Via.HWCAPS, Via.HWCAPS_BASE}


@dataclass
class Tree:
    """A sysroot under construction."""

    root: Path
    bits: str = "64"
    interpreter: str = INTERPRETER
    _objects: dict[str, Path] = field(default_factory=dict)

    def place(self, path: str) -> Path:
        """Return the real path of a path in the tree, its directory made."""
        real = self.root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        return real

    def write(self, path: str, content: str | bytes) -> str:
        real = self.place(path)
        real.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def link(self, path: str, text: str) -> str:
        self.place(path).symlink_to(text)
        return path

    def interp(self, path: str = INTERPRETER, source: str = INTERPRETER) -> None:
        """Put the real interpreter of this machine into the tree."""
        shutil.copy2(os.path.realpath(source), self.place(path))

    def lib(self, path: str, *needs: str, soname: str | None = None, flags: Sequence[str] = ()) -> str:
        """Make a shared object; its soname is its file name unless told otherwise ("" for none)."""
        name = path.rpartition("/")[2] if soname is None else soname
        soname_flags = ["-soname", name] if name else []
        self._ld(["-shared", *soname_flags, *flags], path, needs, "lib")
        return path

    def program(self, path: str, *needs: str, flags: Sequence[str] = (), pie: bool = True) -> str:
        """Make a program that does nothing."""
        kind = ["-pie"] if pie else []
        self._ld([*kind, "-dynamic-linker", self.interpreter, *flags], path, needs, "start")
        self.place(path).chmod(0o755)
        return path

    def other(self, bits: str) -> Tree:
        """Return the same tree for the other class."""
        return Tree(self.root, bits, "/lib/ld-linux.so.2" if bits == "32" else INTERPRETER)

    def _ld(self, flags: Sequence[str], path: str, needs: Sequence[str], kind: str) -> None:
        emulation = "elf_x86_64" if self.bits == "64" else "elf_i386"
        stubs = [str(self._stub(name)) for name in needs]
        real = self.place(path)
        real.unlink(missing_ok=True)
        argv = ["ld", "-m", emulation, "--no-as-needed", "--allow-shlib-undefined", *flags]
        run([*argv, "-o", str(real), str(self._object(kind)), *stubs])

    def _stub(self, name: str) -> Path:
        """Return a library whose soname is ``name``, which is what ends up in NEEDED."""
        stub = self._scratch() / f"stub-{len(self._objects)}.so"
        key = f"stub {name}"
        if key not in self._objects:
            emulation = "elf_x86_64" if self.bits == "64" else "elf_i386"
            argv = ["ld", "-m", emulation, "-shared", "-soname", name, "-o", str(stub)]
            run([*argv, str(self._object("lib"))])
            self._objects[key] = stub
        return self._objects[key]

    def _object(self, kind: str) -> Path:
        if kind not in self._objects:
            made = self._scratch() / f"{kind}.o"
            text = _START[self.bits] if kind == "start" else "int nothing_at_all;"
            argv = ["cc", f"-m{self.bits}", "-c", "-fPIC", "-x", "c", "-o", str(made), "-"]
            subprocess.run(argv, input=text.encode(), check=True)
            self._objects[kind] = made
        return self._objects[kind]

    def _scratch(self) -> Path:
        scratch = self.root.parent / f"{self.root.name}-objects-{self.bits}"
        scratch.mkdir(exist_ok=True)
        return scratch

    # -- the answers -----------------------------------------------------------------------

    def resolver(self) -> Resolver:
        return Resolver(Sysroot(str(self.root)))

    def closure(self, path: str) -> Closure:
        return self.resolver().program(path)

    def ours(self, path: str) -> dict[str, str]:
        """Return what each name is satisfied with, but the interpreter and copies for other CPUs."""
        found: dict[str, str] = {}
        closure = self.closure(path)
        for load in closure.loads:
            if load.via not in (Via.INTERPRETER, *_QUIET) and not load.path.startswith("/etc/"):
                found.setdefault(load.name, os.path.normpath(load.path))
        for missing in closure.missing:
            found.setdefault(missing.name, "not found")
        return found

    def real(self, path: str, *, proc: bool = True) -> dict[str, str]:
        """Return the same from the real linker, in a chroot with or without /proc."""
        result = self.run(path, proc=proc, env={"LD_TRACE_LOADED_OBJECTS": "1"})
        return parse_ldd(result.stdout)

    def both(self, path: str) -> dict[str, str]:
        """Return our answer after it was held against the real linker's."""
        mine, real = self.ours(path), self.real(path)
        assert mine == {name: os.path.normpath(found) for name, found in real.items()}
        return mine

    def run(
        self, *argv: str, proc: bool = False, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the tree in a chroot; /proc is mounted in a name space that goes with it."""
        (self.root / "proc").mkdir(exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        root = os.fsencode(self.root)

        def enter() -> None:
            assert libc.unshare(_CLONE_NEWNS) == 0
            assert libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) == 0
            if proc:
                assert libc.mount(b"proc", root + b"/proc", b"proc", 0, None) == 0
            os.chroot(root)
            os.chdir("/")

        return subprocess.run(
            argv, capture_output=True, text=True, errors="surrogateescape", env=env or {}, preexec_fn=enter
        )


def run(argv: Sequence[str]) -> None:
    result = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    assert result.returncode == 0, result.stderr


def parse_ldd(text: str) -> dict[str, str]:
    """Return name -> path of what ldd(1) prints, without the vDSO and the interpreter."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\t(?:(.*) => )?(\S.*?)(?: \(0x[0-9a-f]+\))?", line)
        if match is None or match[2] in ("statically linked", "not a dynamic executable"):
            continue
        name, path = match[1] or match[2], match[2]
        if name.startswith(("linux-vdso", "linux-gate")) or "/ld-linux" in name:
            continue
        found[name] = path
    return found


@dataclass
class CrossTree(Tree):
    """A tree of another machine or system, made by clang and lld; nothing of it can be run here."""

    target: str = "aarch64-linux-gnu"
    flags: tuple[str, ...] = ()  # for the compiler
    note: str = ""  # assembler text that goes into every file

    def for_target(self, target: str, *flags: str) -> CrossTree:
        """Return the same tree for other objects."""
        return CrossTree(self.root, "64", self.interpreter, {}, target, flags, self.note)

    def _ld(self, flags: Sequence[str], path: str, needs: Sequence[str], kind: str) -> None:
        stubs = [str(self._stub(name)) for name in needs]
        objects = [str(self._object(name)) for name in (kind, *(["note"] if self.note else []))]
        argv = ["ld.lld", "--no-as-needed", "--allow-shlib-undefined", *flags]
        run([*argv, "-o", str(self.place(path)), *objects, *stubs])

    def _stub(self, name: str) -> Path:
        key = f"stub {name}"
        if key not in self._objects:
            stub = self._scratch() / f"stub-{len(self._objects)}.so"
            run(["ld.lld", "-shared", "-soname", name, "-o", str(stub), str(self._object("lib"))])
            self._objects[key] = stub
        return self._objects[key]

    def _object(self, kind: str) -> Path:
        if kind not in self._objects:
            made = self._scratch() / f"{kind}.o"
            text = {"start": "void _start(void) {}", "lib": "int nothing_at_all;", "note": self.note}[kind]
            language = "assembler" if kind == "note" else "c"
            argv = ["clang", f"--target={self.target}", *self.flags, "-ffreestanding", "-fPIC", "-c"]
            subprocess.run([*argv, "-x", language, "-o", str(made), "-"], input=text.encode(), check=True)
            self._objects[kind] = made
        return self._objects[kind]

    def _scratch(self) -> Path:
        scratch = self.root.parent / f"{self.root.name}-objects-{self.target}"
        scratch.mkdir(exist_ok=True)
        return scratch
