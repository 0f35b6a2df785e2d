"""Real libraries of Debian, two versions out of the archive, installed by apt-get and dpkg under a running nginx.

The host is a sysroot with a package database of its own: nothing of this machine is installed or changed.
libc6's maintainer scripts are made for a whole machine and are left out; all else is as Debian has it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.starting import Starting, compile_met, compile_starter, rebuilt, starting
from tests.support.sysroot import write
from tests.support.trees import describe, tree
from tests.support.watch_lab import eventually, watching
from tests.support.workshop import Workshop, bring_host_programs

pytestmark = [
    pytest.mark.root,
    pytest.mark.cc,
    pytest.mark.slow,
    pytest.mark.package("apt", "dpkg", "nginx", "openssl", "libc6-dev"),
]

# What is upgraded, with the program that says which version it met.
UPGRADED = {"libssl3": ("libssl3", "openssl"), "libc6": ("libc6",)}
TARGET = """
sysroot = "{top}"
os = "linux"
binaries = ["/bin/sh", "/usr/sbin/nginx", "/usr/bin/openssl", "/usr/bin/met"]
files = ["/etc/nginx/"]
devices = ["null"]

[accounts]
users = ["root"]

[directories]
"/tmp" = {{ mode = "1777" }}
"/var/lib/nginx" = {{}}
"/var/log/nginx" = {{}}
"/run" = {{}}

[text]
"/srv/www/index.html" = "hello from the chroot\\n"

[host]
restart = "echo restarted >>restarts"
"""
NGINX = """
user root;
worker_processes 1;
events {{ }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate /etc/nginx/cert.pem;
    ssl_certificate_key /etc/nginx/cert.key;
    root /srv/www;
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """Two versions of packages, the older first, and a stand-in for all that they depend on."""

    older: tuple[Path, ...]
    newer: tuple[Path, ...]
    others: Path


@pytest.fixture(scope="module", params=list(UPGRADED))
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Download the packages."""
    names = UPGRADED[request.param]
    folder = tmp_path_factory.mktemp("archive")
    versions = [_versions(name) for name in names]
    common = [version for version in versions[0] if all(version in found for found in versions)]
    if not common:
        _unreachable(f"apt knows no version of {', '.join(names)}: apt-get update")
    newest, oldest = common[0], common[-1]
    newer = tuple(_download(folder, name, newest) for name in names)
    older = newer if newest == oldest else tuple(_download(folder, name, oldest) for name in names)
    if newest == oldest:
        newer = tuple(_another_build(path) for path in newer)
    return Archive(older, newer, _others(folder, names, [*older, *newer]))


def _unreachable(why: str) -> None:
    if "package" in os.environ.get("CHROOTBUILD_MUST_RUN", "").split(","):
        pytest.fail(why)
    pytest.skip(why)


def _output(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def _versions(name: str) -> list[str]:
    """Return the versions that the archive has, the newest first."""
    lines = _output("apt-cache", "madison", name).splitlines()
    return list(dict.fromkeys(line.split("|")[1].strip() for line in lines if line.endswith("Packages")))


def _download(folder: Path, name: str, version: str) -> Path:
    before = set(folder.glob("*.deb"))
    argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{name}={version}"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        _unreachable(f"the archive does not answer: {done.stderr}")
    (path,) = set(folder.glob("*.deb")) - before
    return _changed(path, "") if name == "libc6" else path


def _another_build(path: Path) -> Path:
    """Return the package as a higher version, its libraries with other build ids."""
    return _changed(path, "+another")


def _changed(path: Path, suffix: str) -> Path:
    """Return a package without its maintainer scripts; with a suffix it is another build."""
    unpacked = path.with_suffix(".d")
    _output("dpkg-deb", "-R", path, unpacked)
    for name in ("preinst", "postinst", "prerm", "postrm", "config", "templates", "triggers"):
        (unpacked / "DEBIAN" / name).unlink(missing_ok=True)
    if suffix:
        control = unpacked / "DEBIAN/control"
        lines = control.read_text().splitlines(keepends=True)
        marked = [
            line.replace("\n", f"{suffix}\n") if line.startswith("Version:") else line for line in lines
        ]
        control.write_text("".join(marked))
        for file in unpacked.rglob("*.so*"):
            if file.is_file() and not file.is_symlink():
                file.write_bytes(rebuilt(file.read_bytes()))
    made = path.with_name(f"changed{suffix}-{path.name}")
    _output("dpkg-deb", "--root-owner-group", "-Znone", "-b", unpacked, made)
    shutil.rmtree(unpacked)
    return made


def _others(folder: Path, names: tuple[str, ...], packages: list[Path]) -> Path:
    """Return a package that stands for everything else: bring_host_programs has brought the files."""
    needs = set()
    for path in packages:
        for key in ("Depends", "Pre-Depends"):
            text = _output("dpkg-deb", "-f", path, key)
            needs |= {need.split("|")[0].split("(")[0].strip() for need in text.split(",") if need.strip()}
    control = folder / "others/DEBIAN/control"
    control.parent.mkdir(parents=True)
    provided = ", ".join(f"{need} (= 99:1)" for need in sorted(needs - set(names)))
    control.write_text(
        f"Package: others\nVersion: 1\nArchitecture: {_output('dpkg', '--print-architecture')}"
        f"Maintainer: nobody <nobody@localhost>\nDescription: x\nProvides: {provided}\n"
    )
    _output("dpkg-deb", "--root-owner-group", "-b", folder / "others", folder / "others.deb")
    return folder / "others.deb"


@dataclass(frozen=True, slots=True)
class Machine:
    """A sysroot with packages, and a root in which nginx runs."""

    shop: Workshop
    archive: Archive
    port: int

    @property
    def root(self) -> Path:
        return self.shop.root

    def apt_get(self, *packages: Path) -> None:
        """Install packages into the sysroot, as apt-get does."""
        argv = ["apt-get", "-q", "-y", "--allow-downgrades", "install", *map(str, packages)]
        env = {
            **os.environ,
            "APT_CONFIG": f"{self.shop.folder}/apt.conf",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        done = subprocess.run(argv, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def dpkg(self, *packages: Path) -> None:
        """Install packages into the sysroot, as dpkg does."""
        options = ["--log=/dev/null", "--force-downgrade", "--force-confnew"]
        _output("dpkg", f"--root={self.shop.top}", *options, "-i", *packages)

    def belongs(self) -> set[str]:
        """Return the canonical paths of the files that the packages have in the sysroot."""
        found = set()
        for listed in (self.shop.top / "var/lib/dpkg/info").glob("*.list"):
            for line in listed.read_text().splitlines() if not listed.name.startswith("others") else ():
                path = self.shop.top / line[1:]
                if path.is_symlink() or path.is_file():
                    place = path.parent.resolve() / path.name
                    found.add(f"/{place.relative_to(self.shop.top.resolve())}")
        return found

    def get(self) -> str:
        """Return what nginx in the root serves, over a new connection."""
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(
            f"https://127.0.0.1:{self.port}/", context=context, timeout=30
        ) as answer:
            text: str = answer.read().decode()
            return text

    def content(self) -> dict[str, str]:
        """Return the root as a map, without what changes by itself."""
        own = ("/tmp", "/var/lib/nginx", "/var/log/nginx", "/run")
        return {path: text for path, text in tree(self.root).items() if not path.startswith(own)}


@pytest.fixture
def machine(archive: Archive, tmp_path: Path) -> Machine:
    top = tmp_path / "sysroot"
    top.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bring_host_programs(top, "/bin/sh", "/usr/sbin/nginx", "/usr/bin/openssl")
    write(
        top,
        {
            "/var/lib/dpkg/status": "",
            "/var/lib/dpkg/available": "",
            "/var/lib/dpkg/info/": "",
            "/var/lib/dpkg/updates/": "",
            "/var/lib/dpkg/triggers/": "",
            "/etc/nginx/nginx.conf": NGINX.format(port=port),
            "/etc/passwd": "root:x:0:0::/:/bin/sh\n",
            "/etc/group": "root:x:0:\n",
        },
    )
    key: list[str | Path] = ["-newkey", "rsa:2048", "-nodes", "-keyout", top / "etc/nginx/cert.key"]
    _output("openssl", "req", "-x509", "-subj", "/CN=x", *key, "-out", top / "etc/nginx/cert.pem")
    compile_met(top / "usr/bin/met", str(next(top.glob("usr/lib/*/libssl.so.3"))))
    for name in ("etc/apt", "state/lists/partial", "cache/archives/partial", "log"):
        (tmp_path / "apt" / name).mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(
        f'Dir "{tmp_path}/apt";\nDir::State "state";\nDir::Cache "cache";\nDir::Log "log";\n'
        f'Dir::State::status "{top}/var/lib/dpkg/status";\nAPT::Sandbox::User "root";\n'
        f'DPkg::Options {{ "--root={top}"; "--log=/dev/null"; "--force-confnew"; }};\n'
    )
    shop = Workshop(tmp_path, top)
    target = TARGET.format(top=top).replace('"/etc/nginx/"]', '"/etc/nginx/", "/etc/nginx/cert.key"]')
    shop.write_targets({"x.toml": target})
    machine = Machine(shop, archive, port)
    machine.apt_get(archive.others, *archive.older)
    shop.settle()
    return machine


@contextlib.contextmanager
def serving(machine: Machine) -> Iterator[Starting]:
    """Have nginx serve from the root, and a program be started in it all the time."""
    argv = ["chroot", str(machine.root), "/usr/sbin/nginx", "-g", "daemon off;"]
    log = machine.shop.folder / "nginx.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        eventually(
            f"nginx serves: {log.read_text()}", lambda: _answers(machine) or daemon.poll() is not None
        )
        assert machine.get() == "hello from the chroot\n", log.read_text()
        starter = compile_starter(machine.shop.folder)
        with starting(machine.root, "/usr/bin/met", starter) as started:
            yield started
        assert started.failed() == ""
        assert machine.get() == "hello from the chroot\n"
        assert daemon.poll() is None
    finally:
        daemon.terminate()
        daemon.wait()


def _answers(machine: Machine) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", machine.port)) == 0


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the paths in which two trees differ."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def expect_followed(machine: Machine, before: dict[str, str]) -> None:
    """Compare the root with what it was: only files of the packages differ, and all of those are the sysroot's."""
    after, belongs = machine.content(), machine.belongs()
    assert changed(before, after)
    assert changed(before, after) <= belongs
    here = {path: text for path, text in after.items() if path in belongs}
    there = {path: describe(machine.shop.top / path[1:]) for path in here}
    assert here == there


def test_refresh_follows_upgrades_of_real_libraries(machine: Machine) -> None:
    archive = machine.archive
    with serving(machine) as started:
        old = started.rest("older")
        for number, packages in enumerate((archive.newer, archive.older, archive.newer), 1):
            before = machine.content()
            machine.apt_get(*packages)
            said = machine.shop.run("refresh")
            expect_followed(machine, before)
            assert machine.get() == "hello from the chroot\n"
            assert (machine.shop.folder / "restarts").read_text().count("\n") == number
            assert "still run on files that were replaced or removed: nginx (pid " in said
            assert machine.shop.run("refresh") == ""
            if number == 1:
                assert started.rest("newer") != old
    counts = started.counts()
    print(dict(counts), *started.mixed())
    assert counts["older"] > 0
    assert counts["newer"] > 0
    assert machine.shop.run("verify", "x") == ""


def test_watch_follows_upgrades_of_real_libraries(machine: Machine) -> None:
    archive = machine.archive
    before = machine.content()
    with watching(machine.shop.folder) as watch, serving(machine) as started:
        started.rest("older")
        machine.dpkg(*archive.newer)
        eventually("it follows", lambda: machine.shop.changes() == {})
        expect_followed(machine, before)
        started.rest("newer")
        for packages in (archive.older, archive.newer) * 5:
            machine.dpkg(*packages)
            assert machine.get() == "hello from the chroot\n"
            time.sleep(0.3)  # some are followed, some are overtaken by the next
        eventually("it follows", lambda: machine.shop.changes() == {})
        expect_followed(machine, before)
        said = watch.stop()
    assert "error" not in said
    print(dict(started.counts()), *started.mixed())
    assert machine.shop.run("verify", "x") == ""
