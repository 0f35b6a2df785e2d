"""Real FreeBSD executables and shared objects, out of npm packages: files only, they are never run.

What they need (libc, libthr, ...) is no part of the packages: a base made by clang and lld stands for it.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from chrootbuild.elf.detect import detect_system, freebsd_release
from chrootbuild.rtld.model import Via
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
from tests.support.elf_maker import CrossTree
from tests.support.freebsd_sysroot import INTERPRETER, TARGETS
from tests.support.trees import tree
from tests.support.workshop import Workshop

pytestmark = [
    pytest.mark.npm,
    pytest.mark.package("clang"),
    pytest.mark.package("lld"),
]

CSS, ESBUILD = "lightningcss-cli-freebsd-x64", "@esbuild/freebsd-x64"
ROLLUP, ROLLUP_ARM = "@rollup/rollup-freebsd-x64", "@rollup/rollup-freebsd-arm64"
LIBRARIES = ("/lib/libc.so.7", "/lib/libgcc_s.so.1", "/lib/libm.so.5", "/lib/libthr.so.3")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the one ELF file of each package, as npm's registry has it."""
    folder = tmp_path_factory.mktemp("npm")
    names = (CSS, ESBUILD, ROLLUP, ROLLUP_ARM)
    argv = ["npm", "pack", "--silent", "--fetch-retries=1", *names]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        if "npm" in os.environ.get("CHROOTBUILD_MUST_RUN", "").split(","):
            pytest.fail(f"npm pack: {done.stderr}")
        pytest.skip("npm's registry does not answer")
    return {
        name: _elf(folder / file, folder / name)
        for name, file in zip(names, done.stdout.split(), strict=True)
    }


def _elf(archive: Path, folder: Path) -> Path:
    """Write down the ELF file of a package, and return where."""
    with tarfile.open(archive) as files:
        for member in files:
            content = files.extractfile(member)
            if content is None:
                continue
            with content:
                data = content.read()
            if data.startswith(b"\x7fELF"):
                made = folder / member.name.rpartition("/")[2]
                made.parent.mkdir(parents=True)
                made.write_bytes(data)
                made.chmod(0o755)
                return made
    raise AssertionError(f"{archive.name} has no ELF file")


def base(top: Path, machine: str, packages: dict[str, Path], **places: str) -> CrossTree:
    """Make the libraries of a base, and put files of packages beside them."""
    made = CrossTree(top, interpreter=INTERPRETER, target=TARGETS[machine])
    made.lib(INTERPRETER)
    for path in LIBRARIES:
        made.lib(path)
    for name, path in places.items():
        made.place(path).write_bytes(packages[name].read_bytes())
        made.place(path).chmod(0o755)
    return made


def test_an_executable_needs_what_its_dynamic_section_says(
    tmp_path: Path, packages: dict[str, Path]
) -> None:
    made = base(tmp_path / "base", "amd64", packages, **{CSS: "/usr/local/bin/lightningcss"})
    closure = made.closure("/usr/local/bin/lightningcss")
    assert closure.missing == ()
    assert closure.loads[0].path == INTERPRETER
    own = {load.name: load.path for load in closure.loads[1:] if load.by == "/usr/local/bin/lightningcss"}
    assert own == {path.rpartition("/")[2]: path for path in LIBRARIES}


@pytest.mark.parametrize(("name", "machine"), [(ROLLUP, "amd64"), (ROLLUP_ARM, "arm64")])
def test_a_shared_object_is_resolved_as_if_opened(
    tmp_path: Path, packages: dict[str, Path], name: str, machine: str
) -> None:
    path = "/usr/local/lib/rollup.node"
    made = base(tmp_path / "base", machine, packages, **{name: path})
    closure = Resolver(Sysroot(str(made.root))).library(path)
    assert closure.missing == ()
    assert {load.path for load in closure.loads} == set(LIBRARIES)
    assert {load.via for load in closure.loads} <= {Via.HINTS, Via.DEFAULT, Via.LOADED, Via.CANCEL}


def test_a_library_of_another_machine_stops_it(tmp_path: Path, packages: dict[str, Path]) -> None:
    made = base(tmp_path / "base", "arm64", packages, **{CSS: "/usr/local/bin/lightningcss"})
    place = Workshop(tmp_path / "project", made.root)
    place.folder.mkdir()
    place.write_targets({"x.toml": f'sysroot = "{made.root}"\nbinaries = ["lightningcss"]'})
    assert "it is for another machine, the interpreter of" in place.run("build", "x", code=3)


def test_what_is_missing_is_named_with_the_places_of_rtld(tmp_path: Path, packages: dict[str, Path]) -> None:
    made = base(tmp_path / "base", "amd64", packages, **{CSS: "/usr/local/bin/lightningcss"})
    made.place("/lib/libm.so.5").unlink()
    (missing,) = made.closure("/usr/local/bin/lightningcss").missing
    assert (missing.name, missing.by) == ("libm.so.5", "/usr/local/bin/lightningcss")
    assert missing.searched[-2:] == ("/lib", "/usr/lib")


def test_a_static_one_needs_nothing(tmp_path: Path, packages: dict[str, Path]) -> None:
    made = base(tmp_path / "base", "amd64", packages, **{ESBUILD: "/usr/local/bin/esbuild"})
    closure = made.closure("/usr/local/bin/esbuild")
    assert (closure.kind, closure.loads) == ("static", ())


@pytest.mark.parametrize(
    ("name", "noted"), [(CSS, False), (ESBUILD, True), (ROLLUP, False), (ROLLUP_ARM, False)]
)
def test_each_is_known_as_freebsds(packages: dict[str, Path], name: str, noted: bool) -> None:
    host = Sysroot(str(packages[name].parent))
    path = f"/{packages[name].name}"
    assert detect_system(host, [path]) == "freebsd"
    # Only a note of the right type tells the release: what Rust makes has none.
    assert (freebsd_release(host, [path]).version >= 1_000_000) == noted


def test_a_root_of_real_executables(tmp_path: Path, packages: dict[str, Path]) -> None:
    places = {
        CSS: "/usr/local/bin/lightningcss",
        ESBUILD: "/usr/local/bin/esbuild",
        ROLLUP: "/usr/local/lib/rollup.node",
    }
    made = base(tmp_path / "base", "amd64", packages, **places)
    place = Workshop(tmp_path / "project", made.root)
    place.folder.mkdir()
    keys = 'binaries = ["lightningcss", "esbuild"]\nlibraries = ["/usr/local/lib/*.node"]'
    place.write_targets({"x.toml": f'sysroot = "{made.root}"\n{keys}'})
    place.build()
    files = {path for path, text in tree(place.root).items() if text.startswith("file")}
    assert files == {INTERPRETER, *LIBRARIES, *places.values()}
    for path in files:
        assert (place.root / path[1:]).read_bytes() == (made.root / path[1:]).read_bytes()
