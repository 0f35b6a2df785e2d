"""The record and the lock, without privilege."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from chrootbuild.errors import Failure, TryAgain
from chrootbuild.paths import safe
from chrootbuild.state.lock import locked
from chrootbuild.state.project import Project
from chrootbuild.state.record import Installed, Record, in_pieces, read_record, write_record
from chrootbuild.system.files import BROKEN, STATE_LIMIT, StateFile, write_atomically
from chrootbuild.system.rights.provenance import make_folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(str(tmp_path), str(tmp_path / "state"), str(tmp_path / "build"))


FILE = Installed("file", 0o644, 1, 2, "0" * 64, "", -5, "00ff", "/etc/x", (1, 2, 3, 4), (5, 6, 7, 8))
RECORD = Record(
    "/srv/x", {"/etc/x": FILE, "/\udcff\n": Installed("link", 0, 0, 0, "\udcfe")}, ("/var/lib/x",), 1, 77
)


def test_what_is_written_is_read(project: Project) -> None:
    write_record(project, "t", RECORD)
    assert read_record(project, "t", "/srv/x") == RECORD


def test_a_record_of_another_root_is_none(project: Project) -> None:
    write_record(project, "t", RECORD)
    assert read_record(project, "t", "/srv/y") is None


def test_every_cut_of_a_record_is_none_or_whole(project: Project) -> None:
    write_record(project, "t", RECORD)
    file = Path(project.state, "t.record")
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert read_record(project, "t", "/srv/x") is None


@pytest.mark.parametrize("index", range(17))
@pytest.mark.parametrize("value", [None, [], {}, "x", -1, 1 << 64, 1.5, True])
def test_every_field_of_an_entry_is_checked(project: Project, index: int, value: object) -> None:
    data = json.loads(b"".join(in_pieces(RECORD)))
    data["artifacts"]["/etc/x"][index] = value
    write_atomically(f"{project.state}/t.record", json.dumps(data).encode())
    record = read_record(project, "t", "/srv/x")
    if record is not None:
        entry = record.artifacts["/etc/x"]
        assert [type(getattr(entry, name)) for name in ("kind", "mode", "detail", "path")] == [
            str,
            int,
            str,
            str,
        ]
        assert all(0 <= number < 1 << 64 for number in (*entry.source, *entry.root))


@pytest.mark.parametrize("path", ["/a", "/a/b c", "/...", "/a\n", "/\udcff"])
def test_safe(path: str) -> None:
    assert safe(path)


@pytest.mark.parametrize(
    "path", ["", "/", "a", "//a", "/a/", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "/a\0"]
)
def test_unsafe(path: str) -> None:
    assert not safe(path)


def test_a_write_that_fails_leaves_the_old_file(project: Project, tmp_path: Path) -> None:
    write_record(project, "t", RECORD)
    before = Path(project.state, "t.record").read_bytes()
    limited = os.fork()
    if limited == 0:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
        code = 1
        try:
            write_record(project, "t", RECORD)
        except Failure:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(limited, 0)[1] == 0
    assert Path(project.state, "t.record").read_bytes() == before
    assert os.listdir(tmp_path / "state") == ["t.record"]


def test_a_second_build_hears_who_is_at_work(project: Project) -> None:
    with (
        locked(project, "t"),
        pytest.raises(TryAgain, match=f"process {os.getpid()} ") as raised,
        locked(project, "t"),
    ):
        pass
    assert raised.value.code == 75
    with locked(project, "t"), locked(project, "other"):
        pass


def test_a_lock_names_nobody_after_an_exception(project: Project) -> None:
    with contextlib.suppress(ZeroDivisionError), locked(project, "t"):
        assert Path(project.state, "t.lock").read_text() == f"{os.getpid()}\n"
        raise ZeroDivisionError
    assert Path(project.state, "t.lock").read_text() == ""


def test_what_killed_builds_left_is_swept_and_the_rest_is_not(project: Project) -> None:
    make_folder(project.state)
    dead, alive = "4194304", str(os.getpid())  # the first is above pid_max: proc_sys_kernel(5)
    names = {f"t.record.{dead}.new", f"t.record.{alive}.new", f"u.record.{dead}.new", "t.record", "new"}
    for name in names:
        Path(project.state, name).write_text("")
    with locked(project, "t"):
        assert set(os.listdir(project.state)) == names - {f"t.record.{dead}.new"} | {"t.lock"}


def test_a_state_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = StateFile(f"{tmp_path}/state/x.pending")
    with pytest.raises(FileNotFoundError):
        file.read()
    value = {"before": {"/\udcff\n": None, "/a": [1, "x"]}}
    file.write(value)
    assert file.read() == value
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    file.remove()
    file.remove()
    assert os.listdir(tmp_path / "state") == []


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "huge", "bytes", "deep"])
def test_what_is_no_state_file_is_broken_and_stops_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    match kind:
        case "link":
            (tmp_path / "target").write_text("{}")
            path.symlink_to("target")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "huge":
            path.touch()
            os.truncate(path, STATE_LIMIT + 1)
        case "bytes":
            path.write_bytes(b"\xff")
        case "deep":
            path.write_text("[" * 100_000)
    with pytest.raises(BROKEN):
        StateFile(str(path)).read()
