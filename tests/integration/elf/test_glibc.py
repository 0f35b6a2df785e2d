"""One rule of ld.so(8) a test: real files, our answer, and the real linker's answer in a chroot."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.rtld.model import Load, Missing, Via
from chrootbuild.rtld.root_cache import render_cache
from tests.support.elf_maker import INTERPRETER, TRIPLET, Tree, run

pytestmark = [
    pytest.mark.cc,
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its files are for x86-64"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "root")
    tree.interp()
    return tree


def ldconfig(tree: Tree, *directories: str) -> None:
    tree.write("/etc/ld.so.conf", "".join(f"{directory}\n" for directory in directories))
    run(["ldconfig", "-X", "-r", str(tree.root)])


def edge(tree: Tree, program: str, name: str) -> Load:
    return next(load for load in tree.closure(program).loads if load.name == name)


def failure(tree: Tree, program: str) -> str:
    with pytest.raises(Failure) as caught:
        tree.closure(program)
    return caught.value.message


# -- the order of the places -----------------------------------------------------------------


def test_default_directories_are_searched_in_the_order_that_is_built_into_the_interpreter(
    tree: Tree,
) -> None:
    for name, places in {"liba.so.1": 4, "libb.so.1": 3, "libc1.so.1": 2, "libd.so.1": 1}.items():
        for directory in ["/usr/lib", "/lib", f"/usr/lib/{TRIPLET}", f"/lib/{TRIPLET}"][:places]:
            tree.lib(f"{directory}/{name}")
    tree.program("/bin/p", "liba.so.1", "libb.so.1", "libc1.so.1", "libd.so.1")
    assert tree.both("/bin/p") == {
        "liba.so.1": f"/lib/{TRIPLET}/liba.so.1",
        "libb.so.1": f"/usr/lib/{TRIPLET}/libb.so.1",
        "libc1.so.1": "/lib/libc1.so.1",
        "libd.so.1": "/usr/lib/libd.so.1",
    }


def test_default_directories_without_an_interpreter_are_those_of_the_sysroot(tree: Tree) -> None:
    tree.lib(f"/usr/lib/{TRIPLET}/liba.so.1", "libb.so.1")
    tree.lib("/usr/lib64/libb.so.1")
    (tree.root / INTERPRETER.lstrip("/")).unlink()
    closure = tree.resolver().library(f"/usr/lib/{TRIPLET}/liba.so.1")
    assert closure.missing[0].searched[1:] == (
        f"/lib/{TRIPLET}",
        f"/usr/lib/{TRIPLET}",
        "/lib",
        "/usr/lib",
    )
    (tree.root / "usr/lib" / TRIPLET / "liba.so.1").rename(tree.place("/liba.so.1"))
    (tree.root / "usr/lib" / TRIPLET).rmdir()
    closure = tree.resolver().library("/liba.so.1")
    assert [load.path for load in closure.loads] == ["/usr/lib64/libb.so.1"]


def test_the_cache_comes_before_the_default_directories(tree: Tree) -> None:
    tree.lib("/opt/lib/liba.so.1")
    tree.lib(f"/lib/{TRIPLET}/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    ldconfig(tree, "/opt/lib")
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/lib/liba.so.1"}
    closure = tree.closure("/bin/p")
    assert closure.cache == (("liba.so.1", "/opt/lib/liba.so.1"),)
    assert edge(tree, "/bin/p", "liba.so.1").words == "needs liba.so.1, found in ld.so.cache"


def test_a_cache_entry_in_a_default_directory_is_not_needed_in_the_root(tree: Tree) -> None:
    tree.lib(f"/lib/{TRIPLET}/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    ldconfig(tree, f"/lib/{TRIPLET}")
    closure = tree.closure("/bin/p")
    assert (edge(tree, "/bin/p", "liba.so.1").via, closure.cache) == (Via.CACHE, ())


def test_a_cache_entry_whose_file_is_gone_is_passed_over(tree: Tree) -> None:
    tree.lib("/opt/lib/liba.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    ldconfig(tree, "/opt/lib")
    (tree.root / "opt/lib/liba.so.1").unlink()
    assert tree.both("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1"}


def test_a_damaged_cache_is_no_cache_and_a_warning(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    tree.write("/etc/ld.so.cache", b"glibc-ld.so.cache1.1" + b"\xff" * 100)
    assert tree.both("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1"}
    assert tree.closure("/bin/p").warnings == (
        "cannot use /etc/ld.so.cache: it has more entries than bytes",
    )


def test_a_runpath_comes_before_the_cache(tree: Tree) -> None:
    tree.lib("/opt/lib/liba.so.1")
    tree.lib("/opt/run/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=["--enable-new-dtags", "-rpath", "/nowhere:/opt/run"])
    ldconfig(tree, "/opt/lib")
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/run/liba.so.1"}
    assert edge(tree, "/bin/p", "liba.so.1").words == "needs liba.so.1, found in RUNPATH /opt/run"


def test_a_missing_library_names_every_place_that_was_searched(tree: Tree) -> None:
    tree.program("/bin/p", "libgone.so.2", flags=["--enable-new-dtags", "-rpath", "/opt/food/lib"])
    assert tree.both("/bin/p") == {"libgone.so.2": "not found"}
    assert tree.closure("/bin/p").missing == (
        Missing(
            "libgone.so.2",
            "/bin/p",
            (
                "RUNPATH /opt/food/lib",
                "ld.so.cache",
                f"/lib/{TRIPLET}",
                f"/usr/lib/{TRIPLET}",
                "/lib",
                "/usr/lib",
            ),
        ),
    )


# -- RPATH and RUNPATH -----------------------------------------------------------------------

OLD, NEW = ["--disable-new-dtags", "-rpath"], ["--enable-new-dtags", "-rpath"]


def test_an_rpath_is_inherited_by_the_dependencies_of_dependencies(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1")
    tree.lib("/opt/x/libb.so.1", "libc1.so.1")
    tree.lib("/opt/x/libc1.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert set(tree.both("/bin/p").values()) == {
        "/opt/x/liba.so.1",
        "/opt/x/libb.so.1",
        "/opt/x/libc1.so.1",
    }
    assert edge(tree, "/bin/p", "libc1.so.1") == Load(
        "libc1.so.1",
        "/opt/x/libc1.so.1",
        "/opt/x/libb.so.1",
        Via.RPATH,
        "needs libc1.so.1, found in RPATH /opt/x",
    )


def test_the_rpath_of_the_nearest_loader_comes_first(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*OLD, "/opt/y"])
    tree.lib("/opt/x/libb.so.1")
    tree.lib("/opt/y/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.both("/bin/p")["libb.so.1"] == "/opt/y/libb.so.1"


def test_a_library_with_an_rpath_inherits_that_of_its_loaders_as_well(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*OLD, "/opt/y"])
    tree.lib("/opt/x/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.both("/bin/p")["libb.so.1"] == "/opt/x/libb.so.1"


def test_an_empty_runpath_turns_the_rpaths_off_like_any_other(tree: Tree) -> None:
    path = tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*NEW, "/zzz"])
    real = tree.root / path.lstrip("/")
    real.write_bytes(real.read_bytes().replace(b"\0/zzz\0", b"\0\0zzz\0"))
    tree.lib("/opt/x/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/x/liba.so.1", "libb.so.1": "not found"}
    assert tree.closure("/bin/p").warnings == ()


def test_a_runpath_is_not_inherited(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1")
    tree.lib("/opt/x/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/x/liba.so.1", "libb.so.1": "not found"}


def test_an_object_with_a_runpath_inherits_no_rpath(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*NEW, "/opt/y"])
    tree.lib("/opt/x/libb.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/x/liba.so.1", "libb.so.1": "not found"}


def test_the_chain_goes_on_through_an_object_with_a_runpath(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "libb.so.1", flags=[*NEW, "/opt/y"])
    tree.lib("/opt/y/libb.so.1", "libc1.so.1")
    tree.lib("/opt/x/libc1.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*OLD, "/opt/x"])
    assert tree.both("/bin/p")["libc1.so.1"] == "/opt/x/libc1.so.1"


def test_an_rpath_is_ignored_beside_a_runpath(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1")
    tree.lib("/opt/y/liba.so.1")
    path = tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/y", "-soname", "/opt/x"])
    # DT_SONAME, of no use in a program, becomes DT_RPATH.
    patch_tag(tree.root / path.lstrip("/"), old=14, new=15)
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/y/liba.so.1"}


def test_the_same_library_is_found_anew_where_what_is_inherited_differs(tree: Tree) -> None:
    tree.lib("/opt/a/libdeep.so.1")
    tree.lib("/opt/b/libdeep.so.1")
    tree.lib("/usr/lib/libmid.so.1", "libdeep.so.1")
    tree.program("/bin/a", "libmid.so.1", flags=[*OLD, "/opt/a"])
    tree.program("/bin/b", "libmid.so.1", flags=[*OLD, "/opt/b"])
    resolver = tree.resolver()
    found = [resolver.program(path).loads[-1].path for path in ("/bin/a", "/bin/b")]
    assert found == ["/opt/a/libdeep.so.1", "/opt/b/libdeep.so.1"]
    assert [tree.real(path)["libdeep.so.1"] for path in ("/bin/a", "/bin/b")] == found


def test_slashes_at_the_end_and_repeated_directories_make_no_difference(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1")
    tree.program("/bin/p", "liba.so.1", "libgone.so.1", flags=[*NEW, "/opt/x//:/opt/x:/opt/x/"])
    assert tree.both("/bin/p")["liba.so.1"] == "/opt/x/liba.so.1"
    assert tree.closure("/bin/p").missing[0].searched[:2] == ("RUNPATH /opt/x", "ld.so.cache")


def test_a_directory_relative_to_the_current_one_is_left_out_with_a_warning(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "lib::/opt/x"])
    assert tree.ours("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1"}
    assert tree.closure("/bin/p").warnings == (
        "/bin/p searches 'lib' below the current directory (RUNPATH)",
        "/bin/p searches '.' below the current directory (RUNPATH)",
    )


# -- tokens ----------------------------------------------------------------------------------


def test_origin_of_the_program_is_its_real_directory(tree: Tree) -> None:
    tree.lib("/opt/app/lib/liba.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/opt/app/bin/p", "liba.so.1", flags=[*NEW, "$ORIGIN/../lib"])
    tree.link("/usr/bin/p", "../../opt/app/bin/p")
    assert tree.both("/usr/bin/p") == {"liba.so.1": "/opt/app/lib/liba.so.1"}


def test_origin_of_a_library_is_the_directory_in_which_it_was_found(tree: Tree) -> None:
    tree.lib("/opt/real/liba.so.1", "libb.so.1", flags=[*NEW, "${ORIGIN}/deep"])
    tree.lib("/opt/real/deep/libb.so.1")
    tree.lib("/usr/lib/deep/libb.so.1")
    tree.link("/usr/lib/liba.so.1", "../../opt/real/liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    assert tree.both("/bin/p")["libb.so.1"] == "/usr/lib/deep/libb.so.1"


def test_lib_is_what_the_interpreter_was_built_with(tree: Tree) -> None:
    tree.lib(f"/opt/lib/{TRIPLET}/liba.so.1")
    tree.lib("/opt/lib64/liba.so.1")
    tree.program("/opt/bin/p", "liba.so.1", flags=[*NEW, "$ORIGIN/../$LIB"])
    assert tree.both("/opt/bin/p") == {"liba.so.1": f"/opt/lib/{TRIPLET}/liba.so.1"}


def test_platform_stands_for_every_cpu_that_there_is_a_copy_for(tree: Tree) -> None:
    for name in ("haswell", "x86_64"):
        tree.lib(f"/opt/{name}/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/$PLATFORM"])
    mine = {load.path for load in tree.closure("/bin/p").loads[1:]}
    assert mine == {"/opt/haswell/liba.so.1", "/opt/x86_64/liba.so.1"}
    assert tree.real("/bin/p")["liba.so.1"] in mine


def test_a_token_that_goes_on_as_a_name_is_none(tree: Tree) -> None:
    tree.lib("/opt/$ORIGINAL/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/$ORIGINAL"])
    assert tree.both("/bin/p") == {"liba.so.1": "/opt/$ORIGINAL/liba.so.1"}


def test_a_needed_name_with_a_slash_is_used_as_it_stands(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", soname="other")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "/opt/x/liba.so.1")
    assert tree.both("/bin/p") == {"/opt/x/liba.so.1": "/opt/x/liba.so.1"}
    assert edge(tree, "/bin/p", "/opt/x/liba.so.1").via is Via.PATH


def test_tokens_are_replaced_in_a_needed_name_with_a_slash(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", "${ORIGIN}/deep/libb.so.1", soname="a")
    tree.lib("/opt/x/deep/libb.so.1", soname="b")
    tree.program("/bin/p", "/opt/x/liba.so.1")
    mine, real = tree.ours("/bin/p"), tree.real("/bin/p")
    assert sorted(mine.values()) == sorted(map(os.path.normpath, real.values()))
    assert mine["${ORIGIN}/deep/libb.so.1"] == "/opt/x/deep/libb.so.1"


def test_a_program_that_needs_a_path_below_its_origin_warns_that_proc_is_needed(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1", soname="a")
    tree.program("/opt/x/p", "$ORIGIN/liba.so.1")
    assert tree.ours("/opt/x/p") == {"$ORIGIN/liba.so.1": "/opt/x/liba.so.1"}
    assert tree.real("/opt/x/p", proc=True) == {"/opt/x/liba.so.1": "/opt/x/liba.so.1"}
    assert tree.real("/opt/x/p", proc=False) == {}
    assert tree.closure("/opt/x/p").warnings == (
        "/opt/x/p asks for $ORIGIN/liba.so.1, which works in the root with /proc mounted only",
    )


def test_what_the_programs_origin_finds_has_to_be_in_the_cache_of_a_root_without_proc(tree: Tree) -> None:
    tree.lib("/opt/x/lib/liba.so.1", "libb.so.1")
    tree.lib("/opt/x/lib/libb.so.1")
    tree.program("/opt/x/bin/p", "liba.so.1", flags=[*OLD, "$ORIGIN/../lib"])
    assert tree.run("/opt/x/bin/p", proc=True).returncode == 0
    assert tree.run("/opt/x/bin/p", proc=False).returncode == 127
    closure = tree.closure("/opt/x/bin/p")
    assert closure.cache == (("liba.so.1", "/opt/x/lib/liba.so.1"), ("libb.so.1", "/opt/x/lib/libb.so.1"))
    tree.write("/etc/ld.so.cache", render_cache(tree.resolver().sysroot, closure.cache))
    assert tree.run("/opt/x/bin/p", proc=False).returncode == 0


# -- copies for better CPUs ------------------------------------------------------------------


def kinds(tree: Tree, program: str) -> dict[str, Via]:
    return {load.path: load.via for load in tree.closure(program).loads[1:]}


def test_glibc_hwcaps_below_a_searched_directory_with_all_levels_and_the_baseline(tree: Tree) -> None:
    for below in ("", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v3/", "glibc-hwcaps/x86-64-v9/"):
        tree.lib(f"/opt/x/{below}liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    mine = kinds(tree, "/bin/p")
    assert mine == {
        "/opt/x/glibc-hwcaps/x86-64-v3/liba.so.1": Via.RUNPATH,
        "/opt/x/glibc-hwcaps/x86-64-v2/liba.so.1": Via.HWCAPS,
        "/opt/x/liba.so.1": Via.HWCAPS_BASE,
    }
    assert tree.real("/bin/p")["liba.so.1"] in mine


def test_glibc_hwcaps_below_a_default_directory(tree: Tree) -> None:
    for below in ("", "glibc-hwcaps/x86-64-v2/"):
        tree.lib(f"/usr/lib/{below}liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    mine = kinds(tree, "/bin/p")
    assert list(mine.values()) == [Via.DEFAULT, Via.HWCAPS_BASE]
    assert tree.real("/bin/p")["liba.so.1"] in mine


def test_glibc_hwcaps_in_the_extension_of_the_cache(tree: Tree) -> None:
    for below in ("", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v4/"):
        tree.lib(f"/opt/lib/{below}liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    ldconfig(tree, "/opt/lib")
    mine = kinds(tree, "/bin/p")
    assert mine == {
        "/opt/lib/glibc-hwcaps/x86-64-v4/liba.so.1": Via.CACHE,
        "/opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1": Via.HWCAPS,
        "/opt/lib/liba.so.1": Via.HWCAPS_BASE,
    }
    assert tree.real("/bin/p")["liba.so.1"] in mine
    assert {path for _, path in tree.closure("/bin/p").cache} == set(mine)


def test_a_baseline_that_the_cache_lacks_is_looked_for_beside_the_better_copy(tree: Tree) -> None:
    level = tree.lib("/opt/lib/glibc-hwcaps/x86-64-v2/liba.so.1")
    tree.lib("/opt/lib/liba.so.1")
    tree.write("/etc/ld.so.cache", render_cache(tree.resolver().sysroot, [("liba.so.1", level)]))
    tree.program("/bin/p", "liba.so.1")
    assert kinds(tree, "/bin/p") == {level: Via.CACHE, "/opt/lib/liba.so.1": Via.HWCAPS_BASE}
    assert tree.real("/bin/p")["liba.so.1"] in kinds(tree, "/bin/p")


def test_what_only_the_copy_for_another_cpu_needs_comes_too(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1", "libslow.so.1")
    tree.lib("/usr/lib/glibc-hwcaps/x86-64-v2/liba.so.1", "libfast.so.1")
    tree.lib("/usr/lib/libslow.so.1")
    tree.lib("/usr/lib/libfast.so.1")
    tree.program("/bin/p", "liba.so.1")
    assert {"/usr/lib/libslow.so.1", "/usr/lib/libfast.so.1"} <= set(kinds(tree, "/bin/p"))


def test_a_copy_for_some_cpus_leaves_the_search_to_the_others(tree: Tree) -> None:
    tree.lib("/opt/x/glibc-hwcaps/x86-64-v2/liba.so.1")
    tree.lib("/opt/haswell/libb.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.lib("/usr/lib/libb.so.1")
    tree.program("/bin/p", "liba.so.1", "libb.so.1", flags=[*NEW, "/opt/x:/opt/$PLATFORM"])
    mine = kinds(tree, "/bin/p")
    assert mine == {
        "/opt/x/glibc-hwcaps/x86-64-v2/liba.so.1": Via.RUNPATH,
        "/usr/lib/liba.so.1": Via.HWCAPS_BASE,
        "/opt/haswell/libb.so.1": Via.RUNPATH,
        "/usr/lib/libb.so.1": Via.HWCAPS_BASE,
    }
    assert set(tree.real("/bin/p").values()) <= set(mine)


@pytest.mark.parametrize("below", ["tls", "x86_64", "tls/x86_64", "haswell"])
def test_the_older_subdirectories_where_the_interpreter_still_has_them(tree: Tree, below: str) -> None:
    binary = (tree.root / INTERPRETER.lstrip("/")).read_bytes()
    tree.lib("/opt/x/liba.so.1")
    tree.lib(f"/opt/x/{below}/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    mine = set(kinds(tree, "/bin/p"))
    assert tree.real("/bin/p")["liba.so.1"] in mine
    assert (f"/opt/x/{below}/liba.so.1" in mine) == (b"Legacy HWCAP" in binary)


# -- names that are satisfied already --------------------------------------------------------


def test_an_object_that_is_loaded_satisfies_its_soname_without_a_search(tree: Tree) -> None:
    tree.lib("/opt/x/libinner.so.1")
    tree.lib("/usr/lib/liba.so.1", "libinner.so.1")
    tree.program("/bin/p", "/opt/x/libinner.so.1", "liba.so.1")
    tree.lib("/opt/x/libinner.so.1")
    assert set(tree.ours("/bin/p").values()) == {"/opt/x/libinner.so.1", "/usr/lib/liba.so.1"}
    assert set(tree.real("/bin/p").values()) == {"/opt/x/libinner.so.1", "/usr/lib/liba.so.1"}
    load = next(load for load in tree.closure("/bin/p").loads if load.by == "/usr/lib/liba.so.1")
    assert (load.via, load.path) == (Via.LOADED, "/opt/x/libinner.so.1")


def test_loading_is_breadth_first(tree: Tree) -> None:
    # libdeep is found by the program's RUNPATH before liba, which could not find it, asks for it.
    tree.lib("/opt/x/libdeep.so.1")
    tree.lib("/usr/lib/liba.so.1", "libdeep.so.1")
    tree.program("/bin/p", "liba.so.1", "libdeep.so.1", flags=[*NEW, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1", "libdeep.so.1": "/opt/x/libdeep.so.1"}


def test_the_same_file_under_two_names_is_loaded_once(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1", "libb.so.1", soname="")
    tree.link("/usr/lib/libsame.so", "liba.so.1")
    tree.lib("/usr/lib/libb.so.1")
    tree.program("/bin/p", "liba.so.1", "libsame.so")
    assert set(tree.real("/bin/p").values()) == {"/usr/lib/liba.so.1", "/usr/lib/libb.so.1"}
    loads = tree.closure("/bin/p").loads
    # Both names are opened, so both have to be there; what it needs is asked for once.
    assert [load.path for load in loads[1:]] == [
        "/usr/lib/liba.so.1",
        "/usr/lib/libsame.so",
        "/usr/lib/libb.so.1",
    ]


def test_libraries_that_need_each_other_come_to_an_end(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1", "libb.so.1", "liba.so.1")
    tree.lib("/usr/lib/libb.so.1", "liba.so.1")
    tree.program("/bin/p", "liba.so.1")
    assert tree.both("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1", "libb.so.1": "/usr/lib/libb.so.1"}


def test_the_interpreter_satisfies_its_own_soname(tree: Tree) -> None:
    tree.program("/bin/p", "ld-linux-x86-64.so.2")
    assert [(load.path, load.via) for load in tree.closure("/bin/p").loads] == [
        (INTERPRETER, Via.INTERPRETER),
        (INTERPRETER, Via.LOADED),
    ]


def test_names_that_are_no_utf8(tree: Tree) -> None:
    name = os.fsdecode(b"lib\xff.so.1")
    tree.lib(f"/usr/lib/{name}")
    tree.program("/bin/p", name)
    assert tree.both("/bin/p") == {name: f"/usr/lib/{name}"}


# -- files that are no answer ----------------------------------------------------------------


def test_a_library_of_the_wrong_class_on_the_way_is_skipped(tree: Tree) -> None:
    tree.other("32").lib("/opt/x/liba.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1"}


def test_a_library_for_another_machine_on_the_way_is_skipped(tree: Tree) -> None:
    tree.lib("/opt/x/liba.so.1")
    patch(tree.root / "opt/x/liba.so.1", 18, b"\xb7\x00")  # EM_AARCH64
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert tree.both("/bin/p") == {"liba.so.1": "/usr/lib/liba.so.1"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"INPUT(libb.so.1)" + data, "invalid ELF header"),
        (lambda data: data[:0], "file too short"),
        (lambda data: data[:30], "file too short"),
        (lambda data: data[:5] + b"\x02" + data[6:], "ELF file data encoding"),
        (lambda data: data[:7] + b"\x09" + data[8:], "ELF file OS ABI invalid"),
        (lambda data: data[:6] + b"\x07" + data[7:], "ELF file version ident does not match current one"),
        (lambda data: data[:20] + b"\x07" + data[21:], "ELF file version does not match current one"),
        (lambda data: data[:16] + b"\x01" + data[17:], "only ET_DYN and ET_EXEC can be loaded"),
        (lambda data: data[:54] + b"\x20" + data[55:], "ELF file's phentsize not the expected size"),
    ],
)
def test_a_file_on_the_way_that_is_no_sound_object_is_fatal(tree: Tree, change: object, words: str) -> None:
    assert callable(change)
    tree.lib("/opt/x/liba.so.1")
    broken = tree.root / "opt/x/liba.so.1"
    broken.write_bytes(change(broken.read_bytes()))
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    message = failure(tree, "/bin/p")
    assert message.startswith(f"cannot load /opt/x/liba.so.1: {words}")
    assert message.endswith(", needed by /bin/p as liba.so.1")
    result = tree.run("/bin/p")
    assert result.returncode == 127
    assert words in result.stderr


def test_a_directory_in_the_place_of_a_library_is_fatal(tree: Tree) -> None:
    tree.place("/opt/x/liba.so.1/x")
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert failure(tree, "/bin/p").startswith("cannot read /opt/x/liba.so.1: it is not a regular file")
    assert tree.run("/bin/p").returncode == 127


def test_a_fatal_file_does_no_harm_where_the_name_is_satisfied_already(tree: Tree) -> None:
    tree.lib("/opt/y/liba.so.1", "libb.so.1", flags=[*NEW, "/opt/x"])
    tree.write(
        "/opt/x/libb.so.1", "no ELF file, but as long as a header of one, so that it is told from a stub"
    )
    tree.lib("/usr/lib/libb.so.1")
    tree.program("/bin/p", "libb.so.1", "/opt/y/liba.so.1")
    assert set(tree.ours("/bin/p").values()) == set(tree.real("/bin/p").values())


def test_nodeflib_leaves_out_the_default_directories_and_the_cache_entries_in_them(tree: Tree) -> None:
    tree.lib(f"/lib/{TRIPLET}/liba.so.1")
    tree.lib("/opt/lib/libb.so.1")
    tree.lib("/usr/lib/libc1.so.1")
    tree.program("/bin/p", "liba.so.1", "libb.so.1", "libc1.so.1", flags=["-z", "nodefaultlib"])
    ldconfig(tree, f"/lib/{TRIPLET}", "/opt/lib")
    assert tree.both("/bin/p") == {
        "liba.so.1": "not found",
        "libb.so.1": "/opt/lib/libb.so.1",
        "libc1.so.1": "not found",
    }
    assert tree.closure("/bin/p").missing[0].searched == ("ld.so.cache",)


# -- other tags ------------------------------------------------------------------------------


def test_a_filter_library_brings_what_it_is_a_filter_for(tree: Tree) -> None:
    tree.lib("/usr/lib/libreal.so.1")
    tree.lib("/usr/lib/libaux.so.1")
    tree.lib("/usr/lib/liba.so.1", flags=["-F", "libreal.so.1", "-f", "libaux.so.1", "-f", "libgone.so.1"])
    tree.program("/bin/p", "liba.so.1")
    assert tree.both("/bin/p")["libgone.so.1"] == "not found"
    assert tree.run("/bin/p").returncode == 0
    closure = tree.closure("/bin/p")
    assert {load.name: load.via for load in closure.loads[2:]} == {
        "libreal.so.1": Via.FILTER,
        "libaux.so.1": Via.AUXILIARY,
    }
    assert [missing.optional for missing in closure.missing] == [True]


def test_a_missing_filtee_is_missing(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1", flags=["-F", "libgone.so.1"])
    tree.program("/bin/p", "liba.so.1")
    assert [(item.name, item.optional) for item in tree.closure("/bin/p").missing] == [
        ("libgone.so.1", False)
    ]
    assert tree.run("/bin/p").returncode == 127


def test_ld_so_preload_is_taken_along_with_what_it_lists(tree: Tree) -> None:
    tree.lib("/opt/pre/libpre.so.1", "libdep.so.1")
    tree.lib("/usr/lib/libdep.so.1")
    tree.lib("/usr/lib/libplain.so.1")
    tree.lib("/usr/lib/liba.so.1")
    tree.write(
        "/etc/ld.so.preload", "# libno.so\n/opt/pre/libpre.so.1:libplain.so.1\n\tlibgone.so.1 # and why\n"
    )
    tree.program("/bin/p", "liba.so.1")
    assert tree.both("/bin/p").keys() == {
        "/opt/pre/libpre.so.1",
        "libplain.so.1",
        "liba.so.1",
        "libdep.so.1",
    }
    closure = tree.closure("/bin/p")
    assert [load.path for load in closure.loads if load.via is Via.PRELOAD] == [
        "/etc/ld.so.preload",
        "/opt/pre/libpre.so.1",
        "/usr/lib/libplain.so.1",
    ]
    assert closure.warnings == ("/bin/p preloads libgone.so.1, which cannot be loaded",)


def test_an_auditor_is_taken_along_and_its_absence_is_a_warning(tree: Tree) -> None:
    tree.lib("/usr/lib/libaudit1.so", "libdep.so.1")
    tree.lib("/usr/lib/libdep.so.1")
    tree.program("/bin/p", flags=["--audit", "libaudit1.so:libgone.so"])
    closure = tree.closure("/bin/p")
    assert [(load.path, load.via) for load in closure.loads[1:]] == [
        ("/usr/lib/libaudit1.so", Via.AUDIT),
        ("/usr/lib/libdep.so.1", Via.DEFAULT),
    ]
    assert closure.warnings == ("/bin/p is audited by libgone.so, which cannot be loaded",)
    assert closure.missing == ()


# -- programs --------------------------------------------------------------------------------


def test_a_missing_interpreter_is_missing(tree: Tree) -> None:
    tree.interpreter = "/lib/ld-none.so.1"
    tree.program("/bin/p")
    assert tree.closure("/bin/p").missing == (
        Missing("/lib/ld-none.so.1", "/bin/p", ("/lib/ld-none.so.1",)),
    )


def test_an_interpreter_that_is_none_stops_the_kernel(tree: Tree) -> None:
    tree.interpreter = tree.write("/lib/ld-text.so.1", "x" * 100)
    tree.place("/lib/ld-text.so.1").chmod(0o755)
    tree.program("/bin/p")
    assert (
        failure(tree, "/bin/p")
        == "cannot load /lib/ld-text.so.1: invalid ELF header, the interpreter of /bin/p"
    )
    with pytest.raises(OSError, match="Accessing a corrupted shared library"):
        tree.run("/bin/p")


def test_static_programs_load_nothing(tree: Tree, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    for kind in ("-static", "-static-pie"):
        run(["cc", kind, "-o", str(tree.place("/bin/p")), str(source)])
        resolver = tree.resolver()
        closure = resolver.program("/bin/p")
        assert (closure.kind, closure.loads, resolver.classify("/bin/p")) == ("static", (), "program")
        assert tree.run("/bin/p").returncode == 0


@pytest.mark.package("libc6-i386")
def test_32_bit_programs_beside_64_bit_ones(tree: Tree) -> None:
    other = tree.other("32")
    other.interp("/lib/ld-linux.so.2", "/lib/ld-linux.so.2")
    for directory in ("/usr/lib", "/usr/lib32", "/opt/lib"):
        tree.place(f"{directory}/x")
    tree.lib("/usr/lib/liba.so.1")
    other.lib("/usr/lib32/liba.so.1")
    tree.lib("/opt/lib/libb.so.1")
    other.lib("/opt/lib32/libb.so.1")
    other.program("/bin/p32", "liba.so.1", "libb.so.1")
    tree.program("/bin/p64", "liba.so.1", "libb.so.1")
    ldconfig(tree, "/opt/lib", "/opt/lib32")
    assert other.both("/bin/p32") == {
        "liba.so.1": "/usr/lib32/liba.so.1",
        "libb.so.1": "/opt/lib32/libb.so.1",
    }
    assert tree.both("/bin/p64") == {"liba.so.1": "/usr/lib/liba.so.1", "libb.so.1": "/opt/lib/libb.so.1"}


def test_a_library_on_its_own_as_dlopen_takes_it(tree: Tree) -> None:
    tree.lib("/opt/real/plugin.so", "libb.so.1", flags=[*NEW, "$ORIGIN/deep"], soname="")
    tree.lib("/opt/real/deep/libb.so.1")
    tree.lib("/usr/lib/deep/libb.so.1")
    tree.link("/usr/lib/plugin.so", "/opt/real/plugin.so")
    closure = tree.resolver().library("/usr/lib/plugin.so")
    assert [load.path for load in closure.loads] == ["/usr/lib/deep/libb.so.1"]
    result = subprocess.run(
        ["chroot", str(tree.root), INTERPRETER, "--list", "/usr/lib/plugin.so"],
        capture_output=True,
        text=True,
    )
    assert "/usr/lib/deep/libb.so.1" in result.stdout


def test_links_in_a_sysroot_stay_inside_it(tree: Tree) -> None:
    tree.lib("/opt/real/liba.so.1.2")
    tree.link("/usr/lib/liba.so.1", "/opt/real/liba.so.1.2")
    tree.link(f"/lib/{TRIPLET}", "/../../../usr/lib")
    tree.program("/bin/p", "liba.so.1")
    assert tree.both("/bin/p") == {"liba.so.1": f"/lib/{TRIPLET}/liba.so.1"}


def test_what_an_answer_depended_on_is_noted_absence_included(tree: Tree) -> None:
    tree.lib("/usr/lib/liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    tree.place("/opt/x/other")
    resolver = tree.resolver()
    resolver.program("/bin/p")
    real = os.path.realpath(tree.root)
    assert {f"{real}{path}" for path in ("/bin/p", "/usr/lib/liba.so.1", INTERPRETER, "/opt/x", "/etc")} <= (
        set(resolver.sysroot.seen) | {f"{real}/etc"}
    )


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def patch_tag(path: Path, *, old: int, new: int) -> None:
    """Change the tag of an entry in the dynamic section, which readelf finds."""
    text = subprocess.run(["readelf", "-lW", str(path)], capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if line.strip().startswith("DYNAMIC"))
    offset, size = int(line.split()[1], 16), int(line.split()[4], 16)
    data = bytearray(path.read_bytes())
    for at in range(offset, offset + size, 16):
        if int.from_bytes(data[at : at + 8], "little") == old:
            data[at : at + 8] = new.to_bytes(8, "little")
    path.write_bytes(data)
