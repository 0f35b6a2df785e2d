"""All ELF files of this machine: what we find is what ldd(1) finds, every difference explained."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator

import pytest

from chrootbuild.elf.facts import Facts
from chrootbuild.rtld.model import Via
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_maker import parse_ldd

pytestmark = [pytest.mark.slow, pytest.mark.root]

# Loaded by the program, not by the linker, or for another CPU than this one.
_NOT_LDDS = {Via.CANCEL, Via.NOTE, Via.HWCAPS, Via.HWCAPS_BASE}


def files(*tops: str) -> Iterator[str]:
    """Yield the regular files below some directories, under their real paths."""
    for top in tops:
        for directory, _, names in os.walk(top):
            for name in names:
                path = os.path.join(directory, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield path


def ldd(paths: list[str]) -> dict[str, str]:
    """Return what ldd prints for each file."""
    found: dict[str, str] = {}
    for start in range(0, len(paths), 100):
        some = paths[start : start + 100]
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        result = subprocess.run(
            ["ldd", *some], capture_output=True, text=True, errors="surrogateescape", env=env
        )
        # With one file there is no headline.
        headed = result.stdout if len(some) > 1 else f"{some[0]}:\n{result.stdout}"
        name = ""
        for line in headed.splitlines(keepends=True):
            if line.startswith("\t"):
                found[name] += line
            else:
                name = line.rstrip(":\n")
                found[name] = ""
    return found


def theirs(text: str) -> set[str]:
    """Return real paths, and names that were not found; with the interpreter, which parse_ldd leaves out."""
    found = {
        os.path.realpath(path) if path.startswith("/") else name for name, path in parse_ldd(text).items()
    }
    for line in text.splitlines():
        name = line.strip().split(" ")[0]
        if "/ld-linux" in name and name.startswith("/"):
            found.add(os.path.realpath(name))
    return found


def ours(resolver: Resolver, path: str, kind: str) -> set[str]:
    closure = resolver.program(path) if kind == "program" else resolver.library(path)
    found = {resolver.sysroot.canonical(load.path) for load in closure.loads if load.via not in _NOT_LDDS}
    return found | {missing.name for missing in closure.missing}


# Where the two may differ, and why.
EXPLAINED: dict[str, Callable[[Facts], bool]] = {
    "its interpreter is missing: ldd starts it with one of its own": lambda facts: bool(
        facts.interpreter and not os.path.exists(facts.interpreter)
    ),
    "it is musl's: ldd is glibc's": lambda facts: (
        "ld-musl" in facts.interpreter or "libc.so" in facts.needed
    ),
}


@pytest.mark.parametrize("tops", [("/usr/bin", "/usr/sbin"), ("/usr/lib",)])
def test_every_elf_file_of_this_machine_loads_what_ldd_says(tops: tuple[str, ...]) -> None:
    resolver = Resolver(Sysroot("/"))
    kinds = {
        path: kind for path in files(*tops) if (kind := resolver.classify(path)) in ("program", "library")
    }
    if len(kinds) < 300:
        pytest.skip("needs a machine with more programs on it")
    answers = ldd(list(kinds))
    wrong = {}
    for path, kind in kinds.items():
        mine, ldds = ours(resolver, path, kind), theirs(answers[path])
        facts = resolver.objects.program(path).facts
        if mine != ldds and not any(excuses(facts) for excuses in EXPLAINED.values()):
            wrong[path] = (sorted(mine - ldds), sorted(ldds - mine))
    assert wrong == {}


def test_a_program_reached_through_a_link_finds_its_libraries_where_the_kernel_would() -> None:
    # ldd names the linker the link, so that $ORIGIN is the link's directory; the kernel resolves it.
    resolver = Resolver(Sysroot("/"))
    checked = 0
    for directory in ("/usr/bin", "/usr/sbin"):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if not os.path.islink(path) or resolver.classify(path) != "program":
                continue
            assert ours(resolver, path, "program") == ours(resolver, os.path.realpath(path), "program")
            checked += 1
    if not checked:
        pytest.skip("needs a program behind a link")
