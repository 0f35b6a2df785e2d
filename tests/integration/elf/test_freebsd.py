"""rtld's search rules, one a test, on FreeBSD files made by clang and lld. None of them can be run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.elf.detect import detect_system
from chrootbuild.errors import Failure
from chrootbuild.rtld.freebsd_files import render_hints
from chrootbuild.rtld.model import Load, Missing, Via
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_maker import CrossTree

pytestmark = [pytest.mark.package("clang"), pytest.mark.package("lld")]

INTERPRETER = "/libexec/ld-elf.so.1"
OLD, NEW = ["--disable-new-dtags", "-rpath"], ["--enable-new-dtags", "-rpath"]
NOTE = """
 .section .note.tag,"a",%note
 .p2align 2
 .long 8,4,1
 .asciz "FreeBSD"
 .long 1400097
"""


@pytest.fixture
def tree(tmp_path: Path) -> CrossTree:
    tree = CrossTree(
        tmp_path / "root", interpreter=INTERPRETER, target="x86_64-unknown-freebsd14", note=NOTE
    )
    tree.lib(INTERPRETER)
    for directory in ("/lib", "/usr/lib", "/usr/local/lib"):
        tree.lib(f"{directory}/libany.so")
    return tree


def failure(tree: CrossTree, program: str) -> str:
    with pytest.raises(Failure) as caught:
        tree.closure(program)
    return caught.value.message


def test_an_rpath_is_that_of_the_object_and_of_the_main_program_only(tree: CrossTree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*OLD, "/opt/y"])
    tree.lib("/opt/y/libb.so.1", "libc1.so.1", "libd.so.1")
    tree.lib("/opt/x/libc1.so.1")
    tree.lib("/opt/y/libd.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.ours("/bin/p") == {
        "liba.so.1": "/opt/x/liba.so.1",
        "libb.so.1": "/opt/y/libb.so.1",
        "libc1.so.1": "/opt/x/libc1.so.1",
        "libd.so.1": "not found",
    }


def test_a_runpath_is_the_objects_own_and_turns_the_rpaths_off(tree: CrossTree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*NEW, "/opt/y"])
    tree.lib("/opt/x/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.ours("/bin/p")["libb.so.1"] == "not found"
    assert tree.closure("/bin/p").missing[0].searched == (
        "RUNPATH /opt/y",
        "ld-elf.so.hints /lib",
        "ld-elf.so.hints /usr/lib",
        "ld-elf.so.hints /usr/local/lib",
        "/lib",
        "/usr/lib",
    )


def test_hints_are_read_and_named_for_the_root(tree: CrossTree) -> None:
    tree.lib("/opt/deep/liba.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.lib("/usr/lib/libb.so.1")
    tree.write("/var/run/ld-elf.so.hints", render_hints(["/opt/deep", "/usr/lib", "/usr/local/lib"]))
    tree.program("/bin/p", "liba.so.1", "libb.so.1")
    closure = tree.closure("/bin/p")
    assert [(load.path, load.via) for load in closure.loads[1:]] == [
        ("/opt/deep/liba.so.1", Via.HINTS),
        ("/usr/lib/libb.so.1", Via.HINTS),
    ]
    assert closure.hints == ("/opt/deep",)
    assert closure.loads[1].words == "needs liba.so.1, found in ld-elf.so.hints /opt/deep"


def test_a_base_that_was_never_started_is_searched_as_its_start_would_list(tree: CrossTree) -> None:
    tree.lib("/usr/local/lib/liba.so.1")
    tree.lib("/opt/extra/libb.so.1")
    tree.write("/usr/local/libdata/ldconfig/extra", "# more\n/opt/extra # and why\n/opt/none\n")
    tree.program("/bin/p", "liba.so.1", "libb.so.1")
    closure = tree.closure("/bin/p")
    assert closure.missing == ()
    assert closure.hints == ("/usr/local/lib", "/opt/extra")


def test_damaged_hints_are_a_warning(tree: CrossTree) -> None:
    tree.write("/var/run/ld-elf.so.hints", b"x" * 200)
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    closure = tree.closure("/bin/p")
    assert closure.loads[1].path == "/usr/lib/liba.so.1"
    assert closure.warnings == (
        "cannot use /var/run/ld-elf.so.hints: it does not start with the magic number of ELF hints",
    )


def test_nodeflib_leaves_the_standard_directories_out(tree: CrossTree) -> None:
    tree.lib("/usr/lib/liba.so.1")
    tree.lib("/usr/local/lib/libb.so.1")
    tree.program("/bin/p", "liba.so.1", "libb.so.1", flags=["-z", "nodefaultlib"])
    assert tree.ours("/bin/p") == {"liba.so.1": "not found", "libb.so.1": "/usr/local/lib/libb.so.1"}


def test_the_first_file_is_taken_and_the_wrong_class_is_fatal(tree: CrossTree) -> None:
    tree.for_target("i386-unknown-freebsd13").lib("/opt/x/liba.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert failure(tree, "/bin/p").startswith("cannot load /opt/x/liba.so.1: unsupported file layout")


def test_another_machine_and_no_elf_file_are_fatal(tree: CrossTree) -> None:
    tree.for_target("aarch64-unknown-freebsd14").lib("/opt/x/liba.so.1")
    tree.write("/opt/x/libb.so.1", "INPUT(-lc)" + " " * 100)
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    tree.program("/bin/q", "libb.so.1", flags=[*NEW, "/opt/x"])
    assert failure(tree, "/bin/p").startswith("cannot load /opt/x/liba.so.1: unsupported machine, needed by")
    assert failure(tree, "/bin/q").startswith("cannot load /opt/x/libb.so.1: invalid file format, needed by")


def test_tokens_braces_or_not_anywhere(tree: CrossTree) -> None:
    tree.write("/bin/freebsd-version", '#!/bin/sh\nUSERLAND_VERSION="14.0-RELEASE-p3"\n')
    tree.lib("/opt/app/amd64-FreeBSD/liba.so.1")
    tree.lib("/opt/14.0-RELEASE/libb.so.1")
    tree.lib("/opt/app/lib/libc1.so.1")
    rpath = "$ORIGIN/../${PLATFORM}-$OSNAME:/opt/$OSREL;/opt/app/$LIB"
    tree.program("/opt/app/bin/p", "liba.so.1", "libb.so.1", "libc1.so.1", flags=[*NEW, rpath])
    tree.link("/bin/p", "/opt/app/bin/p")
    assert tree.ours("/bin/p") == {
        "liba.so.1": "/opt/app/amd64-FreeBSD/liba.so.1",
        "libb.so.1": "/opt/14.0-RELEASE/libb.so.1",
        "libc1.so.1": "/opt/app/lib/libc1.so.1",
    }


def test_origin_of_a_library_is_its_real_directory(tree: CrossTree) -> None:
    tree.lib("/opt/real/liba.so.1", "libb.so.1", flags=[*NEW, "$ORIGIN/deep"])
    tree.lib("/opt/real/deep/libb.so.1")
    tree.lib("/usr/lib/deep/libb.so.1")
    tree.link("/usr/lib/liba.so.1", "/opt/real/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    assert tree.ours("/bin/p")["libb.so.1"] == "/opt/real/deep/libb.so.1"


def test_a_name_with_a_slash_is_used_as_it_stands_after_tokens(tree: CrossTree) -> None:
    tree.lib("/opt/x/liba.so.1", soname="a")
    tree.program("/opt/x/p", "$ORIGIN/liba.so.1")
    closure = tree.closure("/opt/x/p")
    assert [(load.path, load.via) for load in closure.loads[1:]] == [("/opt/x/liba.so.1", Via.PATH)]
    assert closure.warnings == ()


def test_what_is_loaded_satisfies_its_soname(tree: CrossTree) -> None:
    tree.lib("/opt/x/libb.so.1")
    tree.lib("/usr/lib/liba.so.1", "libb.so.1")
    tree.program("/bin/p", "liba.so.1", "libb.so.1", flags=[*NEW, "/opt/x"])
    closure = tree.closure("/bin/p")
    assert closure.missing == ()
    assert closure.loads[-1].via is Via.LOADED


def test_filters_bring_what_they_are_for(tree: CrossTree) -> None:
    tree.lib("/lib/libsys.so.7")
    tree.lib("/lib/libc.so.7", flags=["-F", "libsys.so.7", "-f", "libgone.so.1"])
    tree.program("/bin/p", "libc.so.7")
    closure = tree.closure("/bin/p")
    assert [(load.path, load.via) for load in closure.loads[2:]] == [("/lib/libsys.so.7", Via.FILTER)]
    assert [(missing.name, missing.optional) for missing in closure.missing] == [("libgone.so.1", True)]


def test_an_interpreter_of_before_5_2(tree: CrossTree) -> None:
    tree.interpreter = "/usr/libexec/ld-elf.so.1"
    tree.program("/bin/p")
    assert tree.closure("/bin/p").missing == (
        Missing("/usr/libexec/ld-elf.so.1", "/bin/p", ("/usr/libexec/ld-elf.so.1",)),
    )
    tree.link("/usr/libexec/ld-elf.so.1", "../../libexec/ld-elf.so.1")
    assert tree.closure("/bin/p").loads[0].path == "/usr/libexec/ld-elf.so.1"


def test_the_standard_directories_are_those_of_the_interpreter(tree: CrossTree) -> None:
    tree.program("/bin/p", "libgone.so.1")
    tree.write("/var/run/ld-elf.so.hints", render_hints([]))
    assert tree.closure("/bin/p").missing[0].searched == ("/lib", "/usr/lib")
    with tree.place(INTERPRETER).open("ab") as file:
        file.write(b"\0/lib/casper:/lib:/usr/lib\0")
    assert tree.closure("/bin/p").missing[0].searched == ("/lib/casper", "/lib", "/usr/lib")


# -- i386 ------------------------------------------------------------------------------------


def test_i386_programs_beside_amd64_ones(tree: CrossTree) -> None:
    other = tree.for_target("i386-unknown-freebsd13")
    other.lib("/libexec/ld-elf32.so.1")
    other.lib("/usr/lib32/liba.so.1")
    other.lib("/opt/32/libb.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.write("/var/run/ld-elf32.so.hints", render_hints(["/opt/32"]))
    other.program("/bin/p32", "liba.so.1", "libb.so.1")
    tree.program("/bin/p64", "liba.so.1")
    closure = tree.closure("/bin/p32")
    assert [load.path for load in closure.loads] == [
        "/libexec/ld-elf32.so.1",
        "/usr/lib32/liba.so.1",
        "/opt/32/libb.so.1",
    ]
    assert (closure.hints, closure.hints32) == ((), ("/opt/32",))
    assert tree.closure("/bin/p64").loads[1].path == "/usr/lib/liba.so.1"


def test_i386_of_its_own(tmp_path: Path) -> None:
    tree = CrossTree(tmp_path / "root", interpreter=INTERPRETER, target="i386-unknown-freebsd13", note=NOTE)
    tree.lib(INTERPRETER)
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/$PLATFORM"])
    closure = tree.closure("/bin/p")
    assert [load.path for load in closure.loads] == [INTERPRETER, "/usr/lib/liba.so.1"]


# -- libmap.conf -----------------------------------------------------------------------------


def test_libmap_maps_names_and_its_files_come_along(tree: CrossTree) -> None:
    tree.lib("/usr/local/lib/libnew.so.2", soname="libnew.so.2")
    tree.lib("/usr/lib/libold.so.1")
    tree.write("/etc/libmap.conf", "# first\nincludedir /usr/local/etc/libmap.d\n")
    tree.write("/usr/local/etc/libmap.d/x.conf", "libold.so.1  libnew.so.2 # why\n")
    tree.write("/usr/local/etc/libmap.d/x.txt", "libold.so.1 libnone.so\n")
    tree.program("/bin/p", "libold.so.1")
    closure = tree.closure("/bin/p")
    assert {load.path: load.via for load in closure.loads[1:]} == {
        "/etc/libmap.conf": Via.LIBMAP,
        "/usr/local/etc/libmap.d/x.conf": Via.LIBMAP,
        "/usr/local/lib/libnew.so.2": Via.HINTS,
    }
    assert closure.loads[-1] == Load(
        "libold.so.1",
        "/usr/local/lib/libnew.so.2",
        "/bin/p",
        Via.HINTS,
        "needs libold.so.1, mapped to libnew.so.2 by /usr/local/etc/libmap.d/x.conf,"
        " found in ld-elf.so.hints /usr/local/lib",
    )


def test_libmap_that_is_not_used_does_not_come_along(tree: CrossTree) -> None:
    tree.lib("/usr/lib/liba.so.1")
    tree.write("/etc/libmap.conf", "libold.so.1 libnew.so.2\n")
    tree.program("/bin/p", "liba.so.1")
    assert Via.LIBMAP not in {load.via for load in tree.closure("/bin/p").loads}


@pytest.mark.parametrize("constraint", ["p", "/bin/p", "/bin/"])
def test_a_constrained_mapping_holds_for_who_asks_and_then_for_all(tree: CrossTree, constraint: str) -> None:
    tree.lib("/usr/lib/libnew.so.2", "libold.so.1", soname="libnew.so.2")
    tree.lib("/usr/lib/libold.so.1")
    tree.write("/etc/libmap.conf", f"[{constraint}]\nlibold.so.1 libnew.so.2\n")
    tree.program("/bin/p", "libold.so.1")
    tree.program("/usr/sbin/q", "libold.so.1")
    resolver = tree.resolver()
    first = resolver.program("/bin/p")
    assert {load.path for load in first.loads if "lib/" in load.path} == {"/usr/lib/libnew.so.2"}
    assert resolver.program("/usr/sbin/q").loads[-1].path == "/usr/lib/libold.so.1"


def test_a_constrained_mapping_that_was_used_holds_for_all_objects_of_the_program(tree: CrossTree) -> None:
    tree.lib("/opt/new/liba.so.1", "libb.so.1", flags=[*NEW, "/opt/old"])
    tree.lib("/opt/new/libb.so.1")
    tree.write("/etc/libmap.conf", "[p]\n/opt/old /opt/new\n")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/old"])
    assert tree.ours("/bin/p") == {"liba.so.1": "/opt/new/liba.so.1", "libb.so.1": "/opt/new/libb.so.1"}


def test_libmap_maps_directories_and_names_with_a_slash(tree: CrossTree) -> None:
    tree.lib("/opt/new/liba.so.1")
    tree.lib("/opt/new/libb.so.1")
    tree.write("/etc/libmap.conf", "/opt/old /opt/new\n/opt/gone/libb.so.1 /opt/new/libb.so.1\n")
    tree.program("/bin/p", "liba.so.1", "/opt/gone/libb.so.1", flags=[*NEW, "/opt/old"])
    assert tree.ours("/bin/p") == {
        "liba.so.1": "/opt/new/liba.so.1",
        "/opt/gone/libb.so.1": "/opt/new/libb.so.1",
    }


# -- which system ----------------------------------------------------------------------------


def test_a_system_is_told_by_note_interpreter_and_libc_not_by_osabi_alone(tmp_path: Path) -> None:
    for number, (target, note, interpreter, need, system) in enumerate(
        [
            ("aarch64-unknown-linux-gnu", NOTE, "/some/loader", "libx.so.1", "freebsd"),
            ("aarch64-unknown-linux-gnu", "", INTERPRETER, "libx.so.1", "freebsd"),
            ("aarch64-unknown-linux-gnu", "", "/lib/ld-linux-aarch64.so.1", "libc.so.6", "linux"),
            ("x86_64-unknown-freebsd14", "", "/some/loader", "libx.so.1", "freebsd"),
        ]
    ):
        tree = CrossTree(tmp_path / f"root{number}", interpreter=interpreter, target=target, note=note)
        tree.write("/bin/sh", "#!/bin/x\n")
        tree.program("/bin/p", need)
        assert detect_system(Sysroot(str(tree.root)), ["/bin/none", "/bin/sh", "/bin/p"]) == system
    tree = CrossTree(tmp_path / "root", target="aarch64-unknown-linux-gnu")
    tree.lib("/lib/libx.so.1", "libc.so.7")
    assert detect_system(Sysroot(str(tree.root)), ["/lib/libx.so.1"]) == "freebsd"


def test_the_system_can_be_given(tmp_path: Path) -> None:
    tree = CrossTree(tmp_path / "root", interpreter="/some/loader", target="aarch64-unknown-linux-gnu")
    tree.lib("/some/loader")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/none;/usr/lib"])
    host = Sysroot(str(tree.root))
    words = {
        system: Resolver(host, None, system).program("/bin/p").loads[-1].words for system in ("", "freebsd")
    }
    assert words["freebsd"] == "needs liba.so.1, found in RUNPATH /usr/lib"
    assert words[""] != words["freebsd"]
