"""The commands plan and why, on a root that is built, changed and in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.trees import tree
from tests.support.workshop import Workshop, bring_host_programs, library, program

pytestmark = [pytest.mark.root]


def make(folder: Path) -> Workshop:
    """A target of programs and data, with a secret in a tree and a seed."""
    top = write(
        folder / "sysroot",
        {
            "/bin": "-> usr/bin",
            "/usr/bin/sh": "-> dash",
            "/usr/bin/dash": "a shell",
            "/etc/app/conf": "1",
            "/etc/app/host.key": "secret",
            "/var/lib/app/state": "x",
        },
    )
    (top / "usr/bin/dash").chmod(0o755)
    text = f"""
    sysroot = "{top}"
    os = "linux"
    binaries = ["/bin/sh"]
    files = ["/etc/app/"]
    seed = ["/var/lib/app/"]
    devices = ["null"]
    [text]
    "/etc/hosts" = "localhost"
    """
    made = Workshop(folder / "project", top)
    made.write_targets({"x.toml": text})
    return made


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return make(tmp_path)


def test_json_is_as_the_contract_says(shop: Workshop) -> None:
    made = shop.plan()
    assert set(made) == {"target", "root", "artifacts", "skipped"}
    assert (made["target"], made["root"]) == ("x", str(shop.root))
    entries = {entry["path"]: entry for entry in made["artifacts"]}
    assert list(entries) == sorted(entries)
    assert entries["/usr/bin/dash"] == {
        "path": "/usr/bin/dash",
        "kind": "file",
        "action": "install",
        "reason": "absent in the root",
        "mode": "0755",
        "owner": "0:0",
        "sources": [f"{shop.top}/usr/bin/dash"],
        "why": [["binaries: /bin/sh"]],
    }
    assert entries["/usr/bin/sh"]["mode"] is None
    assert entries["/usr/bin/sh"]["kind"] == "link"
    assert entries["/usr"] == {
        "path": "/usr",
        "kind": "directory",
        "action": "install",
        "reason": "absent in the root",
        "mode": "0755",
        "owner": "0:0",
        "sources": [],
        "why": [["binaries: /bin/sh", "/usr/bin/dash  lies in it", "/usr/bin  lies in it"]],
    }
    assert entries["/dev/null"]["kind"] == "node"
    assert entries["/dev/null"]["mode"] == "0666"
    assert entries["/etc/hosts"]["kind"] == "text"
    assert entries["/etc/hosts"]["sources"] == [f"{shop.folder}/targets/x.toml"]
    seed = entries["/var/lib/app"]
    assert (seed["kind"], seed["action"], seed["why"]) == ("seed", "install", [["seed: /var/lib/app/"]])
    assert [item["path"] for item in made["skipped"]] == ["/etc/app/host.key"]


def test_after_a_build_everything_is_kept_and_an_orphan_is_told(shop: Workshop) -> None:
    shop.build()
    assert {entry["action"] for entry in shop.plan()["artifacts"]} == {"keep"}
    (shop.top / "etc/app/conf").unlink()
    (gone,) = [entry for entry in shop.plan()["artifacts"] if entry["action"] == "remove"]
    assert gone == {
        "path": "/etc/app/conf",
        "kind": "file",
        "action": "remove",
        "reason": "nothing needs it any more",
        "mode": "0644",
        "owner": "0:0",
        "sources": [],
        "why": [],
    }


def test_several_targets_are_one_object_a_line(shop: Workshop) -> None:
    shop.write_targets({"y.toml": f'sysroot = "{shop.top}"\nfiles = ["/etc/app/conf"]'})
    lines = shop.run("plan", "--json").splitlines()
    assert [json.loads(line)["target"] for line in lines] == ["x", "y"]


def test_plan_changes_nothing(shop: Workshop) -> None:
    shop.run("plan", "x")
    assert not shop.root.exists()
    shop.build()
    before = tree(shop.folder)
    (shop.top / "etc/app/conf").write_text("2")
    shop.run("plan", "x")
    shop.run("why", "x", "/etc/app/conf")
    assert tree(shop.folder) == before


def test_text_says_what_is_skipped_and_how_much_is_to_change(shop: Workshop) -> None:
    lines = shop.run("plan", "x").splitlines()
    assert lines[0] == f"x  {shop.root}"
    assert ["install", "/usr/bin/dash", "absent", "in", "the", "root"] in [line.split() for line in lines]
    assert "  skipped  /etc/app/host.key  a secret by its name; name it exactly in files to have it" in lines
    total = len(shop.plan()["artifacts"])
    assert lines[-1] == f"{total} of {total} to change"


def test_a_broken_target_is_told_and_stops_no_other(shop: Workshop) -> None:
    shop.write_targets(
        {"broken.toml": "x = 1\n", "absent.toml": 'sysroot = "/"\nfiles = ["/etc/absent/x"]\n'}
    )
    said = shop.run("plan", code=3)
    assert "cannot use targets/broken.toml:1: x" in said
    assert "cannot read /etc/absent/x" in said
    assert f"x  {shop.root}" in said
    assert "did you mean" not in shop.run("plan", "nothing-like-it", code=2)


# -- why ---------------------------------------------------------------------------------------


def test_why_takes_any_path_that_leads_there(shop: Workshop) -> None:
    assert shop.run("why", "x", "/usr/bin/dash") == "binaries: /bin/sh\n"
    assert shop.run("why", "x", "/bin/dash") == "/bin/dash is /usr/bin/dash\nbinaries: /bin/sh\n"
    assert shop.run("why", "x", "/bin/sh") == "/bin/sh is /usr/bin/sh\nbinaries: /bin/sh\n"
    assert shop.run("why", "x", "/bin") == "binaries: /bin/sh\n"
    assert shop.run("why", "x", "/var/lib/app/state").endswith("seed: /var/lib/app/\n")


def test_why_says_what_was_left_out_and_what_is_meant(shop: Workshop) -> None:
    said = shop.run("why", "x", "/etc/app/host.key", code=1)
    assert "it is left out\n  /etc/app/host.key  a secret by its name" in said
    assert "hint: did you mean /usr/bin/dash?" in shop.run("why", "x", "/usr/bin/dahs", code=1)


# -- programs that run -------------------------------------------------------------------------


@pytest.mark.cc
def test_a_program_that_runs_on_what_will_go_is_named(tmp_path: Path) -> None:
    top = tmp_path / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sleep")
    library(top / "usr/lib/libq.so.1", "libq.so.1", "q")
    program(top / "usr/bin/daemon", {"q": top / "usr/lib/libq.so.1"})
    made = Workshop(tmp_path / "project", top)
    made.write_targets({"x.toml": f'sysroot = "{top}"\nbinaries = ["sleep", "daemon"]\n'})
    made.build()
    with subprocess.Popen(["chroot", str(made.root), "sleep", "60"]) as process:
        try:
            wait_for(Path(f"/proc/{process.pid}/comm"), "sleep\n")
            assert "programs run" not in made.run("plan", "x")
            library(top / "usr/lib/libq.so.1", "libq.so.1", "Q")
            assert made.run("plan", "x").splitlines()[-1].endswith(" to change")
            libc = next(path for path in made.root.rglob("libc.so.6") if not path.is_symlink())
            source = top / libc.relative_to(made.root)
            os.utime(source, (1, 1))
            said = made.run("plan", "x").splitlines()[-1]
            assert said.endswith(
                f"to change; 1 program runs on files that will go: sleep (pid {process.pid})"
            )
            made.build()
            assert process.poll() is None  # it goes on with the old inode
        finally:
            process.kill()


def wait_for(path: Path, text: str) -> None:
    """Wait until a file has this content."""
    for _ in range(1000):
        if path.read_text() == text:
            return
        time.sleep(0.01)
    raise AssertionError(path.read_text())


# -- without root ------------------------------------------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_without_root_owners_and_nodes_are_skipped_and_the_rest_is_built(public: Path) -> None:
    shop = make(public)
    os.chown(shop.top / "etc/app/conf", 7, 7)
    subprocess.run(["chown", "-R", "1234:1234", str(shop.folder)], check=True)

    def unprivileged(*words: str) -> str:
        user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [*user, sys.executable, "-m", "chrootbuild", *words],
            cwd=shop.folder,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = json.loads(unprivileged("plan", "--json", "x"))
    reasons = {item["path"]: item["reason"] for item in made["skipped"]}
    assert reasons["/dev/null"] == "a device node (char 1:3) needs root"
    assert reasons["/etc/app/conf"] == "the owner 7:7 needs root"
    unprivileged("build", "x")
    assert (shop.root / "etc/app/conf").read_text() == "1"
    assert not (shop.root / "dev/null").exists()
    assert unprivileged("build", "x") == ""
    assert unprivileged("plan", "x").splitlines()[-1].startswith("0 of ")
