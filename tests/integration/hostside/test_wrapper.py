"""Start scripts, really run: who is inside, with what environment, and that no name is looked up on the way."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostside_project import ODD, make_sysroot, public_folder, snippets
from tests.support.trees import tree

pytestmark = [pytest.mark.root, pytest.mark.package("busybox-static")]


@pytest.fixture
def public() -> Iterator[Path]:
    with public_folder() as folder:
        yield folder


def script_for(
    folder: Path, argv: list[str], *, user: str = "root", env: str = "", name: str = "root"
) -> tuple[Path, Path]:
    """Make a root with busybox alone, and the start script of a target for it."""
    root = folder / name
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    root.joinpath("bin/sh").symlink_to("busybox")
    words = ", ".join(f"'''{word}'''" for word in argv)
    quoted = str(root).replace("\\", "\\\\").replace('"', '\\"')
    text = (
        f'root = "{quoted}"\nsysroot = "{make_sysroot(folder / "sysroot")}"\nos = "linux"\n'
        f'[accounts]\nextra = ["ct:x:4242:4243::/:/bin/sh"]\nextra_groups = ["ctx:x:777:ct"]\n'
        f'[host.wrapper]\n"/usr/sbin/x" = [{words}]\n'
        f'[check.service]\nstart = ["/bin/sh"]\nuser = "{user}"\n{env}'
    )
    script = folder / "x"
    script.write_text(snippets(folder, text, "wrapper")[0].content)
    script.chmod(0o755)
    return script, root


def run(script: Path, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/bin", "SECRET": "x", "LD_PRELOAD": "/nonexistent.so"} if env is None else env
    return subprocess.run(
        [str(script), *args], capture_output=True, text=True, env=env, cwd="/usr", timeout=30, umask=0o077
    )


@pytest.mark.parametrize(
    ("user", "ids", "groups"),
    [
        ("root", "uid=0 gid=0", None),
        ("ct", "uid=4242 gid=4243", {4243}),
        ("nobody", "uid=65534 gid=65534", {65534}),
        ("ct:99", "uid=4242 gid=99", {99}),
    ],
)
def test_inside_is_the_services_user_with_its_group_alone(
    public: Path, user: str, ids: str, groups: set[int] | None
) -> None:
    script, _ = script_for(public, ["/bin/sh", "-c", "exec /bin/busybox id"], user=user)
    done = run(script)
    assert done.stdout.startswith(ids), done.stderr
    if groups is not None:
        script.write_text(script.read_text().replace("busybox id", "busybox id -G"))
        assert set(map(int, run(script).stdout.split())) == groups


def test_inside_is_a_clean_environment_the_root_as_the_folder_and_a_umask(public: Path) -> None:
    env = 'env = { LANG = "C.UTF-8", A = "it\'s $x" }\n'
    report = "/bin/busybox pwd; umask; exec /bin/busybox env"
    script, _ = script_for(public, ["/bin/sh", "-c", report], env=env)
    first, mask, *variables = run(script, env={"PATH": "/bin", "SECRET": "x"}).stdout.splitlines()
    assert (first, mask) == ("/", "0022")
    # PWD and the like are the inner shell's own
    assert {line for line in variables if line.split("=")[0] not in ("PWD", "SHLVL", "OLDPWD", "_")} == {
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        "A=it's $x",
    }


def test_a_path_of_the_services_own_does_not_hide_chroot(public: Path) -> None:
    script, _ = script_for(
        public, ["/bin/sh", "-c", 'printf %s "$PATH"'], env='env = { PATH = "/app/bin" }\n'
    )
    assert run(script).stdout == "/app/bin"


def test_every_word_and_every_argument_arrives_as_it_is(public: Path) -> None:
    words = ["a b", "it's", '"q"', "$HOME", "`id`", "\\", "*", "", "-n", "#", "%s"]
    script, _ = script_for(
        public,
        ["/bin/busybox", "printf", "[%s]", *(word for word in words if "'" not in word)],
        name=ODD,
    )
    done = run(script, "x y", "$z", "")
    expected = [*(word for word in words if "'" not in word), "x y", "$z", ""]
    assert done.stdout == "".join(f"[{word}]" for word in expected), done.stderr


def test_a_root_that_was_not_built_is_refused(public: Path) -> None:
    script, root = script_for(public, ["/bin/sh", "-c", "echo inside"])
    assert run(script).stdout == "inside\n"
    shutil.rmtree(root)
    done = run(script)
    assert (done.returncode, done.stdout) == (127, "")
    assert "was not built\nhint: chrootbuild -C " in done.stderr
    (root / "dev").mkdir(parents=True)  # as a syslog daemon leaves it
    assert run(script).returncode == 127


def test_a_program_below_a_link_that_holds_only_inside_is_started(public: Path) -> None:
    script, root = script_for(public, ["/usr/bin/sh", "-c", "echo inside"])
    root.joinpath("only-inside").symlink_to("/")
    root.joinpath("usr").symlink_to("/only-inside")
    assert run(script).stdout == "inside\n"


def test_the_exit_code_and_the_signal_are_the_programs(public: Path) -> None:
    script, _ = script_for(public, ["/bin/sh", "-c"])
    assert run(script, "exit 7").returncode == 7
    assert run(script, "kill -TERM $$").returncode == -15


def test_nothing_of_the_root_is_run_or_changed_on_the_host(public: Path) -> None:
    script, root = script_for(public, ["/bin/sh", "-c", "echo $0"], user="ct")
    before = tree(root)
    for name in ("env", "chroot"):  # planted where a PATH of the root would find them
        root.joinpath("bin", name).write_text("#!/bin/sh\necho planted\n")
        root.joinpath("bin", name).chmod(0o755)
    assert run(script, env={"PATH": f"{root}/bin:/bin"}).stdout == "/bin/sh\n"
    assert {path for path in tree(root) if path not in before} == {"/bin/env", "/bin/chroot"}


@pytest.mark.strace
@pytest.mark.parametrize("user", ["ct", "nobody", "4242:99"])
def test_no_name_is_looked_up_on_the_way(public: Path, user: str) -> None:
    script, _ = script_for(public, ["/bin/busybox", "true"], user=user)
    trace = public / "trace"
    subprocess.run(
        ["strace", "-f", "-e", "trace=%file", "-o", trace, script], check=True, env={"PATH": "/bin"}
    )
    text = trace.read_text()
    assert f'chroot("{public}/root")' in text
    assert not [
        line for line in text.splitlines() if "passwd" in line or '/etc/group"' in line or "nss" in line
    ]


def test_standard_input_and_output_are_handed_on(public: Path) -> None:
    script, _ = script_for(public, ["/bin/busybox", "cat"])
    done = subprocess.run([str(script)], input=b"\0 any bytes \xff", capture_output=True, check=True)
    assert done.stdout == b"\0 any bytes \xff"
