"""Plans over real ELF files: closures of what trees bring, privileges, and the linker's own files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from chrootbuild.errors import TargetError
from tests.support.sysroot import planned, words, write
from tests.support.trees import describe
from tests.support.workshop import Workshop, bring_host_programs, library, program

pytestmark = [pytest.mark.root, pytest.mark.cc]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sysroot with a shell, a program in a tree of its own, and a plugin that lacks a library."""
    top = tmp_path_factory.mktemp("template") / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    library(top / "usr/lib/libq.so.1.0", "libq.so.1", "q")
    (top / "usr/lib/libq.so.1").symlink_to("libq.so.1.0")
    program(top / "opt/app/bin/app", {"q": top / "usr/lib/libq.so.1"})
    library(top / "usr/lib/libgone.so.1", "libgone.so.1", "gone")
    library(
        top / "opt/app/plugins/p.so", "libp.so", "p", "-Wl,--no-as-needed", str(top / "usr/lib/libgone.so.1")
    )
    (top / "usr/lib/libgone.so.1").unlink()
    write(top, {"/opt/app/plugins/readme": "x"})
    return top


@pytest.fixture
def top(template: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", str(template), str(tmp_path / "sysroot")], check=True)
    return tmp_path / "sysroot"


def test_a_trees_programs_bring_their_libraries_and_its_plugins_may_lack_some(top: Path) -> None:
    made = planned(top, 'files = ["/opt/app/"]')
    assert "/usr/lib/libq.so.1" in made.artifacts
    assert made.artifacts["/usr/lib/libq.so.1.0"].elf == "library"
    assert made.artifacts["/opt/app/bin/app"].elf == "program"
    assert made.artifacts["/opt/app/plugins/readme"].elf == ""
    assert made.warnings == ("/opt/app/plugins/p.so needs libgone.so.1, which is not there",)
    assert words(made, "/usr/lib/libq.so.1")[0].startswith("needs libq.so.1, found in ")


@pytest.mark.parametrize("key", ["libraries", "binaries", "files"])
def test_what_is_named_must_have_its_libraries(top: Path, key: str) -> None:
    with pytest.raises(TargetError) as caught:
        planned(top, f'{key} = ["/opt/app/plugins/p.so"]')
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"cannot find libgone.so.1, needed by /opt/app/plugins/p.so (targets/x.toml:3: {key})"
    )
    assert lines[1].startswith("  searched: ld.so.cache, /")
    assert lines[2].startswith("hint: install the package that has it (chrootbuild locate libgone.so.1)")


def test_libraries_may_be_a_glob(top: Path) -> None:
    made = planned(top, 'libraries = ["/usr/lib/libq*", "/usr/lib/none*"]')
    assert {"/usr/lib/libq.so.1", "/usr/lib/libq.so.1.0"} <= set(made.artifacts)
    left = planned(
        top, 'libraries = ["/usr/lib/libq*"]\nexclude = ["/usr/lib/libq.so.1.0", "/usr/lib/libq.so.1"]'
    )
    assert "/usr/lib/libq.so.1" not in left.artifacts


def test_privileges_are_dropped_but_for_those_of_setuid(top: Path, tmp_path: Path) -> None:
    if shutil.which("setcap") is None:
        pytest.skip("needs setcap")
    for name in ("one", "two"):
        path = top / "opt/app/bin" / name
        shutil.copy2(top / "opt/app/bin/app", path)
        path.chmod(0o6755)
        subprocess.run(["setcap", "cap_net_raw+ep", str(path)], check=True)
    shop = Workshop(tmp_path / "project", top)
    text = 'binaries = ["/opt/app/bin/one", "/opt/app/bin/two"]\nsetuid = ["/opt/app/bin/two"]\n'
    shop.write_targets({"x.toml": f'sysroot = "{top}"\n{text}'})
    shop.build()
    one, two = shop.root / "opt/app/bin/one", shop.root / "opt/app/bin/two"
    assert describe(one).startswith("file 0755 0:0 ")
    assert describe(two).startswith("file 6755 0:0 ")
    assert os.listxattr(one) == []
    assert os.getxattr(two, "security.capability") == os.getxattr(
        top / "opt/app/bin/two", "security.capability"
    )
    assert shop.run("build", "x") == ""
    subprocess.run(["setcap", "-r", str(two)], check=True)
    assert "/opt/app/bin/two" in shop.build()
    assert os.getxattr(two, "security.capability") == os.getxattr(
        top / "opt/app/bin/two", "security.capability"
    )
    subprocess.run(["setcap", "cap_chown+ep", str(top / "opt/app/bin/two")], check=True)
    assert shop.build() == {"/opt/app/bin/two": "replace  capabilities differ from the host's"}


def test_copies_keep_their_mtime(top: Path, tmp_path: Path) -> None:
    path = top / "opt/app/plugins/readme"
    os.utime(path, ns=(5, 1_234_567_890_123_456_789))
    shop = Workshop(tmp_path / "project", top)
    shop.write_targets({"x.toml": f'sysroot = "{top}"\nfiles = ["/opt/app/plugins/readme"]'})
    shop.build()
    assert (shop.root / "opt/app/plugins/readme").stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_ld_so_cache_is_ours_even_where_a_tree_brings_the_sysroots(top: Path) -> None:
    library(top / "opt/lib/libr.so.1", "libr.so.1", "r")
    program(top / "usr/bin/tool", {"r": top / "opt/lib/libr.so.1"})
    write(top, {"/etc/ld.so.conf": "/opt/lib\n"})
    subprocess.run(["ldconfig", "-r", str(top)], check=True, stderr=subprocess.DEVNULL)
    made = planned(top, 'binaries = ["tool"]\nfiles = ["/etc/"]')
    assert made.artifacts["/etc/ld.so.conf"].content == b"/opt/lib\n"
    assert made.artifacts["/etc/ld.so.cache"].sources == (f"{top}/opt/lib/libr.so.1",)
    named = planned(top, 'binaries = ["tool"]\nfiles = ["/etc/ld.so.cache"]')
    assert named.artifacts["/etc/ld.so.cache"].source == f"{top}/etc/ld.so.cache"


def test_two_libraries_of_one_name_cannot_both_be_in_ld_so_cache(top: Path) -> None:
    origin = "-Wl,--enable-new-dtags,-rpath,$ORIGIN"
    for name in ("a", "b"):
        folder = top / "opt" / name
        library(folder / "libr.so.1", "libr.so.1", name)
        program(folder / "tool", {"r": folder / "libr.so.1"}, origin)
    made = planned(top, 'binaries = ["/opt/a/tool", "/opt/b/tool"]')
    (warning,) = made.warnings
    assert warning.startswith("/opt/b/tool loads libr.so.1 from /opt/b/libr.so.1, /opt/a/tool from /opt/a/")
    assert warning.endswith("the root's ld.so.cache can name only one")
