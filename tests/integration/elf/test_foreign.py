"""Objects of other machines and byte orders in a sysroot, made by clang and lld."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.rtld import ld_cache
from chrootbuild.rtld.model import Via
from chrootbuild.rtld.root_cache import render_cache
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_maker import CrossTree

pytestmark = [pytest.mark.package("clang"), pytest.mark.package("lld")]

NEW = ["--enable-new-dtags", "-rpath"]
MACHINES = {
    "aarch64-linux-gnu": ((), "/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu", 0x0A03),
    "powerpc64-linux-gnu": (("-mabi=elfv2",), "/lib64/ld64.so.1", "powerpc64-linux-gnu", 0x0503),
    "powerpc64le-linux-gnu": ((), "/lib64/ld64.so.2", "powerpc64le-linux-gnu", 0x0503),
    "mips-linux-gnu": ((), "/lib/ld.so.1", "mips-linux-gnu", 0x0003),
    "mips64-linux-gnuabi64": ((), "/lib64/ld.so.1", "mips64-linux-gnuabi64", 0x0703),
    "armv7-linux-gnueabihf": ((), "/lib/ld-linux-armhf.so.3", "arm-linux-gnueabihf", 0x0903),
    "i386-linux-gnu": ((), "/lib/ld-linux.so.2", "i386-linux-gnu", 0x0001),
}


@pytest.mark.parametrize("target", MACHINES)
def test_a_tree_of_another_machine(tmp_path: Path, target: str) -> None:
    flags, interpreter, triplet, flag = MACHINES[target]
    tree = CrossTree(tmp_path / "root", interpreter=interpreter, target=target, flags=flags)
    tree.lib(interpreter)
    tree.lib(f"/usr/lib/{triplet}/liba.so.1", "libb.so.1")
    tree.lib(f"/opt/x/{triplet}/libb.so.1")
    tree.lib(f"/usr/lib/{triplet}/libd.so.1")
    tree.program(
        "/opt/x/p", "liba.so.1", "libd.so.1", flags=["--disable-new-dtags", "-rpath", "$ORIGIN/$LIB"]
    )
    tree.link(f"/opt/x/lib/{triplet}", f"../{triplet}")
    closure = tree.closure("/opt/x/p")
    assert [load.path for load in closure.loads] == [
        interpreter,
        f"/usr/lib/{triplet}/liba.so.1",
        f"/usr/lib/{triplet}/libd.so.1",
        f"/opt/x/lib/{triplet}/libb.so.1",
    ]
    data = render_cache(Sysroot(str(tree.root)), closure.cache)
    assert ld_cache.parse(data) == (ld_cache.Entry("libb.so.1", f"/opt/x/lib/{triplet}/libb.so.1", flag),)
    assert data[28] == (3 if target.startswith(("powerpc64-", "mips")) else 2)


def test_arms_soft_float_is_another_class_in_the_cache(tmp_path: Path) -> None:
    tree = CrossTree(tmp_path / "root", interpreter="/lib/ld-linux.so.3", target="armv7-linux-gnueabi")
    tree.lib("/opt/x/liba.so.1")
    data = render_cache(Sysroot(str(tree.root)), [("liba.so.1", "/opt/x/liba.so.1")])
    assert [entry.flags for entry in ld_cache.parse(data)] in ([0x0B03], [0x0003])


def test_the_levels_of_the_objects_machine_are_looked_for(tmp_path: Path) -> None:
    tree = CrossTree(tmp_path / "root", interpreter="/lib64/ld64.so.2", target="powerpc64le-linux-gnu")
    tree.lib("/lib64/ld64.so.2")
    for below in ("", "glibc-hwcaps/power9/", "glibc-hwcaps/power10/", "glibc-hwcaps/x86-64-v3/"):
        tree.lib(f"/opt/x/{below}liba.so.1")
    tree.program("/bin/p", "liba.so.1", flags=[*NEW, "/opt/x"])
    assert {load.path: load.via for load in tree.closure("/bin/p").loads[1:]} == {
        "/opt/x/glibc-hwcaps/power10/liba.so.1": Via.RUNPATH,
        "/opt/x/glibc-hwcaps/power9/liba.so.1": Via.HWCAPS,
        "/opt/x/liba.so.1": Via.HWCAPS_BASE,
    }


def test_a_cache_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    tree = CrossTree(tmp_path / "root", interpreter="/lib/ld.so.1", target="mips-linux-gnu")
    tree.lib("/lib/ld.so.1")
    tree.lib("/opt/x/liba.so.1", "libc.so.6")
    tree.lib("/lib/libc.so.6")
    tree.write(
        "/etc/ld.so.cache", render_cache(Sysroot(str(tree.root)), [("liba.so.1", "/opt/x/liba.so.1")])
    )
    tree.program("/bin/p", "liba.so.1")
    assert [load.via for load in tree.closure("/bin/p").loads] == [Via.INTERPRETER, Via.CACHE, Via.DEFAULT]
