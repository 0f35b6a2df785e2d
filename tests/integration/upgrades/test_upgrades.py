"""Real packages, installed by dpkg under a running daemon: refresh and watch bring what is right, and nothing fails.

A package is built three times: 1.0 with libq.so.1.0, 1.1 with libq.so.1.1 behind the same soname, 2.0
without the library. All the time a loop starts a program of it in the root, which says which
version it is and which version of the library it met.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.starting import UPGRADED, Starting, compile_starter, make_upgraded, starting, upgrade
from tests.support.sysroot import write
from tests.support.watch_lab import eventually, watching
from tests.support.workshop import Workshop, bring_host_programs, compile_c, library

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.package("dpkg")]

TARGET = """
sysroot = "{top}"
os = "linux"
binaries = ["/bin/sh", "/bin/sleep", "/usr/bin/app"]
files = ["/usr/share/app/"]

[host]
restart = "echo restarted >>restarts"
"""
# What follows the version: the library file, what it answers, the data that comes along.
VERSIONS = {"1.0": "libq.so.1.0", "1.1": "libq.so.1.1", "2.0": ""}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sysroot without the package, and the three packages beside it."""
    folder = tmp_path_factory.mktemp("packages")
    top = folder / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh", "/bin/sleep")
    write(top, {"/var/lib/dpkg/status": "", "/var/lib/dpkg/available": "", "/var/lib/dpkg/info/": ""})
    (top / "var/lib/dpkg/updates").mkdir()
    for version, name in VERSIONS.items():
        _package(folder, version, name)
    return folder


def _package(folder: Path, version: str, name: str) -> None:
    tree = folder / version
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "usr/bin").mkdir(parents=True)
    needs, answer = [], f'"{version}"'
    if name:
        library(tree / "usr/lib" / name, "libq.so.1", version)
        (tree / "usr/lib/libq.so.1").symlink_to(name)
        needs, answer = [str(tree / "usr/lib/libq.so.1")], "q()"
    code = f'const char *q(void); int main(void) {{ return printf("%s %s\\n", "{version}", {answer}) < 0; }}'
    compile_c(tree / "usr/bin/app", f"#include <stdio.h>\n{code}", *needs)
    write(tree, {"/usr/share/app/version": f"{version}\n", f"/usr/share/app/only-{version}": "x\n"})
    control = f"Package: app\nVersion: {version}\nArchitecture: all\nDescription: x\n"
    control += "Maintainer: nobody <nobody@localhost>\n"
    write(tree, {"/DEBIAN/control": control})
    argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(folder / f"{version}.deb")]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True, slots=True)
class Host:
    """A project over a host with packages, and the daemon and the starter that run in its root."""

    shop: Workshop
    packages: Path

    @property
    def root(self) -> Path:
        return self.shop.root

    def dpkg(self, *words: str) -> None:
        options = ["--force-not-root", "--force-bad-path", "--force-script-chrootless", "--log=/dev/null"]
        argv = ["dpkg", f"--root={self.shop.top}", *options, *words]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def install(self, version: str) -> None:
        self.dpkg("-i", str(self.packages / f"{version}.deb"))

    def restarts(self) -> int:
        path = self.shop.folder / "restarts"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def version(self) -> str:
        """Return the version that the program in the root, its library and its data have; else all they say."""
        data = (self.root / "usr/share/app/version").read_text()
        done = subprocess.run(["chroot", str(self.root), "/usr/bin/app"], capture_output=True, text=True)
        found = [*done.stdout.split(), data.strip()]
        return found[0] if len(set(found)) == 1 else " ".join(found)


@pytest.fixture
def host(packages: Path, tmp_path: Path) -> Host:
    top = tmp_path / "sysroot"
    shutil.copytree(packages / "sysroot", top, symlinks=True)
    shop = Workshop(tmp_path, top)
    text = TARGET.format(top=top) + '[directories]\n"/tmp" = { mode = "1777" }\n'
    shop.write_targets({"x.toml": text})
    host = Host(shop, packages)
    host.install("1.0")
    shop.settle()
    return host


@contextlib.contextmanager
def in_use(host: Host) -> Iterator[Starting]:
    """Have a daemon with the library mapped and the starter in the root; at the end nothing may have failed."""
    preload = {**os.environ, "LD_PRELOAD": "/usr/lib/libq.so.1"}
    daemon = _start(host, "/bin/sleep", "600", env=preload)
    try:
        with starting(host.root, "/usr/bin/app", compile_starter(host.packages)) as started:
            started.at_rest = {f"{version} {version}\n": version for version in VERSIONS}
            yield started
        assert started.failed() == ""
        assert started.starts() > 20
        print(dict(started.counts()))
        assert daemon.poll() is None
    finally:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()


def _start(host: Host, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(["chroot", str(host.root), *argv], env=env, stdout=quiet, stderr=quiet)


def paths(host: Host) -> set[str]:
    """Return the package's own paths in the root."""
    found = {path.name for path in (host.root / "usr/share/app").iterdir()}
    return found | {path.name for path in (host.root / "usr/lib").iterdir() if path.name.startswith("libq")}


def expected(version: str) -> set[str]:
    found = {"version", f"only-{version}"}
    return found | ({"libq.so.1", VERSIONS[version]} if VERSIONS[version] else set())


def follows(host: Host, version: str) -> bool:
    return host.version() == version and paths(host) == expected(version)


def test_refresh_follows_each_upgrade(host: Host) -> None:
    with in_use(host):
        for number, version in enumerate(("1.1", "1.0", "1.1", "2.0", "1.0"), 1):
            host.install(version)
            said = host.shop.run("refresh")
            assert paths(host) == expected(version)
            assert host.version() == version
            assert host.restarts() == number
            assert "1 process still runs on files that were replaced or removed: sleep" in said
            assert host.shop.run("refresh") == ""
    assert host.shop.run("verify", "x") == ""


def test_watch_follows_thirty_upgrades_and_many_renames(host: Host) -> None:
    library_file = host.shop.top / "usr/lib/libq.so.1.0"
    with watching(host.shop.folder) as watch, in_use(host) as started:
        order = ["1.1", "2.0", "1.0"] * 10
        for number, version in enumerate(order):
            host.install(version)
            if number % 5:  # every fifth is overtaken by the next
                eventually(version, functools.partial(follows, host, version))
        for number in range(1000):
            new = library_file.with_name("libq.so.1.0.dpkg-new")
            shutil.copyfile(host.packages / "1.0/usr/lib/libq.so.1.0", new)
            with new.open("ab") as file:
                file.write(b"%d" % number)
            new.rename(library_file)
            time.sleep(0.01 if number % 40 else 0.3)
        there = host.root / "usr/lib/libq.so.1.0"
        eventually("the last one", lambda: there.read_bytes() == library_file.read_bytes(), 10)
        said = watch.stop()
    assert "error" not in said
    assert all(started.counts()[version] for version in VERSIONS)
    assert host.version() == "1.0"
    assert host.shop.changes() == {}


def test_refresh_in_the_middle_of_an_upgrade_waits_for_its_end(host: Host) -> None:
    """A maintainer script that sleeps: dpkg has the new library unpacked, and holds its lock."""
    tree = host.shop.folder / "slow"
    shutil.copytree(host.packages / "1.1", tree, symlinks=True)
    control = (tree / "DEBIAN/control").read_text().replace("1.1", "1.2")
    write(
        tree,
        {"/DEBIAN/control": control, "/DEBIAN/postinst": "#!/bin/sh\ntouch $DPKG_ROOT/unpacked\nsleep 2\n"},
    )
    write(tree, {"/usr/share/app/version": "1.2\n"})
    deb = host.shop.folder / "slow.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    with in_use(host):
        argv = [
            "dpkg",
            f"--root={host.shop.top}",
            "--force-script-chrootless",
            "--log=/dev/null",
            "-i",
            str(deb),
        ]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dpkg:
            eventually("it is unpacked", (host.shop.top / "unpacked").exists)
            assert "is at work" in host.shop.run("refresh", "--wait", "0", code=75)
            assert host.version() == "1.0"
            host.shop.run("refresh", "--wait", "60")
            assert dpkg.wait(60) == 0
        assert (host.root / "usr/share/app/version").read_text() == "1.2\n"
        assert paths(host) == {"version", "only-1.1", "libq.so.1", "libq.so.1.1"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exchanged", "renamed"])
def test_fifty_upgrades_of_loader_libc_and_libraries_at_once(tmp_path: Path, how: str) -> None:
    """No start fails; those that met files of both versions are counted, and few."""
    shop = Workshop(tmp_path, tmp_path / "sysroot")
    builds = make_upgraded(shop.top)
    shop.write_targets({"x.toml": UPGRADED.format(top=shop.top)})
    shop.settle()
    foreign = next(shop.root.glob("usr/lib/*/libc.so.6")).parent / "foreign"
    if how == "renamed":  # a directory with something foreign in it is not exchanged
        foreign.touch()
    with starting(shop.root, "/usr/bin/met", compile_starter(tmp_path)) as started:
        started.rest("old")
        for number in range(1, 51):
            upgrade(builds, number)
            shop.run("refresh", "x")
            if number == 1:
                started.rest("new")
    counts = started.counts()
    print(dict(counts))
    assert started.failed() == ""
    assert min(counts["old"], counts["new"]) > 100
    assert counts["mixed"] < counts.total() / 10
    foreign.unlink(missing_ok=True)
    assert shop.run("verify", "x") == ""
