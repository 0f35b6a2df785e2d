"""What programs share changes no answer: held against a linker that shares nothing, on random libraries."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Closure
from chrootbuild.rtld.process import Process
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_builder import DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, Elf

NAMES = [f"lib{letter}.so" for letter in "abcdef"]
# Most names are found: only then is there anything to share.
SOME = st.lists(st.sampled_from([*NAMES * 3, "ld.so", "libnone.so", "/opt/liba.so"]), max_size=4)
NONE: tuple[int, str] = (0, "")
LISTS = st.sampled_from(
    [NONE] * 12 + [(DT_RUNPATH, "/opt"), (DT_RPATH, "/opt:/usr/lib64"), (DT_RUNPATH, "$ORIGIN")]
)


@st.composite
def library(draw: st.DrawFn, name: str) -> str | bytes:
    """Return the bytes of a library, or the name of one that it is a link to."""
    if draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from([other for other in NAMES if other < name] or [name]))
    soname = draw(st.sampled_from([name] * 12 + ["", *NAMES]))
    return elf(draw(SOME), draw(LISTS), soname).build()


def elf(needed: list[str], paths: tuple[int, str], soname: str = "") -> Elf:
    strings = [(DT_NEEDED, name) for name in needed]
    if paths != NONE:
        strings.append(paths)
    if soname:
        strings.append((DT_SONAME, soname))
    return Elf(strings=strings)


@st.composite
def sysroot(draw: st.DrawFn) -> tuple[dict[str, str | bytes], list[str]]:
    files: dict[str, str | bytes] = {
        "/lib64/ld.so": elf([], NONE, draw(st.sampled_from(["ld.so", "", *NAMES]))).build()
    }
    for name in NAMES:
        for directory in draw(st.sampled_from([["/lib64"], ["/usr/lib64"], ["/lib64", "/opt"], ["/opt"]])):
            files[f"{directory}/{name}"] = draw(library(name))
    programs = []
    for number in range(draw(st.integers(1, 4))):
        made = elf(draw(SOME), draw(LISTS))
        made.interpreter = "/lib64/ld.so"
        programs.append(f"/bin/p{number}")
        files[programs[-1]] = made.build()
    return files, programs


def answer(resolver: Resolver, program: str, *, shared: bool) -> Closure | str:
    try:
        if shared:
            return resolver.program(program)
        main = resolver.objects.program(program)
        return Process(resolver._system(main), main).closure()
    except Failure as failure:
        return failure.message


def held_against_one_alone(files: dict[str, str | bytes], programs: list[str]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        for path, content in files.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            else:
                file.symlink_to(content)
        resolver = Resolver(Sysroot(str(root)))
        for program in [*programs, *programs]:
            alone = answer(Resolver(Sysroot(str(root))), program, shared=False)
            assert answer(resolver, program, shared=True) == alone
    finally:
        shutil.rmtree(root)


@settings(max_examples=300, deadline=None)
@given(made=sysroot())
def test_the_answer_is_that_of_a_linker_that_shares_nothing(
    made: tuple[dict[str, str | bytes], list[str]],
) -> None:
    held_against_one_alone(*made)


def usual(**libraries: list[str] | Elf | str) -> dict[str, str | bytes]:
    """Return the files of two programs that need liba.so and libb.so, and of these libraries."""
    program = elf(["liba.so", "libb.so"], NONE)
    program.interpreter = "/lib64/ld.so"
    files: dict[str, str | bytes] = {f"/bin/p{number}": program.build() for number in (0, 1)}
    files["/lib64/ld.so"] = elf([], NONE, "ld.so").build()
    for name, made in libraries.items():
        if isinstance(made, list):
            made = elf(made, NONE, f"lib{name}.so")
        files[f"/lib64/lib{name}.so"] = made.build() if isinstance(made, Elf) else made
    return files


@pytest.mark.parametrize(
    "files",
    [
        usual(a=["libc.so"], b=["libc.so"], c=[]),
        # Loaded as liba.so, it satisfies libc.so, which a search would find elsewhere.
        usual(a=elf([], NONE, "libc.so"), b=["libc.so"], c=[]),
        # One file under two names is loaded once.
        usual(a=["libc.so"], b="liba.so", c=[]),
        # A library of one program has a search list of its own.
        usual(a=elf(["libc.so"], (DT_RUNPATH, "/opt")), b=[], c=[])
        | {"/opt/libc.so": elf([], NONE).build()},
        # A library needs what is not there.
        usual(a=["libc.so"], b=[]),
        # A program is a library of the other.
        usual(a=["libc.so"], b=[], c=[]) | {"/lib64/liba.so": "../bin/p1"},
    ],
)
def test_what_is_no_usual_closure(files: dict[str, str | bytes]) -> None:
    for programs in (["/bin/p0", "/bin/p1"], ["/bin/p1", "/bin/p0"]):
        held_against_one_alone(files, programs)
