"""A hostile state folder: record, journal, lock and stamp that somebody else wrote, or that are no files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chrootbuild.errors import Failure, TryAgain
from chrootbuild.state.lock import locked
from tests.support.sandbox import SMALLER, Sandbox, make_sandbox, state_of
from tests.support.trees import tree

pytestmark = pytest.mark.root

ENTRY = ["file", 0o644, 0, 0, "0" * 64, "", 0, "", "", 0, 0, 0, 0, 0, 0, 0, 0]


def _replaced(make: Callable[[Sandbox, Path], object]) -> Callable[[Sandbox, Path], object]:
    def attack(box: Sandbox, path: Path) -> object:
        path.unlink(missing_ok=True)
        return make(box, path)

    return attack


FORMS: dict[str, Callable[[Sandbox, Path], object]] = {
    "link": _replaced(lambda box, path: path.symlink_to(box.victim / "file")),
    "dangling-link": _replaced(lambda box, path: path.symlink_to(box.victim / "nothing")),
    "hard-link": _replaced(lambda box, path: os.link(box.victim / "file", path)),
    "fifo": _replaced(lambda _, path: os.mkfifo(path)),
    "empty": lambda _, path: path.write_text(""),
    "noise": lambda _, path: path.write_bytes(bytes(range(256)) * 10),
    "deep": lambda _, path: path.write_text("[" * 100_000),
    "list": lambda _, path: path.write_text("[]"),
    "number": lambda _, path: path.write_text("9" * 10_000),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["t.record", "t.journal", "t.stamp", "t.plan", "t.memo"])
def test_what_is_no_state_file_costs_time_alone(tmp_path: Path, name: str, form: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    FORMS[form](box, box.state / name)
    before = state_of(box.victim)
    box.edit("2")
    try:
        box.build()
    except Failure:
        assert form in ("fifo", "link", "dangling-link", "hard-link")
    else:
        assert (box.root / "etc/app/a.conf").read_text() == "a.conf 2\n"
    box.verify()
    assert state_of(box.victim) == before


RECORDS: dict[str, Any] = {
    "dots": {"/../../victim/file": ENTRY},
    "relative": {"victim/file": ENTRY},
    "empty": {"": ENTRY},
    "root": {"/": ENTRY},
    "nul": {"/a\0b": ENTRY},
    "surrogate": {"/\ud800": ENTRY},
    "very-long": {"/" + "x" * 300: ENTRY, "/y" * 3000: ENTRY},
    "bad-kind": {"/x": ["tree", *ENTRY[1:]]},
    "bad-numbers": {"/x": [*ENTRY[:9], -1, 1 << 70, 0, 0, 0, 0, 0, 0]},
    "bad-hex": {"/etc/passwd": [*ENTRY[:7], "no hex", *ENTRY[8:]]},
    "short": {"/x": []},
    "no-map": [],
    "null": None,
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_hostile_record(tmp_path: Path, name: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    record = json.loads((box.state / "t.record").read_text())
    (box.state / "t.record").write_text(json.dumps({**record, "artifacts": RECORDS[name]}))
    before = state_of(box.victim)
    box.plan()
    box.verify()
    box.edit("2")
    box.build()
    assert state_of(box.victim) == before
    assert (box.root / "etc/app/a.conf").read_text() == "a.conf 2\n"
    assert box.build() == 0


def test_a_record_that_claims_what_is_not_ours(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    (box.root / "var/app/data").write_text("the daemon's")
    (box.root / "var/app/sub").mkdir()
    (box.root / "var/app/sub/x").write_text("the daemon's")
    record = json.loads((box.state / "t.record").read_text())
    record["artifacts"]["/var/app/data"] = ENTRY
    record["artifacts"]["/var/app/sub"] = ["directory", 0o755, *ENTRY[2:]]
    (box.state / "t.record").write_text(json.dumps(record))
    box.build()
    box.write_target(SMALLER)
    box.build()
    box.clean()
    assert (box.root / "var/app/data").exists()
    assert (box.root / "var/app/sub/x").exists()


OPERATIONS: dict[str, list[Any]] = {
    "name-dots": ["exchange", "/etc/app", "..", 0, 0, 0o755, 0, 0, []],
    "name-slash": ["put", "/etc/app/a.conf", "../../../victim/file", 0, 0, 0o644, 0, 0, []],
    "path-dots": ["unlink", "/../../victim/file", "", 0, 0, 0, 0, 0, []],
    "path-relative": ["rmdir", "victim/dir", "", 0, 0, 0, 0, 0, []],
    "mode": ["directory", "/etc", "0" * 24, 0, 0, 1 << 40, 0, 0, []],
    "owner": ["directory", "/etc", "0" * 24, 0, 0, 0o755, -1, 1 << 40, []],
    "kind": ["run", "/etc", "", 0, 0, 0, 0, 0, []],
    "ours": ["exchange", "/etc/app", "0" * 24, 0, 0, 0o755, 0, 0, [None]],
    "unlink-another": ["unlink", "/etc/passwd", "", 1, 1, 0, 0, 0, []],
    "rmdir-another": ["rmdir", "/var/app", "", 1, 1, 0, 0, 0, []],
    "short": ["put"],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_hostile_journal(tmp_path: Path, name: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    record = json.loads((box.state / "t.record").read_text())
    (box.state / "t.journal").write_text(json.dumps({"operations": [OPERATIONS[name]], "record": record}))
    outside, inside = state_of(box.victim), tree(box.root)
    os.chmod(box.root / "etc", 0o755)
    assert box.build() == 0
    assert state_of(box.victim) == outside
    assert tree(box.root) == inside
    assert not (box.state / "t.journal").exists()


def test_a_journal_of_another_root_is_not_carried_out(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    info = (box.root / "etc/passwd").lstat()
    step = ["unlink", "/etc/passwd", "", info.st_ino, info.st_ctime_ns, 0, 0, 0, []]
    record = {**json.loads((box.state / "t.record").read_text()), "inode": 1}
    (box.state / "t.journal").write_text(json.dumps({"operations": [step], "record": record}))
    box.build()
    assert (box.root / "etc/passwd").exists()


@pytest.mark.parametrize("form", ["link", "fifo"])
def test_a_lock_that_is_no_file(tmp_path: Path, form: str) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    FORMS[form](box, box.state / "t.lock")
    before = state_of(box.victim)
    with pytest.raises(Failure, match="cannot lock"):
        box.build()
    assert state_of(box.victim) == before


def test_a_lock_that_is_another_file_keeps_its_content(tmp_path: Path) -> None:
    """A hard link: opened it is a regular file of root's."""
    box = make_sandbox(tmp_path)
    box.build()
    (box.state / "t.lock").unlink()
    os.link(box.victim / "file", box.state / "t.lock")
    before = state_of(box.victim)
    with pytest.raises(Failure, match=r"cannot lock .*: it has another name, too"):
        box.build()
    assert state_of(box.victim) == before


@pytest.mark.root
def test_a_lock_of_somebody_else_keeps_its_content(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    (box.state / "t.lock").write_text("1\n")
    os.chown(box.state / "t.lock", 65534, 65534)
    with pytest.raises(Failure, match=r"cannot lock .*: it belongs to uid 65534"):
        box.build()
    assert (box.state / "t.lock").read_text() == "1\n"


def test_the_holder_of_a_lock_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    with locked(box.project, "t"):
        (box.state / "t.lock").write_bytes(b"\x1b[2J1\n" + b"9" * 100)
        with pytest.raises(TryAgain) as raised:
            box.build()
    assert "\x1b" not in str(raised.value)
    assert raised.value.code == 75


def test_a_lock_that_was_removed_protects_nobody(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    with locked(box.project, "t"):
        (box.state / "t.lock").unlink()
        with locked(box.project, "t"), pytest.raises(TryAgain):
            box.build()


def test_state_that_others_can_write_is_refused(tmp_path: Path) -> None:
    box = make_sandbox(tmp_path)
    box.build()
    box.state.chmod(0o777)
    for call in (box.build, box.clean):
        with pytest.raises(Failure, match="cannot trust"):
            call()
