"""A project with a sysroot of its own: a libc and a shell of the host's, programs and libraries made by cc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from chrootbuild.__main__ import main
from chrootbuild.artifact import Artifact, Kind
from chrootbuild.build import job
from chrootbuild.plan.make import plan
from chrootbuild.root.stage import Stage
from chrootbuild.root.stage_artifact import stage_artifact
from chrootbuild.state.record import Installed
from chrootbuild.sysroot.reader import Sysroot
from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.target_project import target

_SOURCES = str(REPOSITORY)


def bring_host_programs(top: Path, *programs: str) -> None:
    """Copy programs of this machine and all that they load into a sysroot, links included."""
    folder = top.parent / "host-programs"
    folder.mkdir()
    names = ", ".join(f'"{name}"' for name in programs)
    made = plan(target(folder, f"binaries = [{names}]"), Sysroot("/"))
    for path, artifact in made.artifacts.items():
        if path == "/etc/ld.so.cache":
            continue
        where = top / path[1:]
        if artifact.kind is Kind.DIRECTORY:
            where.mkdir(exist_ok=True)
        elif artifact.kind is Kind.LINK:
            where.symlink_to(artifact.link)
        else:
            shutil.copy2(artifact.source, where)
    shutil.rmtree(folder)


def library(path: Path, soname: str, answer: str, *flags: str) -> None:
    """Make a library with one function, named after the soname ("libq.so.1": q), that returns ``answer``."""
    name = soname.removeprefix("lib").partition(".")[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    code = f'const char *{name}(void) {{ return "{answer}"; }}'
    compile_c(path, code, "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{soname}", *flags)


def program(path: Path, calls: Mapping[str, Path], *flags: str) -> None:
    """Make a program that prints what the functions ``calls`` return, each from its library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    declared = "".join(f"const char *{name}(void);" for name in calls)
    prints = "".join(f"puts({name}());" for name in calls)
    code = f"#include <stdio.h>\n{declared} int main(void) {{ {prints} return 0; }}"
    compile_c(path, code, *map(str, calls.values()), "-Wl,--allow-shlib-undefined", *flags)


def compile_c(path: Path, code: str, *arguments: str) -> None:
    """Compile one C text to ``path``, replaced as a package manager would: a new file, renamed."""
    new = path.with_name(f".{path.name}.new")
    argv = ["cc", "-x", "c", "-", "-x", "none", *arguments, "-o", str(new)]
    subprocess.run(argv, input=code, text=True, check=True)
    new.rename(path)


@dataclass(frozen=True, slots=True)
class Workshop:
    """A project in a folder, its sysroot beside it; every command is a process of its own."""

    folder: Path
    top: Path  # the sysroot
    staged: list[str] = field(default_factory=list)  # what the last build made, a task each

    @property
    def root(self) -> Path:
        """The root of target x."""
        return self.folder / "build/x"

    def write_targets(self, files: Mapping[str, str]) -> None:
        """Write files below targets/."""
        write(self.folder / "targets", files)

    def run(self, *words: str, code: int = 0, recipe: int = 0) -> str:
        """Run chrootbuild and return what it printed; ``recipe`` is another RECIPE than the code's."""
        if recipe:
            status, said = self._start(words, recipe)
        else:
            status, said = self._fork(words)
        assert status == code, said
        assert "Traceback" not in said
        return said

    def _start(self, words: tuple[str, ...], recipe: int) -> tuple[int, str]:
        start = f"import sys, chrootbuild\nchrootbuild.RECIPE = {recipe}\n"
        start += "from chrootbuild.__main__ import main\nsys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", start, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": _SOURCES},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def _fork(self, words: tuple[str, ...]) -> tuple[int, str]:
        """Run it in a child of this process: a tenth of what a new interpreter takes."""
        self.staged.clear()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile("w+") as staged:
            child = os.fork()
            if child == 0:
                status = 99
                try:
                    os.chdir(self.folder)
                    os.dup2(output.fileno(), 1)
                    os.dup2(output.fileno(), 2)
                    # Not what pytest captures with.
                    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
                    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
                    sys.argv = ["chrootbuild", *words]
                    status = _noting(staged, main)
                except BaseException:  # noqa: BLE001 -- a child must never go on as a second pytest
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    os._exit(status)
            _, waited = os.waitpid(child, 0)
            output.seek(0)
            staged.seek(0)
            self.staged.extend(sorted(staged.read().split("\0")[:-1]))
            return os.waitstatus_to_exitcode(waited), output.read().decode("utf-8", "surrogateescape")

    def build(self, *words: str, recipe: int = 0) -> dict[str, str]:
        """Build target x; return what was done: path -> "action  reason"."""
        return lines_of(self.run("build", *words, "x", recipe=recipe))

    def changes(self) -> dict[str, tuple[str, str]]:
        """Return what a build would change by plan --json: path -> (action, reason)."""
        made = self.plan()
        return {
            entry["path"]: (entry["action"], entry["reason"])
            for entry in made["artifacts"]
            if entry["action"] != "keep"
        }

    def plan(self) -> dict[str, Any]:
        """Return plan --json of target x."""
        made: dict[str, Any] = json.loads(self.run("plan", "--json", "x").splitlines()[0])
        return made

    def settle(self) -> None:
        """Build until there is nothing to do: what was just written cannot be proven unchanged at once."""
        self.build()
        for _ in range(5):
            if not self.run("build", "x"):
                return
        raise AssertionError("it is never done")


def _noting(output: IO[str], call: Callable[[], int]) -> int:
    """Call something, and write down every artifact that is staged meanwhile."""

    def noted(stage: Stage, artifact: Artifact) -> Installed:
        output.write(artifact.path + "\0")
        return stage_artifact(stage, artifact)

    job.__dict__["stage_artifact"] = noted
    try:
        return call()
    finally:
        output.flush()


def lines_of(output: str) -> dict[str, str]:
    """Return the lines of a build or a plan: path -> "action  reason"."""
    found = {}
    for line in output.splitlines():
        words = line.split(maxsplit=2)
        if line.startswith("  ") and words[0] in ("install", "replace", "remove"):
            found[words[1]] = f"{words[0]}  {words[2] if len(words) > 2 else ''}".rstrip()
    return found
