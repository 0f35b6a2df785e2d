"""chrootbuild itself run within a chroot(2): nothing of a root may run in the system outside.

After setns(2) a process stands at the root of the mount namespace. In a rescue system, an installer or
schroot(1) that is another system than the caller's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.places import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

# Two kinds of inner system: / itself seen through another mount, with the same device and inode as the
# outer one; and a directory in which nothing is mounted at its top.
_SAME = 'mount --rbind / "$inner"'
_OTHER = """
for name in $(ls -A /); do
    [ "$name" = mnt ] && { mkdir -p "$inner/mnt"; continue; }
    if [ -L "/$name" ]; then ln -sfn "$(readlink "/$name")" "$inner/$name"
    elif [ -d "/$name" ]; then mkdir -p "$inner/$name"; mount --rbind "/$name" "$inner/$name"
    fi
done
"""
_ENTER = """
set -eu
inner=$1; shift
mount --make-rprivate /
mkdir -p "$inner"
{make}
mount -t tmpfs inner "$inner/mnt"
echo inner >"$inner/mnt/where"
cd /
exec chroot "$inner" "$@"
"""
KINDS = {"a mount of /": _SAME, "a directory": _OTHER}
TARGET = """
binaries = ["{cat}", "{ls}"]
[text]
"/where" = "the root\\n"
[check]
prepare = ['grep -qx inner /mnt/where']
run = [{{ argv = ["{cat}", "/where"], stdout = "^the root$" }}, {{ argv = ["{ls}", "/"], stdout = '^[^,]*where\\n$' }}]
"""


def inside(tmp_path: Path, kind: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command within a chroot(2), in mount and pid namespaces of the test's own."""
    script = _ENTER.format(make=KINDS[kind])
    outer = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path / "inner"), *argv]
    # What can be had there is less than on the machine: it is no matter of CHROOTBUILD_MUST_RUN.
    env = {name: value for name, value in os.environ.items() if name != "CHROOTBUILD_MUST_RUN"}
    return subprocess.run(outer, capture_output=True, text=True, timeout=300, env=env)


def chrootbuild(project: Path, *words: str) -> list[str]:
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    code += "from chrootbuild.__main__ import main\nsys.exit(main())"
    return [sys.executable, "-c", code, "-C", str(project), *words]


def make_project(folder: Path) -> Path:
    (folder / "targets").mkdir(parents=True)
    os.chmod(folder / "targets", 0o755)
    (folder / "targets/x.toml").write_text(TARGET.format(cat="/usr/bin/cat", ls="/usr/bin/ls"))
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.mark.parametrize("kind", KINDS)
def test_check_runs_in_the_root_and_nowhere_else(tmp_path: Path, project: Path, kind: str) -> None:
    assert inside(tmp_path, kind, *chrootbuild(project, "build", "x")).returncode == 0
    done = inside(tmp_path, kind, *chrootbuild(project, "check", "x"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_enter_shows_the_root_and_nothing_else(tmp_path: Path, project: Path, kind: str) -> None:
    inside(tmp_path, kind, *chrootbuild(project, "build", "x"))
    done = inside(tmp_path, kind, *chrootbuild(project, "enter", "x", "/usr/bin/cat", "/where"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "the root\n", "")
    gone = inside(tmp_path, kind, *chrootbuild(project, "enter", "x", "/usr/bin/cat", "/mnt/where"))
    assert gone.returncode == 1
    assert "inner" not in gone.stdout


@pytest.mark.strace
@pytest.mark.parametrize("kind", KINDS)
def test_learn_traces_a_copy_of_the_system_that_it_is_in(tmp_path: Path, project: Path, kind: str) -> None:
    text = '[check]\nrun = [{ argv = ["/usr/bin/cat", "/mnt/where"], stdout = "^inner$" }]\n'
    (project / "targets/x.toml").write_text('binaries = ["/usr/bin/cat"]\n' + text)
    done = inside(tmp_path, kind, *chrootbuild(project, "learn", "x"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"/mnt/where"' in (project / "targets/x.learned.toml").read_text()


@pytest.fixture
def short() -> Iterator[str]:
    """A folder with a short name: the tests within bind sockets in it, whose paths may have 107 bytes."""
    with TemporaryDirectory() as directory:
        yield directory


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_the_sandbox_pass_in_a_chroot(tmp_path: Path, short: str, kind: str) -> None:
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={short}/again",
    ]
    argv += ["tests/integration/sandbox/test_box.py", "tests/integration/sandbox/test_enter.py"]
    argv += ["-k", "not ordinary"]  # who is refused there: below
    done = inside(tmp_path, kind, "sh", "-c", f'cd "{REPOSITORY}" && exec "$@"', "sh", *argv)
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_tests_of_the_sandbox_pass_in_a_user_namespace(short: str) -> None:
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={short}/again",
    ]
    argv += [
        "tests/integration/sandbox/test_box.py",
        "-k",
        "not groups and not devices",  # a user namespace has one id and no device nodes
    ]
    outer = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]
    outer += ["sh", "-c", '"$@"; exit $?', "sh", *argv]  # a first process that takes care of orphans
    env = {name: value for name, value in os.environ.items() if name != "CHROOTBUILD_MUST_RUN"}
    done = subprocess.run(outer, capture_output=True, text=True, cwd=REPOSITORY, timeout=300, env=env)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.nobody
def test_an_ordinary_user_in_a_chroot_is_refused() -> None:
    with TemporaryDirectory() as directory:  # pytest's own folders are for root's eyes
        folder = Path(directory)
        os.chmod(folder, 0o755)
        make_project(folder / "project")
        subprocess.run(["chown", "-R", "nobody:", directory], check=True)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        subprocess.run([*user, *chrootbuild(folder / "project", "build", "x")], check=True)
        done = inside(folder, "a directory", *user, *chrootbuild(folder / "project", "check", "x"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot check x: this process is in a chroot(2)")
    assert "\nhint: " in done.stderr
