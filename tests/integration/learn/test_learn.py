"""learn, with one small program in a sysroot of its own: what it adds, and what it leaves when things go wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.learn.rounds import LearnResult, learn
from chrootbuild.state.project import find_project
from tests.support.confine_lab import Leftovers, leftovers, make_root, running
from tests.support.places import REPOSITORY
from tests.support.workshop import Workshop, bring_host_programs

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.strace, pytest.mark.namespaces]

HELLO = "exec 3<>/dev/tcp/127.0.0.1/24900 && grep -q hello <&3"
MARK = f"mark-{uuid.uuid4().hex}"  # an argument of every service here, to find what is left of it
SOURCES = str(REPOSITORY)


@pytest.fixture(autouse=True)
def before() -> Iterator[Leftovers]:
    there = leftovers()
    yield there
    assert leftovers() == there
    assert running(MARK) == []


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    top = make_root(tmp_path / "sysroot", "dev", "etc", "proc", "sys", "var/lib/x", "home", "run")
    (top / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nx:x:4200:4200::/var/lib/x:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\nx:x:4200:\n")
    (top / "etc/greeting").write_text("hello\n")
    return Workshop(tmp_path / "project", top)


def service(shop: Workshop, *words: str, more: str = "", **settings: object) -> None:
    """Write target x, whose service does these words and then answers."""
    argv = ["/bin/does", "say", MARK, *words]
    about = {"ready": "tcp:127.0.0.1:24900", "probe": [HELLO], "timeout": 5.0, **settings}
    lines = [f'sysroot = "{shop.top}"', 'binaries = ["/bin/does"]', more, "[check.service]"]
    lines += [f"{key} = {_toml(value)}" for key, value in {"start": argv, **about}.items()]
    shop.write_targets({"x.toml": "\n".join(lines) + "\n"})


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)


SERVER = ("tcp", "127.0.0.1", "24900")


def learned(shop: Workshop) -> str:
    path = shop.folder / "targets/x.learned.toml"
    return path.read_text() if path.exists() else ""


def lesson(shop: Workshop) -> LearnResult:
    return learn(find_project(str(shop.folder)), "x")


def test_what_is_missing_is_added_with_its_reason_and_the_root_serves(shop: Workshop) -> None:
    service(shop, "need", "/etc/greeting", "write", "/var/lib/x/data", *SERVER)
    said = shop.run("learn", "x")
    assert said.splitlines()[0] == "x  targets/x.learned.toml: 2 added"
    assert "  add files        /etc/greeting  does opens it" in said.splitlines()
    assert said.splitlines()[-1] == "x  serves"
    assert '    "/etc/greeting",  # does opens it\n' in learned(shop)
    assert '"/var/lib/x" = {}' in learned(shop)
    assert "x  serves" in shop.run("check", "x")


def test_a_second_run_changes_nothing(shop: Workshop) -> None:
    service(shop, "need", "/etc/greeting", *SERVER)
    shop.run("learn", "x")
    path = shop.folder / "targets/x.learned.toml"
    first, inode = path.read_bytes(), path.stat().st_ino
    assert shop.run("learn", "x").splitlines() == ["x  targets/x.learned.toml: nothing changed", "x  serves"]
    assert (path.read_bytes(), path.stat().st_ino) == (first, inode)


def test_comments_of_people_stay_when_more_is_learned(shop: Workshop) -> None:
    service(shop, "need", "/etc/greeting", *SERVER)
    shop.run("learn", "x")
    path = shop.folder / "targets/x.learned.toml"
    path.write_text(path.read_text().replace("# does opens it", "# says hello"))
    (shop.top / "etc/other").write_text("")
    service(shop, "need", "/etc/greeting", "need", "/etc/other", *SERVER)
    assert "1 added" in shop.run("learn", "x")
    assert '"/etc/greeting",  # says hello\n    "/etc/other",  # does opens it\n' in learned(shop)


def test_an_entry_that_somebody_removed_stays_away_while_the_check_passes(shop: Workshop) -> None:
    service(shop, "need", "/etc/greeting", "write", "/var/lib/x/data", *SERVER)
    shop.run("learn", "x")
    (shop.folder / "targets/x.learned.toml").write_text(learned(shop).replace('"/etc/greeting",', ""))
    (shop.top / "etc/greeting").chmod(0o644)
    assert "1 added" in shop.run("learn", "x")  # needed: back again
    service(shop, "need", "/var/lib/x", *SERVER)
    (shop.folder / "targets/x.learned.toml").write_text(learned(shop).replace('"/etc/greeting",', ""))
    assert "nothing changed" in shop.run("learn", "x")
    assert "/etc/greeting" not in learned(shop)


@pytest.mark.parametrize(
    ("condition", "count"), [(":", 0), ("test $# -ge 20", 20)], ids=["unneeded", "needed"]
)
def test_what_was_only_lying_there_comes_when_nothing_else_is_missing(
    tmp_path: Path, condition: str, count: int
) -> None:
    """A program that looks through a directory from end to end may need none of it, or all."""
    shop = Workshop(tmp_path / "project", tmp_path / "system")
    for name in ("dev", "etc/mods", "proc", "sys"):
        (shop.top / name).mkdir(parents=True)
    bring_host_programs(shop.top, "/bin/sh")
    for number in range(20):
        (shop.top / f"etc/mods/m{number}").write_text("")
    code = f'set -- /etc/mods/*; for each; do test -f "$each"; done; {condition}'
    text = f'sysroot = "{shop.top}"\nbinaries = ["/bin/sh"]\n[check]\nrun = [["/bin/sh", "-c", {_toml(code)}]]\n'
    shop.write_targets({"x.toml": text})
    found = lesson(shop)
    assert not [finding for finding in found.findings if finding.severity == "error"]
    assert len([entry for entry in found.added if entry.value.startswith("/etc/mods/m")]) == count


def test_what_only_the_root_has_is_there_on_the_host_too(shop: Workshop) -> None:
    """Texts, directories with their owners, accounts and their homes: one look at the host is enough."""
    more = """
[accounts]
extra = ["ct:x:4242:4242::/home/ct:/bin/sh"]
[directories]
"/srv/ct/data" = { owner = "x", group = "x" }
[links]
"/srv/ct/link" = "/etc/greeting"
[text]
"/srv/ct/conf" = "yes"
"""
    words = ("need", "/srv/ct/conf", "need", "/srv/ct/link", "need", "/home/ct", "uid", "4200")
    service(shop, *words, "write", "/srv/ct/data/state", "need", "/etc/passwd", *SERVER, more=more)
    found = lesson(shop)
    assert not [finding for finding in found.findings if finding.severity == "error"]
    assert found.rounds == 1
    assert {(entry.key, entry.value) for entry in found.added} >= {("directories", "/home/ct")}
    assert "4242" in learned(shop)


def test_the_directories_of_a_booted_system_are_there_on_the_host_too(shop: Workshop) -> None:
    """A container or an image lacks what systemd-tmpfiles would have made: tmpfiles.d(5)."""
    (shop.top / "usr/lib/tmpfiles.d").mkdir(parents=True)
    (shop.top / "usr/lib/tmpfiles.d/x.conf").write_text("d /run/x 0750 x x -\n")
    service(shop, "write", "/run/x/pid", *SERVER)
    assert lesson(shop).rounds == 1
    assert '"/run/x" = { mode = "0750", owner = "x", group = "x" }' in learned(shop)


def test_what_the_trace_on_the_host_does_not_show_is_found_inside(shop: Workshop) -> None:
    """/proc is done without, as a rule: it is added when a check fails and nothing else is missing."""
    service(shop, "need", "/proc/self/limits", *SERVER)
    found = lesson(shop)
    assert [(entry.key, entry.value) for entry in found.added] == [("mounts", "/proc")]
    assert not [finding for finding in found.findings if finding.severity == "error"]
    assert "/proc" not in [refusal.path for refusal in found.refused]


def test_a_secret_is_refused_and_said(shop: Workshop) -> None:
    (shop.top / "etc/x.key").write_text("secret")
    (shop.top / "etc/x.key").chmod(0o600)
    service(shop, "need", "/etc/x.key", *SERVER)
    said = shop.run("learn", "x", code=1)
    assert "refuse  /etc/x.key" in said
    assert "hint: what was refused and the service needs all the same is yours to name" in said
    assert learned(shop) == ""  # nor is what was tried, and did not help


def test_the_live_service_and_its_state_are_not_touched(shop: Workshop) -> None:
    data = shop.top / "var/lib/x/data"
    data.write_text("the host's")
    service(shop, "write", "/var/lib/x/data", "need", "/etc/greeting", *SERVER)
    with socket.create_server(("127.0.0.1", 24900)) as live:
        live.settimeout(0)
        assert "x  serves" in shop.run("learn", "x")
        assert "x  serves" in shop.run("check", "x")
        with pytest.raises(BlockingIOError):
            live.accept()
    assert data.read_text() == "the host's"
    assert not (shop.root / "var/lib/x/data").exists()


# -- what goes wrong -----------------------------------------------------------------------


def test_a_daemon_that_never_becomes_ready(shop: Workshop) -> None:
    service(shop, "sleep", timeout=0.3)
    said = shop.run("learn", "x", code=1)
    assert "it is not ready after 0.3 seconds: nobody is bound to tcp:127.0.0.1:24900" in said
    assert "it fails on a copy of the host as well" in said
    assert "hint: nothing more is seen to be missing" in said


def test_a_probe_that_hangs(shop: Workshop) -> None:
    service(shop, *SERVER, probe=[f"sleep 1000; : {MARK}"], timeout=0.5)
    said = shop.run("learn", "x", code=1)
    assert "it did not end within 0.5" in said


def test_a_program_that_forks_and_dies(shop: Workshop) -> None:
    service(shop, "fork-and-die")
    said = shop.run("learn", "x", code=1)
    assert "it ended with status 0, and left nothing in the background before it was ready" in said


def test_a_prepare_that_fails_is_said(shop: Workshop) -> None:
    service(shop, *SERVER, more="[check]\nprepare = ['echo no disk >&2; exit 3']")
    said = shop.run("learn", "x", code=1)
    assert "no disk" in said
    assert "hint: correct [check] prepare" in said
    assert learned(shop) == ""


def test_a_program_that_is_not_there_is_the_target_s_error(shop: Workshop) -> None:
    shop.write_targets(
        {"x.toml": f'sysroot = "{shop.top}"\nbinaries = ["/bin/gone"]\n[check]\nrun = [["/bin/gone"]]\n'}
    )
    assert "cannot read /bin/gone: No such file or directory" in shop.run("learn", "x", code=3)


def test_without_strace_it_says_what_to_do(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    service(shop, *SERVER)
    monkeypatch.setattr("chrootbuild.learn.session.find_program", lambda _: None)
    said = shop.run("learn", "x", code=1)
    assert "error: cannot learn x: strace is not installed\nhint: apt-get install strace" in said
    assert "--from FILE" in said


def test_without_a_check_it_says_what_to_do(shop: Workshop) -> None:
    shop.write_targets({"x.toml": f'sysroot = "{shop.top}"\nbinaries = ["/bin/does"]\n'})
    said = shop.run("learn", "x", code=1)
    assert "error: cannot learn x: [check] has no run and no service\nhint: say in [check.service]" in said


def test_a_learned_file_that_somebody_broke_is_an_error_and_stays(shop: Workshop) -> None:
    service(shop, *SERVER)
    shop.write_targets({"x.learned.toml": "files = [\n"})
    assert "targets/x.learned.toml" in shop.run("learn", "x", code=3)
    assert learned(shop) == "files = [\n"


def test_ctrl_c_ends_all_of_it(shop: Workshop, before: Leftovers) -> None:
    service(shop, "need", "/etc/greeting", "sleep", timeout=60)
    argv = [
        sys.executable,
        "-c",
        "from chrootbuild.__main__ import main; raise SystemExit(main())",
        "learn",
        "x",
    ]
    with subprocess.Popen(
        argv,
        cwd=shop.folder,
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while not running(MARK):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")
    assert running(MARK) == []
    assert leftovers().mounts == before.mounts
    assert sorted(os.listdir(shop.folder / "targets")) == ["x.toml"]


def test_one_at_a_time(shop: Workshop) -> None:
    from chrootbuild.state.lock import alone

    service(shop, *SERVER)
    with alone(find_project(str(shop.folder)), "x", "learn"):
        assert "error: cannot learn x: process" in shop.run("learn", "x", code=75)


# -- --from, --minimize --------------------------------------------------------------------

STRACE = '7 execve("/bin/does", ["does"], 0x1 /* 3 vars */) = 0\n7 openat(AT_FDCWD, "/etc/greeting", O_RDONLY) = 3\n'
TRUSS = '7: openat(AT_FDCWD,"/etc/greeting",O_RDONLY,00) = 3 (0x3)\n7: close(3) = 0 (0x0)\n'
KDUMP = """   7 does     CALL  open(0x8049f0d,O_RDONLY,0)
   7 does     NAMI  "/etc/greeting"
   7 does     RET   open 3
"""


@pytest.mark.parametrize("text", [STRACE, TRUSS, KDUMP], ids=["strace", "truss", "kdump"])
def test_a_trace_from_anywhere_is_read_and_nothing_is_run(shop: Workshop, tmp_path: Path, text: str) -> None:
    service(shop, *SERVER)
    (tmp_path / "trace").write_text(text)
    said = shop.run("learn", "x", "--from", str(tmp_path / "trace"))
    assert "  add files  /etc/greeting  does opens it" in said or "  add files  /etc/greeting" in said
    assert '"/etc/greeting"' in learned(shop)
    assert not shop.root.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone", "No such file or directory"), ("noise", "it is no text of strace, kdump or truss")],
)
def test_a_trace_that_is_none_is_an_error(shop: Workshop, tmp_path: Path, name: str, message: str) -> None:
    service(shop, *SERVER)
    (tmp_path / "noise").write_text("once upon a time\n")
    said = shop.run("learn", "x", "--from", str(tmp_path / name), code=1)
    assert f"cannot read {tmp_path / name}: {message}" in said
    assert learned(shop) == ""


def test_minimize_drops_what_the_check_does_not_use(shop: Workshop) -> None:
    for name in ("unused", "hosts.deny", "probed"):
        (shop.top / f"etc/{name}").write_text("")
    probe = "test -e $ROOT/etc/probed"  # no trace shows this
    service(shop, "need", "/etc/greeting", *SERVER, probe=[HELLO, probe], timeout=1.0)
    entries = ", ".join(f'"/etc/{name}"' for name in ("greeting", "unused", "hosts.deny", "probed"))
    shop.write_targets({"x.learned.toml": f"files = [{entries}]\n[directories]\n'/var/lib/x' = {{}}\n"})
    said = shop.run("learn", "x", "--minimize")
    assert said.splitlines()[0] == "x  targets/x.learned.toml: 2 dropped"
    assert "  drop files        /etc/unused  the check does not use it" in said.splitlines()
    kept = learned(shop)
    assert "/etc/unused" not in kept
    assert "/var/lib/x" not in kept
    assert [name for name in ("greeting", "hosts.deny", "probed") if f'"/etc/{name}"' not in kept] == []
    assert "x  serves" in shop.run("check", "x")
    assert not (shop.root / "etc/unused").exists()
    assert "nothing changed" in shop.run("learn", "x", "--minimize")


def test_minimize_of_a_root_that_does_not_serve_changes_nothing(shop: Workshop) -> None:
    (shop.top / "etc/unused").write_text("")
    service(shop, "need", "/etc/greeting", *SERVER)
    shop.write_targets({"x.learned.toml": 'files = ["/etc/unused"]\n'})
    said = shop.run("learn", "x", "--minimize", code=1)
    assert "error: cannot minimize x: its check does not pass as it is" in said
    assert learned(shop) == 'files = ["/etc/unused"]\n'


def test_from_and_minimize_exclude_each_other(shop: Workshop) -> None:
    service(shop, *SERVER)
    assert "cannot read the command line" in shop.run("learn", "x", "--from", "f", "--minimize", code=2)


def test_a_target_that_is_not_there(shop: Workshop) -> None:
    service(shop, *SERVER)
    assert 'cannot find a target named "y"' in shop.run("learn", "y", code=2)
    with pytest.raises(Failure):
        learn(find_project(str(shop.folder)), "y")


def test_a_reason_names_no_process_that_is_another_in_the_next_run(shop: Workshop) -> None:
    service(shop, "need", "/proc/self/stat", "need", "/proc/loadavg", "need", "/proc/self/net/tcp", *SERVER)
    [entry] = [entry for entry in lesson(shop).added if entry.key == "mounts"]
    assert not any(letter.isdigit() for letter in entry.reason), entry.reason
