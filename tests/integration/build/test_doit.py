"""The real doit in a project folder, with the package installed by pip; and chrootbuild's own words for the same."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.trees import tree

ODD = "/srv/50%=*?[b] é.c"
ODD_TASK = "x:/srv/50%25%3D%2A%3F%5Bb%5D é.c"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment that the package is installed in, not from this folder."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "chrootbuild", source / "chrootbuild")
    # With the backend that is here, if it is: no test has to reach an index.
    here = ["--no-build-isolation"] if importlib.util.find_spec("flit_core") else []
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", *here, "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv/bin/python"
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    # The dependencies are those that these tests run with.
    (packages,) = (folder / "venv/lib").glob("*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


@dataclass(frozen=True, slots=True)
class Project:
    """A project folder with a dodo.py, and a sysroot beside it."""

    folder: Path
    top: Path
    python: Path

    @property
    def root(self) -> Path:
        """The root of target x."""
        return self.folder / "build/x"

    def doit(self, *words: str, code: int = 0) -> str:
        """Run doit in the folder; return what it printed."""
        return self.run([str(self.python), "-m", "doit", *words], code)

    def chrootbuild(self, *words: str, code: int = 0) -> str:
        """Run chrootbuild in the folder; return what it printed."""
        return self.run([str(self.python.with_name("chrootbuild")), *words], code)

    def run(self, argv: list[str], code: int) -> str:
        """Run a command in the folder with a clean environment."""
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            argv, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout


@pytest.fixture
def project(tmp_path: Path, python: Path) -> Project:
    """Targets x and y (manual); nothing is built."""
    top = write(
        tmp_path / "sysroot", {"/bin/sh": "a shell", "/etc/one": "1", "/etc/link": "-> one", ODD: "x"}
    )
    (top / "bin/sh").chmod(0o755)
    folder = tmp_path / "project"
    x = 'summary = "the first"\nbinaries = ["/bin/sh"]\nfiles = ["/etc/one", "/etc/link", "/srv/"]\n'
    y = 'manual = true\nfiles = ["/etc/one"]\n'
    start = f'os = "linux"\nsysroot = "{top}"\n'
    write(folder / "targets", {"x.toml": start + x, "y.toml": start + y})
    for name in ("dodo.py", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    return Project(folder, top, python)


EVERYTHING = {"/bin", "/bin/sh", "/etc", "/etc/one", "/etc/link", "/srv", ODD}


def test_doit_builds_all_but_the_manual_ones_and_is_silent_then(project: Project) -> None:
    said = project.doit().splitlines()
    assert said[0] == f"x  {project.root}"
    assert said[-1].startswith("7 installed, 0 replaced, 0 removed, published in ")
    assert set(tree(project.root)) == EVERYTHING
    assert not (project.folder / "build/y").exists()
    assert project.doit() == ""
    assert project.doit("x") == ""
    assert project.chrootbuild("build") == ""


def test_doit_after_chrootbuild_is_silent(project: Project) -> None:
    project.chrootbuild("build", "x")
    assert project.doit() == ""


def test_a_manual_target_is_built_when_named(project: Project) -> None:
    assert "2 installed" in project.doit("y")
    assert not project.root.exists()
    assert project.doit("y") == ""


def test_a_manual_target_is_left_out_though_its_mark_is_lost(project: Project) -> None:
    project.chrootbuild("build", "x", "y")
    (project.folder / ".chrootbuild/y.manual.stamp").unlink()
    (project.folder / "build/y/etc/one").unlink()
    project.chrootbuild("build")
    assert not (project.folder / "build/y/etc/one").exists()
    assert "1 installed" in project.chrootbuild("build", "y")


@pytest.mark.parametrize("words", [("-n", "2"), ("-n2",), ("--process", "2"), ("-n", "2", "-P", "thread")])
def test_artifacts_are_staged_in_parallel(project: Project, words: tuple[str, ...]) -> None:
    assert "7 installed" in project.doit(*words)
    (project.top / "etc/one").write_text("2")
    assert "1 replaced" in project.doit(*words, "x")


def test_list(project: Project) -> None:
    assert project.doit("list").split() == ["x", "the", "first", "y"]
    every = project.doit("list", "--all", "x")
    assert {line.split("   ")[0].strip() for line in every.splitlines()} == {
        "x",
        ODD_TASK,
        *(f"x:{path}" for path in EVERYTHING - {ODD}),
    }
    assert every == project.chrootbuild("list", "--all", "x")


def test_list_status_tells_what_is_stale(project: Project) -> None:
    project.doit("x")
    (project.top / "etc/one").write_text("two")
    status = {line.split()[1]: line[0] for line in project.doit("list", "--all", "-s", "x").splitlines()}
    assert {name for name, state in status.items() if state != "U"} == {"x", "x:/etc/one"}


def test_info_shows_sources_and_the_reason(project: Project) -> None:
    project.doit("x")
    fresh = project.doit("info", "x:/etc/one")
    assert "status     : up-to-date" in fresh
    assert f" - {project.top}/etc/one" in fresh
    (project.top / "etc/one").write_text("two")
    stale = project.doit("info", "x:/etc/one", code=1)
    assert "content differs from the host's" in stale
    assert project.chrootbuild("info", "x:/etc/one", code=1) == stale
    (project.root / "etc/one").unlink()
    assert "absent in the root" in project.doit("info", "x:/etc/one", code=1)


def test_one_path_is_published_with_what_must_go_along(project: Project) -> None:
    said = project.doit("x:/etc/one")
    # The link leads to it: with a new file behind an old link nothing would be right.
    assert set(tree(project.root)) == {"/etc", "/etc/link", "/etc/one"}
    assert "3 installed" in said
    assert project.doit("x:/etc/one") == ""
    (project.top / "etc/one").write_text("two")
    (project.top / "bin/sh").write_text("another shell")
    assert "1 replaced" in project.doit("x:/etc/one")
    assert (project.root / "etc/one").read_text() == "two"
    assert not (project.root / "bin").exists()
    assert "4 installed" in project.doit("x")


def test_a_path_with_characters_that_doit_keeps_for_itself(project: Project) -> None:
    project.doit(ODD_TASK)
    assert set(tree(project.root)) == {"/srv", ODD}
    assert "up-to-date" in project.doit("info", ODD_TASK)
    assert f"{ODD} - removing" in project.doit("clean", ODD_TASK)
    assert set(tree(project.root)) == {"/srv"}


def test_a_star_matches_tasks_as_in_doit(project: Project) -> None:
    project.doit("x:/etc/*")
    assert set(tree(project.root)) == {"/etc", "/etc/link", "/etc/one"}


def test_clean_removes_what_is_ours_and_nothing_else(project: Project) -> None:
    project.doit("x")
    (project.root / "etc/foreign").write_text("x")
    before = tree(project.root)
    assert "/etc/one - removing" in project.doit("clean", "-n", "x")
    assert tree(project.root) == before
    project.doit("clean", "x:/etc/one")
    assert set(before) - set(tree(project.root)) == {"/etc/one"}
    project.doit("clean", "x")
    assert set(tree(project.root)) == {"/etc", "/etc/foreign"}
    assert "6 installed" in project.chrootbuild("build", "x")
    assert "/etc/one - removing" in project.chrootbuild("clean", "x")
    assert set(tree(project.root)) == {"/etc", "/etc/foreign"}


def test_out_moves_the_roots(project: Project, tmp_path: Path) -> None:
    project.doit(f"out={tmp_path}/elsewhere", "x")
    assert set(tree(tmp_path / "elsewhere/x")) == EVERYTHING
    assert not project.root.exists()
    assert project.doit(f"out={tmp_path}/elsewhere", "x") == ""
    assert "7 installed" in project.doit("x")


# -- our own commands among doit's -------------------------------------------------------------


def test_plan_why_and_verify_are_doit_commands(project: Project) -> None:
    assert project.doit("plan", "x").splitlines()[-1] == "7 of 7 to change"
    assert project.doit("plan", "x") == project.chrootbuild("plan", "x")
    project.doit("x")
    assert json.loads(project.doit("plan", "--json", "x"))["target"] == "x"
    assert project.doit("why", "x", "/etc/one").splitlines() == [
        "files: /etc/one",
        "files: /etc/link",
        "  /etc/link  links to it",
    ]
    assert project.doit("verify", "x") == ""
    (project.root / "etc/one").write_text("drift")
    assert "/etc/one" in project.doit("verify", "x", code=1)
    assert "usage: chrootbuild plan" in project.doit("help", "plan")


def test_doit_of_another_project_is_left_alone(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, {"dodo.py": "def task_check():\n    return {'actions': ['echo mine']}\n"})
    elsewhere = Project(other, project.top, project.python)
    assert "mine" in elsewhere.doit("-v2", "check")
    assert "error" in elsewhere.doit("plan", code=3).lower()


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_broken_target_stops_no_other(project: Project) -> None:
    write(project.folder / "targets", {"broken.toml": 'fils = ["/etc/one"]\n'})
    write(
        project.folder / "targets", {"absent.toml": f'sysroot = "{project.top}"\nfiles = ["/etc/absent"]\n'}
    )
    for said in (project.doit(code=1), project.chrootbuild("build", code=3)):
        assert (
            "error: cannot use targets/broken.toml:1: fils: there is no such key\nhint: did you mean files?"
            in said
        )
        assert (
            "error: cannot read /etc/absent: No such file or directory (targets/absent.toml:2: files)"
            in said
        )
    assert set(tree(project.root)) == EVERYTHING
    assert project.doit("x") == ""
    assert "cannot use targets/broken.toml" in project.doit("list")
    assert "cannot use targets/broken.toml" in project.chrootbuild("list")
    assert project.doit("broken", code=1).count("error:") == 1
    assert project.chrootbuild("build", "broken", code=3).count("error:") == 1


@pytest.mark.parametrize("name", ["a=b", "a*", "a\x1b[31mb", "a:b", "ä b"])
def test_a_target_whose_name_no_task_can_have_stops_no_other(project: Project, name: str) -> None:
    (project.folder / "targets" / f"{name}.toml").write_text('texts."/a" = "a"\n')
    for run in (project.doit, project.chrootbuild):
        shown = run("list")
        assert "is no name for a target" in shown
        assert "\x1b" not in shown
    for build in (project.doit(code=1), project.chrootbuild("build", code=3)):
        assert "hint: rename it: targets/" in build
        assert "\x1b" not in build
    assert (project.root / "etc").is_dir()


@pytest.mark.parametrize("words", [(), ("info",), ("list",), ("clean",)])
def test_an_unknown_target_is_an_error_with_a_hint(project: Project, words: tuple[str, ...]) -> None:
    write(project.folder / "targets", {"nginx.toml": 'binaries = ["nginx"]\n'})
    said = 'cannot find a target named "ngnix": targets/ has nginx, x, y\nhint: did you mean nginx?'
    assert said in project.doit(*words, "ngnix", code=3)
    assert said in project.chrootbuild(*(words or ("build",)), "ngnix", code=2)


@pytest.mark.parametrize("words", [(), ("info",), ("clean",)])
def test_an_unknown_path_is_an_error_with_a_hint(project: Project, words: tuple[str, ...]) -> None:
    said = (
        'cannot find a task named "x:/nope": /nope is not in the plan\nhint: chrootbuild plan x --json lists'
    )
    assert said in project.doit(*words, "x:/nope", code=3)


def test_a_target_that_is_being_built_is_left_alone(project: Project) -> None:
    project.doit("x")
    (project.top / "etc/one").write_text("two")
    with (project.folder / ".chrootbuild/x.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for said in (project.doit("x", code=75), project.chrootbuild("build", "x", code=75)):
            assert said.startswith("error: cannot build x: ")
            assert "hint: wait until it is done" in said
    assert (project.root / "etc/one").read_text() == "1"
    assert "1 replaced" in project.doit("x")


def test_wrong_usage(project: Project, tmp_path: Path) -> None:
    assert "hint: did you mean plan?" in project.chrootbuild("plann", code=2)
    assert "cannot find a project in" in project.chrootbuild("-C", str(tmp_path), "build", code=2)
    assert project.chrootbuild("-C", str(project.folder), "plan", "x").startswith("x  ")


@pytest.mark.parametrize(
    "words",
    ["list", "list --all", "info x:/etc/one", "dumpdb", "help", "plan", "clean x", ""],
)
@pytest.mark.parametrize("where", ["| true", ">/dev/full", ">&-"])
def test_doit_ends_quietly_where_nobody_reads(project: Project, words: str, where: str) -> None:
    project.chrootbuild("build")
    if not words:
        shutil.rmtree(project.root)
    full = "1:error: cannot write to standard output: No space left on device"
    script = (
        f"exec 4>&1; {{ {project.python} -m doit {words} 2>err; echo $? >code; }} {where}; cat code err >&4"
    )
    said = project.run(["sh", "-c", script], 0).split("\n", 1)
    assert ":".join(said).strip() == (full if "full" in where else "0:")
