"""More of rtld's rules, one a test: what sets it apart from glibc, beside test_elf_freebsd.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.rtld.freebsd_files import render_hints
from chrootbuild.rtld.model import Via
from tests.support.elf_maker import CrossTree
from tests.support.freebsd_sysroot import INTERPRETER, TARGETS, note

pytestmark = [pytest.mark.package("clang"), pytest.mark.package("lld")]
OLD, NEW = ["--disable-new-dtags", "-rpath"], ["--enable-new-dtags", "-rpath"]


@pytest.fixture
def tree(tmp_path: Path) -> CrossTree:
    made = CrossTree(tmp_path / "base", interpreter=INTERPRETER, target=TARGETS["amd64"], note=note(1302001))
    made.lib(INTERPRETER)
    made.lib("/lib/libc.so.7")
    made.lib("/usr/lib/libm.so.5")
    return made


def test_an_empty_element_of_a_list_is_passed_over_and_is_not_the_current_directory(tree: CrossTree) -> None:
    tree.lib("/opt/x/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, ":;/opt/x::"])
    closure = tree.closure("/bin/p")
    assert closure.loads[1].path == "/opt/x/liba.so.1"
    assert closure.warnings == ()


def test_a_runpath_of_the_main_program_is_not_its_libraries(tree: CrossTree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1")
    tree.lib("/opt/x/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert tree.ours("/bin/p") == {"liba.so.1": "/opt/x/liba.so.1", "libb.so.1": "not found"}


@pytest.mark.parametrize("kind", ["RPATH", "RUNPATH"])
def test_an_objects_own_list_comes_before_the_hints(tree: CrossTree, kind: str) -> None:
    tree.lib("/opt/x/liba.so.1")
    tree.lib("/opt/h/liba.so.1")
    tree.write("/var/run/ld-elf.so.hints", render_hints(["/opt/h"]))
    tree.program("/bin/p", "liba.so.1", flags=[*(OLD if kind == "RPATH" else NEW), "/opt/x"])
    tree.program("/bin/q", "liba.so.1")
    assert tree.closure("/bin/p").loads[1].words == f"needs liba.so.1, found in {kind} /opt/x"
    assert tree.closure("/bin/q").loads[1].path == "/opt/h/liba.so.1"


def test_the_origin_of_a_library_is_that_of_the_file_not_of_the_link(tree: CrossTree) -> None:
    tree.lib("/opt/app/lib/liba.so.1", "libb.so.1", flags=[*NEW, "$ORIGIN/deep"])
    tree.lib("/opt/app/lib/deep/libb.so.1")
    tree.link("/usr/lib/liba.so.1", "/opt/app/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    assert tree.ours("/bin/p") == {
        "liba.so.1": "/usr/lib/liba.so.1",
        "libb.so.1": "/opt/app/lib/deep/libb.so.1",
    }


def test_one_file_under_two_names_is_loaded_once(tree: CrossTree) -> None:
    tree.lib("/usr/lib/liba.so.1", "libgone.so.1", soname="")
    tree.link("/usr/lib/liba.so", "liba.so.1")
    tree.program("/bin/p", "liba.so.1", "liba.so")
    assert len(tree.closure("/bin/p").missing) == 1


def test_the_release_of_a_token_is_the_notes_where_the_base_does_not_say(tree: CrossTree) -> None:
    tree.lib("/opt/13.2-RELEASE/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/$OSREL"])
    assert tree.ours("/bin/p") == {"liba.so.1": "/opt/13.2-RELEASE/liba.so.1"}


def test_a_name_with_a_slash_is_not_searched_for(tree: CrossTree) -> None:
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "/opt/none/liba.so.1")
    (missing,) = tree.closure("/bin/p").missing
    assert missing.searched == ("/opt/none/liba.so.1",)


@pytest.fixture
def other(tree: CrossTree) -> CrossTree:
    """Return the i386 side of the amd64 base."""
    made = tree.for_target(TARGETS["i386"])
    made.lib("/libexec/ld-elf32.so.1")
    return made


def test_i386_programs_on_amd64_search_lib32_and_never_lib(tree: CrossTree, other: CrossTree) -> None:
    other.lib("/lib32/liba.so.1")
    other.lib("/usr/lib32/libb.so.1")
    other.program("/bin/p", "liba.so.1", "libb.so.1", "libm.so.5")
    assert other.ours("/bin/p") == {
        "liba.so.1": "/lib32/liba.so.1",
        "libb.so.1": "/usr/lib32/libb.so.1",
        "libm.so.5": "not found",
    }
    assert tree.closure("/bin/p").hints32 == ()


def test_i386_programs_on_amd64_have_a_libmap_of_their_own(tree: CrossTree, other: CrossTree) -> None:
    for name in ("liba.so.1", "libb.so.1"):
        other.lib(f"/usr/lib32/{name}")
    tree.lib("/usr/lib/liba.so.1")
    tree.write("/etc/libmap32.conf", "liba.so.1 libb.so.1\n")
    other.program("/bin/p32", "liba.so.1")
    tree.program("/bin/p64", "liba.so.1")
    found = other.closure("/bin/p32").loads
    assert [load.path for load in found if load.via is not Via.INTERPRETER] == [
        "/etc/libmap32.conf",
        "/usr/lib32/libb.so.1",
    ]
    assert tree.closure("/bin/p64").loads[-1].path == "/usr/lib/liba.so.1"


def test_casper_is_a_standard_directory_where_the_base_has_it(tree: CrossTree) -> None:
    tree.lib("/lib/casper/libcap_dns.so.2")
    tree.program("/bin/p", "libcap_dns.so.2")
    closure = tree.closure("/bin/p")
    assert (closure.loads[1].via, closure.hints) == (Via.DEFAULT, ())


def test_an_i386_base_of_its_own_has_the_usual_directories(tmp_path: Path) -> None:
    made = CrossTree(tmp_path / "base", interpreter=INTERPRETER, target=TARGETS["i386"], note=note(501000))
    made.lib(INTERPRETER)
    made.lib("/usr/lib/libc.so.5")
    made.program("/bin/p", "libc.so.5")
    assert [load.path for load in made.closure("/bin/p").loads] == [INTERPRETER, "/usr/lib/libc.so.5"]
