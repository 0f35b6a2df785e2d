from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.sandbox.child import MARK, Report, start_failure
from chrootbuild.sandbox.namespaces import canonical
from chrootbuild.sandbox.output import cut_trace, new_pump
from chrootbuild.sandbox.privileges import _range
from chrootbuild.sandbox.view.copy_tree import copy_tree
from chrootbuild.system import sockets
from tests.support.trees import tree


def test_a_trace_is_cut_to_the_program() -> None:
    before = [
        b'4     execve("/usr/bin/python3", ["python3"], 0x1 /* 1 var */) = 0\n',
        b"4     clone(child_stack=NULL, flags=SIGCHLD) = 2 /* 10 in strace's PID NS */\n",
        b"10    setgroups(0, [])                  = 0\n",
        b'10    access("%s", F_OK <unfinished ...>\n' % MARK.encode(),
    ]
    after = [
        b"4     exit_group(0 <unfinished ...>\n",
        b"10    <... access resumed>)             = -1 ENOENT (No such file or directory)\n",
        b'10    execve("/bin/does", ["does"], 0x1 /* 1 var */ <unfinished ...>\n',
        b"4     <... exit_group resumed>)         = ?\n",
        b"10    <... execve resumed>)             = 0\n",
        b"10    vfork( <unfinished ...>\n",
        b'11    chdir("/")                        = 0\n',
        b"10    <... vfork resumed>)              = 3 /* 11 in strace's PID NS */\n",
        b"4     +++ exited with 0 +++\n",
        b"11    +++ exited with 0 +++\n",
    ]
    kept = [
        after[2],
        after[4],
        after[5],
        after[6],
        b"10    <... vfork resumed>)              = 11\n",
        after[9],
    ]
    assert list(cut_trace([*before, *after])) == kept


def test_a_trace_without_the_mark_is_empty() -> None:
    assert list(cut_trace([b'4     execve("/usr/bin/python3", ["python3"], 0x1) = 0\n'])) == []


@pytest.mark.parametrize(
    ("report", "message", "hint"),
    [
        (Report(7, "run x", 2, False), "cannot run x: it is not in the root", ""),
        (Report(7, "run /x", 2, True), "cannot run /x: its interpreter (the loader", ""),
        (Report(7, "run /x", 13, True), "cannot run /x: Permission denied", ""),
        (
            Report(7, "switch to 1:2", 22, switching=True),
            "cannot switch to 1:2: Invalid argument",
            "run as root, or give",
        ),
    ],
)
def test_why_a_program_did_not_start(report: Report, message: str, hint: str) -> None:
    failure = start_failure(report, privileged=False)
    assert failure.message.startswith(message)
    assert failure.hint.startswith(hint)


def test_the_parents_of_a_root_are_resolved_and_itself_is_not(tmp_path: Path) -> None:
    (tmp_path / "real/root").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/other").symlink_to("root")
    assert canonical(f"{tmp_path}/link/root/") == f"{tmp_path}/real/root"
    assert canonical(f"{tmp_path}/link/other") == f"{tmp_path}/real/other"
    assert canonical("/") == "/"
    with pytest.raises(Failure, match="to 'x': it is not an absolute path"):
        canonical("x")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ours:100000:65536\n", ("100000", "65536")),
        ("other:1:2\n# a comment\n\nours:5:6\n", ("5", "6")),
        ("0:7:8\n", ("7", "8")),
        ("other:1:2\n", None),
        ("ours:1\n", None),
        ("ours\n", None),
    ],
)
def test_ranges_of_ids(tmp_path: Path, text: str, found: tuple[str, str] | None) -> None:
    (tmp_path / "subuid").write_text(text.replace("ours", pwd.getpwuid(0).pw_name))
    assert _range(str(tmp_path / "subuid"), 0) == found


def test_no_range_without_a_file(tmp_path: Path) -> None:
    assert _range(str(tmp_path / "absent"), 0) is None


def test_a_pump_leaves_out_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chrootbuild.sandbox.output._TAIL", 4)
    pump, end = new_pump(str(tmp_path / "out"))
    pump.room = 4
    for text in (b"abc", b"def", b"ghi", b"jkl"):
        os.write(end, text)
        assert pump.pass_on()
    os.close(end)
    assert not pump.pass_on()
    pump.close()
    assert (tmp_path / "out").read_bytes() == b"abcd\n[4 bytes left out]\nijkl"


def test_a_copy_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a").write_bytes(bytes(1000))
    (tmp_path / "to").mkdir()
    source = os.open(tmp_path / "from", os.O_PATH)
    try:
        with pytest.raises(OSError, match="File too large"):
            copy_tree(source, str(tmp_path / "to"), limit=999)
    finally:
        os.close(source)


def test_a_copy_takes_holes_links_and_times_and_follows_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "from", tmp_path / "to"
    (old / "deep").mkdir(parents=True)
    new.mkdir()
    (tmp_path / "victim").write_text("outside")
    (old / "link").symlink_to(tmp_path / "victim")
    (old / "deep/a").write_text("a")
    os.link(old / "deep/a", old / "b")
    with open(old / "hole", "wb") as file:
        file.truncate(50 << 20)
        file.seek(20 << 20)
        file.write(b"middle")
    os.utime(old / "hole", (1, 2))
    os.chmod(old / "deep", 0o2711)
    os.mkfifo(old / "fifo", 0o640)
    source = os.open(old, os.O_PATH)
    copy_tree(source, str(new), limit=2 << 20)
    os.close(source)
    assert tree(new) == tree(old)
    assert os.stat(new / "deep/a").st_ino == os.stat(new / "b").st_ino
    assert os.stat(new / "hole").st_blocks < 2048
    assert os.stat(new / "hole").st_mtime == 2


def test_a_network_in_use_is_never_touched() -> None:
    with pytest.raises(OSError, match="not a new one"):
        sockets.loopback_up()
