"""Every program of a root is started after each single step of a publish: none of them ever fails.

Each case is a root in two forms; it is built from the first to the second and, where the libraries
allow that, back again, with directories that are exchanged as a whole and without.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chrootbuild.build.job import begin, run
from chrootbuild.publish import publish
from chrootbuild.publish.apply import apply
from chrootbuild.publish.step import Operation
from chrootbuild.root.stage import Stage
from chrootbuild.root.tree import Root
from chrootbuild.state.project import find_project
from chrootbuild.target.reader import read_target
from tests.support.sysroot import write
from tests.support.trees import tree
from tests.support.workshop import Workshop, bring_host_programs, compile_c

pytestmark = [pytest.mark.root, pytest.mark.cc]


@dataclass(frozen=True, slots=True)
class Form:
    """What a root holds: libraries and programs with the libraries they need, and other files.

    "libq+" needs what libq has in the second form only.
    """

    libraries: Mapping[str, Sequence[str]]
    programs: Mapping[str, Sequence[str]]
    files: Mapping[str, str] = field(default_factory=dict)  # as tests/sysroot.py has them

    @property
    def is_behind(self) -> bool:
        """Whether what is here cannot run with the libraries of the first form."""
        return any(need.endswith("+") for needs in self.programs.values() for need in needs)


CASES = {
    # One directory to which one library comes, from which another goes; the program is outside.
    "a library comes and another goes": (
        Form(
            {"/usr/lib/q/libold.so": [], "/usr/lib/q/libkept.so": []},
            {"/usr/bin/app": ["libold", "libkept"]},
        ),
        Form(
            {"/usr/lib/q/libnew.so": [], "/usr/lib/q/libkept.so": ["libnew"]},
            {"/usr/bin/app": ["libkept"]},
        ),
    ),
    "two directories need each other": (
        Form({"/usr/lib/q/liba.so": [], "/usr/lib/r/libb.so": []}, {"/usr/bin/app": ["liba", "libb"]}),
        Form(
            {
                "/usr/lib/q/liba.so": ["libbnew"],
                "/usr/lib/q/libanew.so": [],
                "/usr/lib/r/libb.so": ["libanew"],
                "/usr/lib/r/libbnew.so": [],
            },
            {"/usr/bin/app": ["liba", "libb"]},
        ),
    ),
    "a directory with programs and libraries": (
        Form(
            {"/opt/app/libown.so": [], "/usr/lib/q/libq.so": []},
            {"/opt/app/run": ["libown"], "/usr/bin/tool": ["libq"]},
        ),
        Form(
            {
                "/opt/app/libown.so": ["libfar"],
                "/opt/app/libown2.so": [],
                "/usr/lib/q/libq.so": ["libown2"],
                "/usr/lib/z/libfar.so": [],
            },
            {"/opt/app/run": ["libown", "libfar"], "/usr/bin/tool": ["libown2", "libq"]},
        ),
    ),
    "two directories with programs and libraries": (
        Form({"/opt/a/liba.so": [], "/opt/b/libb.so": []}, {"/opt/a/run": ["liba"], "/opt/b/run": ["libb"]}),
        Form(
            {"/opt/a/liba.so": [], "/opt/a/liba2.so": [], "/opt/b/libb.so": [], "/opt/b/libb2.so": []},
            {"/opt/a/run": ["liba", "libb2"], "/opt/b/run": ["libb", "liba2"]},
        ),
    ),
    "two directories whose programs need what is new in the other": (
        Form({"/opt/a/liba.so": [], "/opt/b/libb.so": []}, {"/opt/a/run": ["liba"], "/opt/b/run": ["libb"]}),
        Form(
            {"/opt/a/liba.so": [], "/opt/b/libb.so": []}, {"/opt/a/run": ["libb+"], "/opt/b/run": ["liba+"]}
        ),
    ),
    "programs that need what is new in a directory with a program": (
        Form({"/opt/a/liba.so": []}, {"/opt/a/run": ["liba"], "/usr/bin/app": ["liba"]}),
        Form({"/opt/a/liba.so": []}, {"/opt/a/run": ["liba+"], "/usr/bin/app": ["liba+"]}),
    ),
    "a program goes with its library": (
        Form({"/opt/q/libq.so": []}, {"/usr/bin/app": [], "/usr/bin/gone": ["libq"]}),
        Form({}, {"/usr/bin/app": []}),
    ),
    "a new library for a replaced one before it": (
        Form({"/usr/lib/1/liba.so": []}, {"/usr/bin/app": ["liba"]}),
        Form({"/usr/lib/1/liba.so": ["libz"], "/usr/lib/2/libz.so": []}, {"/usr/bin/app": ["liba"]}),
    ),
    "a soname that moves": (
        Form(
            {"/usr/lib/q/libq.so.1.0": []},
            {"/usr/bin/app": ["libq"]},
            {"/usr/lib/q/libq.so": "-> libq.so.1.0"},
        ),
        Form(
            {"/usr/lib/q/libq.so.1.1": ["libr"], "/usr/lib/r/libr.so.2.1": []},
            {"/usr/bin/app": ["libq"]},
            {"/usr/lib/q/libq.so": "-> libq.so.1.1", "/usr/lib/r/libr.so": "-> libr.so.2.1"},
        ),
    ),
    "a link to another program": (
        Form(
            {},
            {"/usr/bin/vi-1": []},
            {"/usr/bin/vi": "-> ../../etc/alternatives/vi", "/etc/alternatives/vi": "-> /usr/bin/vi-1"},
        ),
        Form(
            {"/usr/lib/q/libq.so": []},
            {"/usr/bin/vi-2": ["libq"]},
            {"/usr/bin/vi": "-> ../../etc/alternatives/vi", "/etc/alternatives/vi": "-> /usr/bin/vi-2"},
        ),
    ),
    "a script with another interpreter": (
        Form({}, {"/usr/bin/old": []}, {"/usr/bin/script": "#!/usr/bin/old\n"}),
        Form(
            {"/usr/lib/q/libq.so": []}, {"/usr/bin/zew": ["libq"]}, {"/usr/bin/script": "#!/usr/bin/zew\n"}
        ),
    ),
    "a directory becomes a link": (
        Form({}, {"/opt/bin/a": [], "/opt/bin/b": []}),
        Form({}, {"/usr/bin/a": [], "/usr/bin/b": []}, {"/opt/bin": "-> ../usr/bin"}),
    ),
    "data that goes with its program": (
        Form(
            {},
            {"/usr/bin/app": []},
            {"/usr/share/app/a": "1", "/usr/share/app/b": "1", "/usr/share/app/old": ""},
        ),
        Form(
            {},
            {"/usr/bin/app": []},
            {"/usr/share/app/a": "2", "/usr/share/app/b": "2", "/usr/share/app/new": ""},
        ),
    ),
}
# What a program reads at its start, by version: without it the start fails.
READS = {"data that goes with its program": ("/usr/share/app/old", "/usr/share/app/new")}
PLACES = "/usr/lib/q:/usr/lib/r:/usr/lib/z:/usr/lib/1:/usr/lib/2:/opt/q:/opt/app:/opt/a:/opt/b"


@pytest.fixture(scope="module")
def host_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sysroot with a libc and its loader."""
    top = tmp_path_factory.mktemp("host") / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    return top


def make(top: Path, host_programs: Path, form: Form, version: int, reads: str) -> str:
    """Make a sysroot, and return the target file for it."""
    subprocess.run(["cp", "-a", host_programs, top], check=True)
    made: dict[str, Path] = {}
    for path in sorted(form.libraries, key=lambda path: len(form.libraries[path])):
        name = path.rpartition("/")[2].partition(".")[0]
        code = "".join(
            f"int {word}(void) {{ return {version}; }}" for word in (name, f"{name}_new")[:version]
        )
        _compile(top, path, code, made, form.libraries[path], "-shared")
        made[name] = top / path[1:]
    for path, needs in form.programs.items():
        words = [need.replace("+", "_new") for need in needs]
        code = f"#include <stdio.h>\nconst int version = {version};"
        code += "".join(f"int {word}(void);" for word in words)
        calls = "".join(f" && {word}()" for word in words)
        code += f'int main(void) {{ return !(fopen("{reads or "/"}", "r"){calls}); }}'
        _compile(top, path, code, made, needs)
    write(top, form.files)
    for path in form.files:
        if path.startswith("/usr/bin") and not (top / path[1:]).is_symlink():
            (top / path[1:]).chmod(0o755)
    names = [*form.programs, *(path for path in form.files if path.startswith(("/usr/bin", "/opt")))]
    binaries = ", ".join(f'"{name}"' for name in names if not name.endswith("/bin"))
    files = ", ".join(
        f'"{name}"' for name in form.files if name.startswith("/usr/share") or name == "/opt/bin"
    )
    return f'sysroot = "{top}"\nos = "linux"\nbinaries = ["/bin/sh", {binaries}]\nfiles = [{files}]\n'


def _compile(
    top: Path, path: str, code: str, made: Mapping[str, Path], needs: Sequence[str], *flags: str
) -> None:
    where = top / path[1:]
    where.parent.mkdir(parents=True, exist_ok=True)
    name = path.rpartition("/")[2].partition(".so")[0]
    if flags:
        flags = (*flags, "-fPIC", "-nostdlib", f"-Wl,-soname,{name}.so")
    libraries = [str(made[need.removesuffix("+")]) for need in needs]
    search = [f"-Wl,-rpath,{PLACES}", "-Wl,--allow-shlib-undefined", "-Wl,--no-as-needed"]
    compile_c(where, code, *search, *libraries, *flags)


def build(shop: Workshop, monkeypatch: pytest.MonkeyPatch, *, whole: bool) -> list[str]:
    """Build, and start every program of the root after each step; return the steps with what failed."""
    target = read_target(find_project(str(shop.folder)), "x")
    seen: list[str] = []

    def stepped(root: Root, stage: Stage, op: Operation) -> bool:
        done = op.kind == "pause" or apply(root, stage, op)
        failed = [f"{path}: {why}" for path in started(shop.root) if (why := start(shop.root, path))]
        seen.append(f"{op.kind} {op.path}" + "".join(f"\n  {line}" for line in failed))
        return done

    monkeypatch.setattr(publish, "apply", stepped)
    if not whole:
        monkeypatch.setattr(publish, "can_exchange", lambda _: False)
    try:
        with begin(find_project(str(shop.folder)), target) as job:
            run(job)
    finally:
        monkeypatch.undo()
    return seen


def started(root: Path) -> list[str]:
    """Return the programs that somebody may start."""
    found = [
        path
        for folder in ("usr/bin", "opt/bin", "opt/app", "opt/a", "opt/b")
        for path in (root / folder).glob("*")
    ]
    return [f"/{path.relative_to(root)}" for path in found if ".so" not in path.name]


def start(root: Path, path: str) -> str:
    """Start a program in a root; return what went wrong."""
    try:
        done = subprocess.run([path], preexec_fn=lambda: os.chroot(root), capture_output=True, text=True)
    except FileNotFoundError:
        return "a link to nothing, or no interpreter"
    return "" if done.returncode == 0 else f"{done.returncode} {done.stderr.strip()}"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_program_starts_after_each_step(
    tmp_path: Path, host_programs: Path, monkeypatch: pytest.MonkeyPatch, case: str, whole: bool
) -> None:
    shop = Workshop(tmp_path, tmp_path / "1")
    reads = READS.get(case, ("", ""))
    texts = [
        make(tmp_path / str(number), host_programs, form, number, reads[number - 1])
        for number, form in enumerate(CASES[case], 1)
    ]
    trees = []
    for text in texts if CASES[case][1].is_behind else (*texts, *texts):
        shop.write_targets({"x.toml": text})
        steps = build(shop, monkeypatch, whole=whole)
        assert [step for step in steps if "\n" in step] == [], "\n".join(steps)
        assert shop.run("verify", "x") == ""
        trees.append({path: text for path, text in tree(shop.root).items() if path != "/etc/ld.so.cache"})
        assert len([path for path in started(shop.root) if not start(shop.root, path)]) >= 1
    assert trees[:2] == (trees[2:] or trees)
