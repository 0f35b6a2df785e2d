"""musl's search rules, one a test, held against the real musl linker in a chroot."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Missing, Via
from tests.support.elf_maker import Tree, parse_ldd, run

INTERPRETER = "/lib/ld-musl-x86_64.so.1"
OLD, NEW = ["--disable-new-dtags", "-rpath"], ["--enable-new-dtags", "-rpath"]

pytestmark = [
    pytest.mark.cc,
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.package("musl"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its files are for x86-64"),
]


class MuslTree(Tree):
    """A tree whose programs are musl's."""

    def real(self, path: str, *, proc: bool = True) -> dict[str, str]:
        # musl's ldd is its interpreter, called by that name.
        if not (self.root / "usr/bin/ldd").is_symlink():
            self.link("/usr/bin/ldd", INTERPRETER)
        result = self.run("/usr/bin/ldd", path, proc=proc)
        found = parse_ldd(result.stdout)
        for line in result.stderr.splitlines():
            if line.startswith("Error loading shared library "):
                found[line.removeprefix("Error loading shared library ").partition(": ")[0]] = "not found"
        return {name: place for name, place in found.items() if "ld-musl" not in place}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = MuslTree(tmp_path / "root", interpreter=INTERPRETER)
    tree.interp(INTERPRETER, INTERPRETER)
    return tree


def test_the_interpreter_is_libc_under_all_its_names(tree: Tree) -> None:
    tree.program("/bin/p", "libc.so", "libpthread.so.0", "libm.so.6", "libc.musl-x86_64.so.1")
    closure = tree.closure("/bin/p")
    assert {load.path for load in closure.loads} == {INTERPRETER}
    assert (closure.missing, tree.run("/bin/p").returncode) == ((), 0)


def test_default_directories_in_their_order(tree: Tree) -> None:
    for name, directories in {
        "liba.so": ("/lib", "/usr/local/lib", "/usr/lib"),
        "libb.so": ("/usr/local/lib", "/usr/lib"),
        "libd.so": ("/usr/lib",),
    }.items():
        for directory in directories:
            tree.lib(f"{directory}/{name}")
    tree.program("/bin/p", "liba.so", "libb.so", "libd.so")
    assert tree.both("/bin/p") == {
        "liba.so": "/lib/liba.so",
        "libb.so": "/usr/local/lib/libb.so",
        "libd.so": "/usr/lib/libd.so",
    }


def test_the_path_file_takes_the_place_of_the_default_directories_and_comes_along(tree: Tree) -> None:
    tree.lib("/opt/one/liba.so")
    tree.lib("/opt/two/libb.so")
    tree.lib("/lib/libd.so")
    tree.write("/etc/ld-musl-x86_64.path", "/opt/one:/nowhere\n/opt/two\n")
    tree.program("/bin/p", "liba.so", "libb.so", "libd.so")
    assert tree.both("/bin/p") == {
        "liba.so": "/opt/one/liba.so",
        "libb.so": "/opt/two/libb.so",
        "libd.so": "not found",
    }
    closure = tree.closure("/bin/p")
    assert [load.path for load in closure.loads if load.via is Via.PATH_FILE] == ["/etc/ld-musl-x86_64.path"]
    assert closure.missing == (Missing("libd.so", "/bin/p", ("/opt/one", "/nowhere", "/opt/two")),)


@pytest.mark.parametrize("flags", [OLD, NEW])
def test_a_runpath_counts_as_an_rpath_and_is_inherited(tree: Tree, flags: list[str]) -> None:
    tree.lib("/opt/x/liba.so", "libb.so")
    tree.lib("/opt/x/libb.so")
    tree.lib("/lib/libb.so")
    tree.program("/bin/p", "liba.so", flags=[*flags, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so": "/opt/x/liba.so", "libb.so": "/opt/x/libb.so"}


def test_origin_of_the_program_takes_proc(tree: Tree) -> None:
    tree.lib("/opt/app/lib/liba.so")
    tree.program("/opt/app/bin/p", "liba.so", flags=[*NEW, "$ORIGIN/../lib"])
    tree.link("/bin/p", "/opt/app/bin/p")
    assert tree.ours("/bin/p") == {"liba.so": "/opt/app/lib/liba.so"}
    assert tree.run("/bin/p", proc=True).returncode == 0
    assert tree.run("/bin/p", proc=False).returncode == 127
    assert tree.closure("/bin/p").warnings == (
        "RUNPATH /opt/app/bin/../lib is from the program's $ORIGIN: musl knows it with /proc mounted only",
    )


def test_origin_of_a_library_is_the_directory_in_which_it_was_found(tree: Tree) -> None:
    tree.lib("/opt/real/liba.so", "libb.so", flags=[*NEW, "${ORIGIN}/deep"])
    tree.lib("/usr/lib/deep/libb.so")
    tree.link("/usr/lib/liba.so", "/opt/real/liba.so")
    tree.program("/bin/p", "liba.so")
    assert tree.both("/bin/p")["libb.so"] == "/usr/lib/deep/libb.so"


def test_another_token_makes_the_whole_list_void(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so")
    tree.lib("/usr/lib/liba.so")
    tree.program("/bin/p", "liba.so", flags=[*NEW, "/opt/x:/opt/$LIB"])
    assert tree.both("/bin/p") == {"liba.so": "/usr/lib/liba.so"}


def test_a_soname_does_not_satisfy_a_name_that_was_not_asked_for(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so", soname="libinner.so")
    tree.lib("/usr/lib/libinner.so")
    tree.program("/bin/p", "/opt/x/liba.so", "libinner.so")
    assert set(tree.ours("/bin/p").values()) == {"/opt/x/liba.so", "/usr/lib/libinner.so"}
    assert tree.run("/bin/p").returncode == 0


def test_a_library_of_the_wrong_class_is_fatal(tree: Tree) -> None:
    tree.other("32").lib("/opt/x/liba.so")
    tree.lib("/usr/lib/liba.so")
    tree.program("/bin/p", "liba.so", flags=[*NEW, "/opt/x"])
    with pytest.raises(Failure, match="for another machine, needed by /bin/p"):
        tree.closure("/bin/p")
    assert tree.run("/bin/p").returncode == 127


def test_a_missing_library_names_every_place(tree: Tree) -> None:
    tree.program("/bin/p", "libgone.so", flags=[*NEW, "/opt/x"])
    assert tree.both("/bin/p") == {"libgone.so": "not found"}
    assert tree.closure("/bin/p").missing[0].searched == (
        "RUNPATH /opt/x",
        "/lib",
        "/usr/local/lib",
        "/usr/lib",
    )


@pytest.mark.package("musl-tools")
def test_real_programs_dynamic_static_and_a_library(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text('#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n')
    run(["musl-gcc", "-o", str(tree.place("/bin/dynamic")), str(source)])
    run(["musl-gcc", "-static", "-o", str(tree.place("/bin/static")), str(source)])
    run(["musl-gcc", "-shared", "-fPIC", "-o", str(tree.place("/lib/libx.so")), str(source)])
    resolver = tree.resolver()
    assert resolver.program("/bin/static").kind == "static"
    for closure in (resolver.program("/bin/dynamic"), resolver.library("/lib/libx.so")):
        assert {load.path for load in closure.loads} == {INTERPRETER}
        assert closure.missing == ()
    assert (
        subprocess.run(["chroot", str(tree.root), "/bin/dynamic"], capture_output=True).stdout == b"hello\n"
    )


def test_a_musl_program_of_this_machine(tmp_path: Path) -> None:
    # The path file of Debian's musl names directories with its triplet.
    tree = Tree(tmp_path / "root", interpreter=INTERPRETER)
    os.makedirs(tree.root / "usr/lib/x86_64-linux-musl")
    tree.link("/lib/ld-musl-x86_64.so.1", "/usr/lib/x86_64-linux-musl/libc.so")
    tree.interp("/usr/lib/x86_64-linux-musl/libc.so", INTERPRETER)
    tree.lib("/usr/lib/x86_64-linux-musl/liba.so")
    tree.write("/etc/ld-musl-x86_64.path", Path("/etc/ld-musl-x86_64.path").read_text())
    tree.program("/bin/p", "liba.so", "libc.so")
    assert tree.ours("/bin/p")["liba.so"] == "/usr/lib/x86_64-linux-musl/liba.so"
    assert tree.run("/bin/p").returncode == 0
