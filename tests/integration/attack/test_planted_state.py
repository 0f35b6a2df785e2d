"""State that another user wrote: in a project that became root's, in a folder that he may write, in root's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.hostside.installer import uninstall
from chrootbuild.hostside.snippet import Owner
from chrootbuild.plan.cache import cached_plan
from chrootbuild.state.record import read_record
from chrootbuild.state.stamp import look
from tests.support.sandbox import SMALLER, Sandbox, make_sandbox, state_of

pytestmark = pytest.mark.root

USER = 4242


@pytest.fixture(autouse=True)
def _nobody_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)


def project_of_a_user(top: Path) -> Sandbox:
    """Make a project with the state of a build in it, and give all of it to a user."""
    box = make_sandbox(top)
    box.build()
    shutil.rmtree(box.top / "p/build")
    owned_by(box.top / "p", USER)
    return box


def owned_by(top: Path, uid: int, gid: int = -1) -> None:
    subprocess.run(["chown", "-R", f"{uid}:{uid if gid < 0 else gid}", top], check=True)


def plant_plan(box: Sandbox) -> None:
    """Write what a user can: a plan that claims to be of root's, with another root and other sources."""
    path = box.state / "t.plan"
    data = json.loads(path.read_text())
    (box.victim / "cron.d").mkdir(exist_ok=True)
    data["target"][1] = str(box.victim / "cron.d")
    row = ["file", 0o644, 0, 0, str(box.victim / "file"), [], "", "", None, [], False, "", False, False]
    evil = b"* * * * * root /bin/evil\n".decode("latin-1")
    data["artifacts"] = [
        ["/evil", "text", 0o4755, 0, 0, "", [], "", evil, None, [], False, "", False, False],
        ["/shadow", *row],
    ]
    data |= {"read": {}, "absent": [], "seen": {}, "owners": {}, "listed": {}, "missing": {}}
    data |= {"inputs": [], "sources": {}}
    path.unlink()
    path.write_text(json.dumps(data))
    path.chmod(0o600)


def hand_over_one_by_one(box: Sandbox) -> None:
    for path in ("p", "p/targets", "p/targets/t.toml", "p/.chrootbuild"):
        os.chown(box.top / path, 0, 0)


def hand_over_recursively(box: Sandbox) -> None:
    owned_by(box.top / "p", 0)


def hand_over_with_its_group(box: Sandbox) -> None:
    owned_by(box.top / "p", 0, USER)


def as_the_hints_say(box: Sandbox) -> None:
    """Do what each error says, until there is none."""
    for _ in range(20):
        hint = next(
            (
                line.removeprefix("hint: ")
                for line in box.run("build").stderr.splitlines()
                if line.startswith("hint: ")
            ),
            "",
        )
        if not hint:
            return
        subprocess.run(hint.rpartition(": ")[2], shell=True, check=True)
    raise AssertionError("the hints have no end")


HAND_OVERS: dict[str, Callable[[Sandbox], None]] = {
    "one-by-one": hand_over_one_by_one,
    "recursively": hand_over_recursively,
    "with-its-group": hand_over_with_its_group,
    "as-the-hints-say": as_the_hints_say,
}


@pytest.mark.parametrize("way", HAND_OVERS)
def test_a_plan_planted_before_the_project_became_roots(tmp_path: Path, way: str) -> None:
    box = project_of_a_user(tmp_path)
    plant_plan(box)
    os.chown(box.state / "t.plan", USER, USER)
    before = state_of(box.victim)
    HAND_OVERS[way](box)
    done = box.run("build")
    assert done.returncode == 0, done.stderr
    assert state_of(box.victim) == before
    assert (box.root / "etc/app/a.conf").read_text() == "etc/app/a.conf 1\n"
    assert not (box.root / "evil").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("way", HAND_OVERS)
def test_a_stamp_that_says_nothing_is_stale(tmp_path: Path, way: str) -> None:
    box = project_of_a_user(tmp_path)
    place = os.path.dirname(os.path.abspath(look.__code__.co_filename))
    head = b"\0".join([b"chrootbuild stamp 1", os.fsencode(box.root), b"1:0", os.fsencode(place), b""])
    (box.state / "t.stamp").write_bytes(f"{len(head):016x}".encode() + head)
    (box.state / "t.stamp").chmod(0o600)
    owned_by(box.state, USER)
    HAND_OVERS[way](box)
    assert box.run("build").returncode == 0
    assert (box.root / "etc/passwd").exists()


def test_a_record_that_vouches_for_what_its_writer_put_there(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    trojan = box.root / "etc/passwd"
    text = (box.state / "t.record").read_text()
    record = json.loads(text)
    trojan.write_text("evil::0:0::/:/bin/sh\n")
    os.utime(trojan, ns=(0, record["artifacts"]["/etc/passwd"][6]))
    digest = subprocess.run(["sha256sum", trojan], capture_output=True, text=True, check=True).stdout
    record["artifacts"]["/etc/passwd"][4] = digest.split()[0]
    (box.state / "t.record").write_text(json.dumps(record))
    owned_by(box.state, USER)
    hand_over_recursively(box)
    done = box.run("build")
    assert "evil" not in trojan.read_text()
    assert f"warning: {box.state} was not made by root" in done.stderr
    assert box.run("build").stderr == ""


def test_a_journal_of_the_former_owner_is_not_carried_out(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    info = (box.root / "etc/passwd").lstat()
    step = ["unlink", "/etc/passwd", "", info.st_ino, info.st_ctime_ns, 0, 0, 0, []]
    record = json.loads((box.state / "t.record").read_text())
    (box.state / "t.journal").write_text(json.dumps({"operations": [step], "record": record}))
    owned_by(box.state, USER)
    owned_by(box.state, 0)
    inode = info.st_ino
    box.build()
    assert (box.root / "etc/passwd").lstat().st_ino == inode


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o1775])
def test_a_state_folder_that_others_may_write(tmp_path: Path, mode: int) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    plant_plan(box)
    os.chown(box.state / "t.plan", USER, USER)
    os.chown(box.state, 0, USER)
    box.state.chmod(mode)
    before = state_of(box.victim)
    for verb in ("build", "clean"):
        done = box.run(verb, "t")
        assert done.returncode in (1, 3), done.stdout
        assert f"cannot trust {box.state}: it can be written by" in done.stderr
        assert f"rm -r {box.state}" in done.stderr
    assert state_of(box.victim) == before
    assert box.run("verify").returncode == 1


@pytest.mark.parametrize("way", ["owner", "group-may-write", "others-may-write"])
def test_each_file_in_roots_own_folder_is_judged_by_its_descriptor(tmp_path: Path, way: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    project = box.project

    def spoil(name: str) -> None:
        path = box.state / name
        if way == "owner":
            os.chown(path, USER, USER)
        else:
            path.chmod(0o620 if way == "group-may-write" else 0o602)

    for name in ("t.plan", "t.stamp"):
        if (box.state / name).exists():
            spoil(name)
    assert look(project.state, "t") is None
    assert cached_plan(project, "t") is None
    box.build()
    spoil("t.record")
    for call in (lambda: read_record(project, "t", str(box.root)), box.build, box.clean):
        with pytest.raises(Failure, match=r"^cannot trust .*/t\.record: ") as caught:
            call()
        assert f"rm {box.state}/t.record" in caught.value.hint
    assert box.run("plan").returncode == 1
    os.unlink(box.state / "t.record")
    (box.state / "t.journal").write_text("{}")
    spoil("t.journal")
    with pytest.raises(Failure, match=r"^cannot trust .*/t\.journal: "):
        box.build()
    os.unlink(box.state / "t.journal")
    box.build()
    spoil("t.lock")
    with pytest.raises(Failure, match=r"^cannot lock .*/t\.lock: "):
        box.build()


def test_under_sudo_the_callers_own_state_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    owned_by(box.top / "p/.chrootbuild", USER)
    owned_by(box.top / "p/targets", USER)
    with pytest.raises(Failure, match="cannot trust"):
        box.build()
    monkeypatch.setenv("SUDO_UID", str(USER))
    before = (box.state / "t.record").read_bytes()
    assert box.build() == 0
    assert json.loads((box.state / "t.record").read_bytes())["seeds"] == json.loads(before)["seeds"]


def test_a_memory_of_installed_links_that_the_former_owner_wrote(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    host = tmp_path / "host"
    host.mkdir()
    (host / "bin").symlink_to("usr/bin")
    memory = box.state / "installed/host.t.links.json"
    memory.parent.mkdir(parents=True)
    entry = {"path": "/bin", "form": "link", "comment": "#", "texts": ["usr/bin"], "created": False}
    memory.write_text(json.dumps([entry]))
    memory.chmod(0o644)
    uninstall(box.project, (), Owner("host t links", f"{box.project.targets}/t.toml"), str(host))
    assert (host / "bin").is_symlink()


def test_what_root_made_is_believed(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    assert box.state.stat().st_gid == 65535
    box.write_target(SMALLER)
    done = box.run("build")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (box.root / "etc/app").exists()
