"""The hooks, fired by the real apt and dpkg on a package database of their own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chrootbuild.hostside import schedule
from chrootbuild.hostside.installer import install, uninstall
from chrootbuild.hostside.schedule import Job
from chrootbuild.state.project import Project
from tests.support.hostside_project import ODD, make_project
from tests.support.places import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.package("apt", "dpkg")]

# In place of `chrootbuild ... refresh`: notes its words and whether the package manager still holds
# its lock, waits for the lock as refresh does, and notes the version it then finds installed.
STAND_IN = """#!{python} -I
import fcntl, os, subprocess, sys
lock = open({lock!r}, "a")
try:
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held = False
except OSError:
    held = True
    fcntl.lockf(lock, fcntl.LOCK_EX)
fcntl.lockf(lock, fcntl.LOCK_UN)
found = subprocess.run(
    ["dpkg-query", "--admindir=" + {admin!r}, "-W", "-f=${{Version}}", "chrootbuild-hook-test"],
    capture_output=True, text=True,
).stdout
with open({log!r}, "a") as file:
    file.write(repr((held, found, sys.argv[1:], os.getsid(0))) + "\\n")
"""


class Machine:
    """A folder with a package database, apt's folders, a program that stands for refresh, and a project."""

    def __init__(self, where: Path) -> None:
        self.where = where
        for path in (
            *("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc/dpkg/dpkg.cfg.d"),
            *("var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "etc/apt/apt.conf.d"),
            *("etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d", "var/log/apt"),
        ):
            where.joinpath(path).mkdir(parents=True)
        where.joinpath("var/lib/dpkg/status").touch()
        where.joinpath("apt.conf").write_text(
            f'Dir "{where}";\nDir::State::status "{where}/var/lib/dpkg/status";\n'
            f'DPkg::Options:: "--root={where}";\nAPT::Sandbox::User "root";\n'
        )
        # apt goes on for a while behind our hook, as it does where others have hooks too.
        where.joinpath("etc/apt/apt.conf.d/zz").write_text('DPkg::Post-Invoke:: "sleep 1";\n')
        self.log = where / "log"
        self.log.touch()
        self.program = where / "it's refresh"
        admin = f"{where}/var/lib/dpkg"
        text = STAND_IN.format(
            python=os.path.realpath(sys.executable),
            lock=f"{admin}/lock-frontend",
            admin=admin,
            log=str(self.log),
        )
        self.program.write_text(text)
        self.program.chmod(0o755)
        self.project: Project = make_project(where / "a project")

    def package(self, version: str) -> Path:
        """Build a package with one file."""
        tree = self.where / f"package-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        tree.joinpath("DEBIAN/control").write_text(
            f"Package: chrootbuild-hook-test\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: nobody <nobody@localhost>\nDescription: fires the hooks\n"
        )
        tree.joinpath("file").write_text(version)
        made = self.where / f"{version}.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", tree, made], check=True, capture_output=True
        )
        return made

    def apt(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        """Run apt-get with the database of this machine."""
        environment = {**os.environ, "APT_CONFIG": f"{self.where}/apt.conf", "LC_ALL": "C"}
        return subprocess.run(
            ["apt-get", "--yes", "--allow-downgrades", *argv],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )

    def dpkg(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        """Run dpkg with the database and the hooks of this machine."""
        script = 'mount --bind "$1" /etc/dpkg/dpkg.cfg.d && shift && exec dpkg "$@"'
        hooks = self.where / "etc/dpkg/dpkg.cfg.d"
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", hooks, f"--root={self.where}", *argv],
            capture_output=True,
            text=True,
            timeout=300,
        )

    def lines(self, count: int) -> list[tuple[bool, str, list[str], int]]:
        """Wait for so many lines of the program that stands for refresh."""
        for _ in range(1200):
            lines = self.log.read_text().splitlines()
            if len(lines) >= count:
                time.sleep(0.2)  # one more than expected would come now
                return [eval(line) for line in self.log.read_text().splitlines()]
            time.sleep(0.05)
        raise AssertionError(f"{count} refreshes were expected: {self.log.read_text()!r}")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("folder", ["/srv/roots", f"/srv/{ODD}"])
def test_apt_starts_a_refresh_that_waits_until_apt_is_done(machine: Machine, folder: str) -> None:
    job = Job((str(machine.program),), folder)
    owner = schedule.owner(machine.project, "apt")
    install(machine.project, schedule.snippets("apt", job), owner, str(machine.where))

    done = machine.apt("install", machine.package("1.0"))
    assert done.returncode == 0, done.stderr + done.stdout
    (first,) = machine.lines(1)
    assert first[:3] == (True, "1.0", ["-C", folder, "refresh"])
    assert first[3] != os.getsid(0)

    done = machine.apt("install", "--reinstall", machine.where / "1.0.deb")
    assert done.returncode == 0, done.stderr + done.stdout
    assert machine.lines(2)[1][:2] == (True, "1.0")

    done = machine.apt("install", machine.package("1.1"))
    assert done.returncode == 0, done.stderr + done.stdout
    assert machine.lines(3)[2][:2] == (True, "1.1")

    uninstall(machine.project, (), owner, str(machine.where))
    assert machine.apt("remove", "chrootbuild-hook-test").returncode == 0
    assert len(machine.lines(3)) == 3


def test_apt_brings_a_root_up_to_date(machine: Machine) -> None:
    """The real refresh: what apt installed is in the root a moment after apt is done."""
    top = REPOSITORY
    machine.program.write_text(
        f'#!/bin/sh\ncd {shlex.quote(str(top))} && exec {shlex.quote(sys.executable)} -m chrootbuild "$@"\n'
    )
    folder = Path(machine.project.directory)
    root = folder / "build" / "hooked"
    (folder / "targets" / "hooked.toml").write_text(
        f'os = "linux"\nsysroot = "{machine.where}"\nfiles = ["/file"]\n'
    )
    assert machine.apt("install", machine.package("1.0")).returncode == 0
    built = subprocess.run(
        [machine.program, "-C", folder, "build", "hooked"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert (root / "file").read_text() == "1.0"
    owner = schedule.owner(machine.project, "apt")
    job = Job((str(machine.program),), str(folder))
    install(machine.project, schedule.snippets("apt", job), owner, str(machine.where))

    done = machine.apt("install", machine.package("1.1"))

    assert done.returncode == 0, done.stderr + done.stdout
    for _ in range(600):
        if (root / "file").read_text() == "1.1":
            break
        time.sleep(0.05)
    assert (root / "file").read_text() == "1.1"


def test_apt_reads_the_hook_as_one_command(machine: Machine) -> None:
    job = Job((str(machine.program),), f"/srv/{ODD}")
    install(
        machine.project,
        schedule.snippets("apt", job),
        schedule.owner(machine.project, "apt"),
        str(machine.where),
    )
    environment = {**os.environ, "APT_CONFIG": f"{machine.where}/apt.conf"}
    done = subprocess.run(
        ["apt-config", "dump"], capture_output=True, text=True, check=True, env=environment
    )
    hooks = re.findall(r"^DPkg::Post-Invoke:: \"(.*)\";$", done.stdout, re.MULTILINE)
    assert len(hooks) == 2
    (ours,) = (hook for hook in hooks if hook != "sleep 1")
    assert ours.startswith("IFS=; eval $(printf '")
    subprocess.run(["sh", "-n", "-c", ours], check=True)


def test_a_program_that_has_gone_does_not_make_apt_fail(machine: Machine) -> None:
    job = Job((f"{machine.where}/gone",), "/srv/roots")
    owner = schedule.owner(machine.project, "apt")
    install(machine.project, schedule.snippets("apt", job), owner, str(machine.where))
    done = machine.apt("install", machine.package("1.0"))
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr


@pytest.mark.namespaces
@pytest.mark.parametrize("folder", ["/srv/roots", f"/srv/{ODD}"])
def test_dpkg_starts_a_refresh_that_finds_what_was_installed(machine: Machine, folder: str) -> None:
    job = Job((str(machine.program),), folder)
    owner = schedule.owner(machine.project, "dpkg")
    install(machine.project, schedule.snippets("dpkg", job), owner, str(machine.where))

    done = machine.dpkg("--install", machine.package("1.0"))
    assert (done.returncode, done.stderr) == (0, "")
    (first,) = machine.lines(1)
    assert first[1:3] == ("1.0", ["-C", folder, "refresh"])

    machine.program.unlink()
    done = machine.dpkg("--install", machine.package("1.1"))
    assert (done.returncode, done.stderr) == (0, "")
