"""What programs open themselves: .note.dlopen, and libgcc_s for pthread_cancel and pthread_exit."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from chrootbuild.elf.facts import Dlopen
from chrootbuild.rtld.model import Missing, Via
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_maker import TRIPLET, Tree, run

pytestmark = [pytest.mark.cc]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "root")
    tree.interp()
    return tree


def note(entries: object, *, owner: bytes = b"FDO\0", kind: int = 0x407C0C0A) -> bytes:
    content = (entries if isinstance(entries, bytes) else json.dumps(entries).encode()) + b"\0"
    head = struct.pack("<3L", len(owner), len(content), kind)
    return head + owner + content + bytes(-len(content) % 4)


def with_notes(tree: Tree, path: str, *notes: bytes) -> None:
    """Add note sections, of whatever names, in which no segment takes part."""
    real = tree.place(path)
    for number, content in enumerate(notes):
        file = real.parent / f"note-{number}"
        file.write_bytes(content)
        run(["objcopy", "--add-section", f".note.any{number}={file}", str(real)])
        file.unlink()


def test_a_note_in_a_segment_is_read(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "note.s"
    data = ",".join(map(str, note([{"soname": ["libx.so.1"], "priority": "required", "feature": "x"}])))
    source.write_text(f'.section .note.dlopen,"a",%note\n.p2align 2\n.byte {data}\n')
    run(["cc", "-shared", "-nostdlib", "-o", str(tree.place("/usr/lib/liba.so.1")), str(source)])
    resolver = tree.resolver()
    found = resolver.objects.get("/usr/lib/liba.so.1")
    assert found is not None
    assert found.facts.dlopens == (Dlopen(("libx.so.1",), "required", "x"),)


def test_the_first_of_the_alternatives_that_exists_is_taken(tree: Tree) -> None:
    tree.lib("/usr/lib/libx.so.1", "libdeep.so.1")
    tree.lib("/usr/lib/libx.so.0")
    tree.lib("/usr/lib/libdeep.so.1")
    tree.program("/bin/p")
    entry = {
        "soname": ["libx.so.2", "libx.so.1", "libx.so.0"],
        "priority": "recommended",
        "feature": "{lzma}",
    }
    with_notes(tree, "/bin/p", note([entry]))
    closure = tree.closure("/bin/p")
    assert [(load.path, load.via, load.optional) for load in closure.loads[1:]] == [
        ("/usr/lib/libx.so.1", Via.NOTE, True),
        ("/usr/lib/libdeep.so.1", Via.DEFAULT, False),
    ]
    assert closure.loads[1].words == "may open libx.so.1 for {lzma}, found in /usr/lib"
    assert closure.missing == ()


def test_required_is_an_error_where_it_is_missing_recommended_is_not_suggested_is_left(tree: Tree) -> None:
    tree.lib("/usr/lib/libs.so.1")
    tree.program("/bin/p")
    with_notes(
        tree,
        "/bin/p",
        note([{"soname": ["libq.so.1", "libq.so.0"], "priority": "required"}]),
        note([{"soname": ["libr.so.1"]}, {"soname": ["libs.so.1"], "priority": "suggested"}]),
    )
    closure = tree.closure("/bin/p")
    places = ("ld.so.cache", f"/lib/{TRIPLET}", f"/usr/lib/{TRIPLET}", "/lib", "/usr/lib")
    assert closure.missing == (
        Missing("libq.so.1", "/bin/p", places, optional=False),
        Missing("libr.so.1", "/bin/p", places, optional=True),
    )
    assert len(closure.loads) == 1


def test_a_note_of_another_owner_or_type_or_form_says_nothing(tree: Tree) -> None:
    tree.program("/bin/p")
    entry = [{"soname": ["libq.so.1"], "priority": "required"}]
    with_notes(
        tree,
        "/bin/p",
        note(entry, owner=b"FDX\0"),
        note(entry, kind=0x407C0C0B),
        note(b"{"),
        note({"soname": ["libq.so.1"]}),
        note([{"soname": "libq.so.1"}, {"soname": [1, ""]}, {"priority": "required"}, 7]),
        note(b"[" * 100000),
    )
    closure = tree.closure("/bin/p")
    assert (len(closure.loads), closure.missing) == (1, ())


@pytest.mark.parametrize("call", ["pthread_exit(0)", "pthread_cancel(pthread_self())"])
def test_libgcc_is_taken_for_thread_functions_that_open_it(tmp_path: Path, call: str) -> None:
    source = tmp_path / "main.c"
    source.write_text(f"#include <pthread.h>\nint main(void) {{ {call}; return 0; }}\n")
    program = tmp_path / "p"
    run(["cc", "-pthread", "-o", str(program), str(source)])
    closure = Resolver(Sysroot("/")).program(str(program))
    load = next(load for load in closure.loads if load.via is Via.CANCEL)
    assert load.name == "libgcc_s.so.1"
    assert load.by == str(program)
    assert load.words.startswith(f"calls {call.partition('(')[0]}, which opens libgcc_s.so.1, found in ")


def test_a_program_that_only_defines_such_a_function_takes_no_libgcc(tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("void pthread_exit(void *x) { } int xpthread_cancel; int main(void) { return 0; }\n")
    program = tmp_path / "p"
    run(["cc", "-w", "-rdynamic", "-o", str(program), str(source)])
    assert not [
        load for load in Resolver(Sysroot("/")).program(str(program)).loads if load.via is Via.CANCEL
    ]


def test_separate_debug_information_is_neither_program_nor_library(tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
    for name, flags in {"p": [], "lib.so": ["-shared", "-fPIC"]}.items():
        made = str(tmp_path / name)
        run(["cc", "-g", *flags, "-o", made, str(source)])
        run(["objcopy", "--only-keep-debug", made, f"{made}.debug"])
        resolver = Resolver(Sysroot(str(tmp_path)))
        assert resolver.classify(f"/{name}") != ""
        assert resolver.classify(f"/{name}.debug") == ""


@pytest.mark.parametrize("style", ["sysv", "gnu", "both"])
def test_undefined_symbols_are_found_by_either_hash_table(tmp_path: Path, style: str) -> None:
    source = tmp_path / "main.c"
    source.write_text("#include <pthread.h>\nint main(void) { pthread_exit(0); }\n")
    program = tmp_path / "p"
    run(["cc", f"-Wl,--hash-style={style}", "-pthread", "-o", str(program), str(source)])
    found = Resolver(Sysroot("/")).objects.get(str(program))
    assert found is not None
    assert found.facts.cancels == "pthread_exit"


def test_a_sysroot_without_libgcc_is_a_warning(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int pthread_exit(int); int _start(void) { return pthread_exit(0); }\n")
    other = tmp_path / "other.c"
    other.write_text("int pthread_exit(int code) { return code; }\n")
    argv = ["cc", "-nostdlib", "-fPIE", "-pie", "-w"]
    library = str(tree.place("/usr/lib/liba.so.1"))
    run(["cc", "-shared", "-nostdlib", "-w", "-Wl,-soname,liba.so.1", "-o", library, str(other)])
    run([*argv, "-o", str(tree.place("/bin/p")), str(source), library])
    closure = tree.closure("/bin/p")
    assert closure.missing == ()
    assert closure.warnings == (
        "/bin/p calls pthread_exit, which opens libgcc_s.so.1: it is not there, and the program would abort",
    )
