"""A project, a sysroot of its own and a victim outside, in one temporary directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import chrootbuild
from chrootbuild.build.clean import clean
from chrootbuild.build.job import begin, run
from chrootbuild.compare.assessment import Assessment, assess
from chrootbuild.compare.verify import verify
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.root.tree import read_root
from chrootbuild.state.project import Project, find_project
from chrootbuild.state.record import read_record
from chrootbuild.target.model import Target
from chrootbuild.target.reader import read_targets

TARGET = """\
os = "linux"
files = ["/etc/app/", "/usr/share/app/", "/etc/passwd"]
[text]
"/etc/hosts" = "127.0.0.1 localhost\\n"
[links]
"/usr/bin/editor" = "vi"
[directories]
"/var/app" = { mode = "0755" }
"""
SMALLER = """\
os = "linux"
files = ["/etc/passwd"]
"""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The places of one test. ``build`` and the like run in this process, without doit; ``run`` is the program."""

    top: Path

    @property
    def sysroot(self) -> Path:
        return self.top / "sys"

    @property
    def root(self) -> Path:
        return self.top / "p/build/t"

    @property
    def state(self) -> Path:
        return self.top / "p/.chrootbuild"

    @property
    def stage(self) -> Path:
        return self.top / "p/build/.t.chrootbuild"

    @property
    def victim(self) -> Path:
        return self.top / "victim"

    @property
    def project(self) -> Project:
        return find_project(str(self.top / "p"))

    def target(self) -> Target:
        targets = read_targets(self.project)
        for failure in targets.failures.values():
            raise failure
        return targets.targets["t"]

    def write_target(self, text: str, root: Path | None = None) -> None:
        place = "" if root is None else f'root = "{root}"\n'
        (self.top / "p/targets/t.toml").write_text(f'sysroot = "{self.sysroot}"\n{place}{text}')

    def edit(self, word: str) -> None:
        """Change every source."""
        for path in self.sysroot.rglob("*"):
            if path.is_file() and not path.is_symlink():
                path.write_text(f"{path.name} {word}\n")

    def build(self) -> int:
        """Build and return how many artifacts were stale."""
        with begin(self.project, self.target()) as job:
            run(job)
            return len(job.stale)

    def plan(self) -> Assessment:
        return assess(self.project, self.target())

    def verify(self) -> list[Finding]:
        root, record = read_root(str(self.root)), read_record(self.project, "t", str(self.root))
        assert root is not None
        with root:
            return [] if record is None else list(verify(record, root))

    def clean(self) -> None:
        clean(self.project, self.target())

    def try_to(self, *calls: Callable[[], object]) -> list[Failure]:
        """Make each call and return the Failures; anything else that is raised is an error of ours."""
        failures = []
        for call in calls:
            try:
                call()
            except Failure as failure:
                failures.append(failure)
        return failures

    def run(
        self, *argv: str, before: tuple[str, ...] = (), env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the program itself, behind the words of ``before`` (strace, setpriv)."""
        command = [*before, sys.executable, "-m", "chrootbuild", "-C", str(self.top / "p"), *argv]
        return subprocess.run(command, capture_output=True, text=True, env={**environment(), **(env or {})})


def environment() -> dict[str, str]:
    """Return what a chrootbuild of this source tree runs with, the same each time."""
    source = os.path.dirname(os.path.dirname(chrootbuild.__file__))
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": source,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def make_sandbox(top: Path, target: str = TARGET) -> Sandbox:
    """Make a sandbox: sources, a target, and victims that nothing may touch."""
    box = Sandbox(top)
    for name in ("sys/etc/app", "sys/usr/share/app/deep", "p/targets", "victim/dir/app"):
        (top / name).mkdir(parents=True)
    for name in (
        "etc/app/a.conf",
        "etc/app/b.conf",
        "usr/share/app/one",
        "usr/share/app/two",
        "usr/share/app/deep/x",
    ):
        (box.sysroot / name).write_text(f"{name} 1\n")
    (box.sysroot / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    names = ("a.conf", "b.conf", "one", "two", "x", "hosts", "passwd", "app/one")
    for name in ("file", *(f"dir/{name}" for name in names)):
        (box.victim / name).write_text(f"victim {name}\n")
        (box.victim / name).chmod(0o640)
    box.write_target(target)
    return box


def state_of(top: Path) -> dict[str, tuple[object, ...]]:
    """Return all of a tree but for access times and link counts (an attack makes names); no link followed."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for path in [directory, *(os.path.join(directory, name) for name in [*names, *files])]:
            info = os.lstat(path)
            content = Path(path).read_bytes() if os.path.isfile(path) and not os.path.islink(path) else b""
            found[path] = (
                *(info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size),
                *(info.st_mtime_ns, content),
            )
    return found
