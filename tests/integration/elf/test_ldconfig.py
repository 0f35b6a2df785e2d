"""ld.so.cache: ldconfig(8) writes what we read, and reads what we write; so does ld.so."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from chrootbuild.rtld import ld_cache
from chrootbuild.rtld.model import Closure, Load, Via
from chrootbuild.rtld.root_cache import cache_conflicts, render_cache
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_maker import Tree, run

pytestmark = [
    pytest.mark.cc,
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its files are for x86-64"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "root")
    tree.interp()
    return tree


def listed(file: Path) -> list[str]:
    """Return the lines of ``ldconfig -p`` without the first and the last."""
    result = subprocess.run(["ldconfig", "-p", "-C", str(file)], capture_output=True, text=True, check=True)
    return [line.strip() for line in result.stdout.splitlines() if line.startswith("\t")]


def generator(data: bytes) -> str:
    match = re.search(rb"ldconfig [ -~]*$", data)
    assert match is not None
    return match[0].decode()


def filled(tree: Tree) -> bytes:
    """Let the real ldconfig make a cache of every kind of entry."""
    for number in (1, 2, 9, 10, 11):
        tree.lib(f"/opt/lib/libfoo.so.{number}")
    tree.other("32").lib("/opt/lib32/libfoo.so.2")
    for level in ("x86-64-v2", "x86-64-v3"):
        tree.lib(f"/opt/lib/glibc-hwcaps/{level}/libfoo.so.1")
    tree.lib("/opt/lib/glibc-hwcaps/x86-64-v2/libfoo.so.2")
    tree.lib("/opt/lib/tls/libfoo.so.1")
    tree.lib("/opt/other/libfoo.so.1")
    tree.lib("/opt/other/lib10a.so")
    tree.lib("/opt/other/lib9b.so")
    tree.write("/etc/ld.so.conf", "/opt/lib\n/opt/lib32\n/opt/other\n")
    run(["ldconfig", "-X", "-r", str(tree.root)])
    return (tree.root / "etc/ld.so.cache").read_bytes()


def test_what_ldconfig_wrote_is_read(tree: Tree) -> None:
    data = filled(tree)
    entries = ld_cache.parse(data)
    assert [(entry.soname, entry.path) for entry in entries] == [
        tuple(re.sub(r" \(.*\)", "", line).split(" => ")) for line in listed(tree.root / "etc/ld.so.cache")
    ]
    assert ld_cache.Entry("libfoo.so.2", "/opt/lib32/libfoo.so.2", 1) in entries
    level = ld_cache.Entry("libfoo.so.1", "/opt/lib/glibc-hwcaps/x86-64-v3/libfoo.so.1", 0x303, "x86-64-v3")
    assert level in entries


def test_what_is_written_equals_ldconfigs_bytes(tree: Tree) -> None:
    data = filled(tree)
    entries = ld_cache.parse(data)
    assert ld_cache.render(entries, generator=generator(data)) == data
    # Whatever the order in which different entries come.
    assert ld_cache.render(sorted(entries), generator=generator(data)) == data


def test_the_cache_of_this_machine_comes_out_as_it_is() -> None:
    path = Path("/etc/ld.so.cache")
    if not path.exists():
        pytest.skip("needs an ld.so.cache")
    data = path.read_bytes()
    assert ld_cache.render(ld_cache.parse(data), generator=generator(data)) == data


def test_ldconfig_reads_what_is_written(tmp_path: Path) -> None:
    entries = [
        ld_cache.Entry("liba.so.1", "/x/liba.so.1", 0x303),
        ld_cache.Entry("liba.so.1", "/x/glibc-hwcaps/x86-64-v2/liba.so.1", 0x303, "x86-64-v2"),
        ld_cache.Entry("libé.so", "/x/libé.so", 0x303),
    ]
    file = tmp_path / "cache"
    file.write_bytes(ld_cache.render(entries))
    assert listed(file) == [
        "libé.so (libc6,x86-64) => /x/libé.so",
        'liba.so.1 (libc6,x86-64, hwcap: "x86-64-v2") => /x/glibc-hwcaps/x86-64-v2/liba.so.1',
        "liba.so.1 (libc6,x86-64) => /x/liba.so.1",
    ]


def test_a_cache_behind_an_older_one_is_read(tree: Tree) -> None:
    data = filled(tree)
    run(["ldconfig", "-X", "-c", "compat", "-r", str(tree.root)])
    both = (tree.root / "etc/ld.so.cache").read_bytes()
    assert both.startswith(b"ld.so-1.7.0")
    # The names of subdirectories are not in this form.
    assert [entry for entry in ld_cache.parse(both) if not entry.hwcaps] == [
        entry for entry in ld_cache.parse(data) if not entry.hwcaps
    ]


def test_ld_so_reads_what_is_written_and_takes_a_level_of_its_cpu(tree: Tree) -> None:
    names = [f"lib{number}.so.1" for number in range(40)]
    pairs = [(name, tree.lib(f"/opt/deep/{name}")) for name in names]
    pairs.append(("lib7.so.1", tree.lib("/opt/deep/glibc-hwcaps/x86-64-v2/lib7.so.1")))
    tree.program("/bin/p", *names)
    assert tree.run("/bin/p").returncode == 127
    tree.write("/etc/ld.so.cache", render_cache(Sysroot(str(tree.root)), pairs))
    assert tree.run("/bin/p").returncode == 0
    assert tree.real("/bin/p", proc=False).keys() == set(names)
    assert tree.real("/bin/p", proc=False)["lib7.so.1"] in {path for _, path in pairs}


def test_the_class_of_each_library_is_written(tree: Tree) -> None:
    pairs = [
        ("liba.so.1", tree.lib("/opt/64/liba.so.1")),
        ("liba.so.1", tree.other("32").lib("/opt/32/liba.so.1", "libc.so.6")),
    ]
    file = tree.root / "cache"
    file.write_bytes(render_cache(Sysroot(str(tree.root)), pairs))
    assert listed(file) == [
        "liba.so.1 (libc6,x86-64) => /opt/64/liba.so.1",
        "liba.so.1 (libc6) => /opt/32/liba.so.1",
    ]


def test_one_soname_for_two_libraries_is_told_as_a_conflict(tree: Tree) -> None:
    one, two = tree.lib("/opt/1/liba.so.1"), tree.lib("/opt/2/liba.so.1")
    closures = [
        Closure(
            f"/bin/{number}",
            "dynamic",
            (Load("liba.so.1", path, f"/bin/{number}", Via.RUNPATH, ""),),
            cache=(("liba.so.1", path),),
        )
        for number, path in enumerate((one, two))
    ]
    host = Sysroot(str(tree.root))
    assert cache_conflicts(host, closures) == (
        f"/bin/1 loads liba.so.1 from {two}, /bin/0 from {one}: the root's ld.so.cache can name only one",
    )
    assert cache_conflicts(host, closures[:1]) == ()
