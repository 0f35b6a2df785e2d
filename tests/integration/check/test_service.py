from __future__ import annotations

import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.artifact import Origin
from chrootbuild.check.service import serve
from chrootbuild.check.trial import check
from chrootbuild.errors import Failure
from chrootbuild.findings import Finding
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system.rights.user import ROOT, User
from chrootbuild.target.model import Check, Command, Item, Service, Target
from tests.support.confine_lab import leftovers, make_root, running

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

ORIGIN = Origin("targets/t.toml", "check")
HELLO = "exec 3<>/dev/tcp/127.0.0.1/24900 && grep -q hello <&3"
MARK = f"mark-{uuid.uuid4().hex}"  # an argument of every service here, to find what is left of it


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() == before
    assert running(MARK) == []


def users(name: str) -> User:
    numbers = {"root": ROOT, "nobody:nogroup": User(65534, 65534, (65534,)), "42": User(42, 43, (44, 45))}
    return numbers[name]


def service(*words: str, **more: object) -> Check:
    more = {"ready": "tcp:127.0.0.1:24900", "probe": (HELLO,), "timeout": 3.0} | more
    return Check(service=Service(ORIGIN, ("/bin/does", "say", MARK, *words), **more))  # type: ignore[arg-type]


def run(root: Path, checks: Check, mounts: tuple[str, ...] = (), logs: str = "") -> tuple[Finding, ...]:
    target = Target(
        "t", "", ORIGIN, str(root), mounts=tuple(Item(path, ORIGIN) for path in mounts), check=checks
    )
    return check(target, str(root), users=users, logs=logs)


def only(findings: tuple[Finding, ...]) -> Finding:
    [finding] = findings
    return finding


SERVER = ("tcp", "127.0.0.1", "24900")


def test_a_service_that_answers_passes(tmp_path: Path) -> None:
    assert run(make_root(tmp_path), service(*SERVER)) == ()


def test_it_runs_as_the_user_by_number(tmp_path: Path) -> None:
    probe = "exec 3<>/dev/tcp/127.0.0.1/24900 && grep -qx 'hello from uid 65534' <&3"
    assert run(make_root(tmp_path), service(*SERVER, user="nobody:nogroup", probe=(probe,))) == ()


def test_the_live_service_on_the_same_port_is_neither_asked_nor_in_the_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 24900)) as live:
        live.settimeout(0)
        assert run(make_root(tmp_path), service(*SERVER)) == ()
        with pytest.raises(BlockingIOError):
            live.accept()


def test_a_probe_alone_does_not_pass_because_of_the_live_service(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 24900)):
        found = only(run(make_root(tmp_path), service("sleep", ready="", timeout=1.0)))
    assert found.rule == "probe"


def test_never_ready(tmp_path: Path) -> None:
    found = only(run(make_root(tmp_path), service("complain", "no config", "sleep", timeout=0.5)))
    assert (found.severity, found.rule, found.path) == ("error", "ready", "/bin/does")
    assert found.message.splitlines() == [
        "it is not ready after 0.5 seconds: nobody is bound to tcp:127.0.0.1:24900",
        "/bin/does printed:",
        f"  {MARK}",
        "  no config",
    ]


def test_bound_to_another_address(tmp_path: Path) -> None:
    found = only(run(make_root(tmp_path), service("tcp", "127.0.0.9", "24900", timeout=0.5)))
    assert "nobody is bound to tcp:127.0.0.1:24900, only to 127.0.0.9" in found.message


def test_what_is_missing_is_said_by_the_programs_own_words(tmp_path: Path) -> None:
    found = only(run(make_root(tmp_path), service("need", "/etc/greeting")))
    assert found.message.splitlines()[0] == "it ended with status 1 before it was ready"
    assert "  /etc/greeting: No such file or directory" in found.message.splitlines()


def test_a_service_that_forks_and_dies(tmp_path: Path) -> None:
    found = only(run(make_root(tmp_path), service("fork-and-die")))
    assert found.message.startswith(
        "it ended with status 0, and left nothing in the background before it was ready"
    )


def test_a_service_that_is_killed_by_a_signal(tmp_path: Path) -> None:
    found = only(run(make_root(tmp_path), service("crash")))
    assert found.message.startswith("it was killed by SIGSEGV before it was ready")


def test_a_service_in_the_background_is_held_and_ended(tmp_path: Path) -> None:
    assert run(make_root(tmp_path), service("background", *SERVER)) == ()


def test_a_service_that_is_deaf_to_the_signal_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chrootbuild.check.service._STOP_SECONDS", 0.3)
    found = only(run(make_root(tmp_path), service("deaf", *SERVER)))
    assert (found.severity, found.rule) == ("note", "stop")
    assert found.message == "does: did not end within 0.3 seconds of SIGTERM, and was killed"


def test_nothing_of_it_runs_when_it_was_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chrootbuild.check.service._STOP_SECONDS", 0.1)
    wanted = service("deaf", "background", *SERVER).service
    assert wanted is not None
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert [finding.rule for finding in serve(box, wanted, ROOT, {})] == ["stop"]
        assert box.wait(box.outside("sleep 0.05", name="host"), 20) == 0
        assert box.running() == ()


def test_another_stop_signal(tmp_path: Path) -> None:
    assert run(make_root(tmp_path), service("deaf", *SERVER, stop_signal="INT")) == ()


def test_a_probe_that_hangs(tmp_path: Path) -> None:
    found = only(
        run(
            make_root(tmp_path),
            service(*SERVER, probe=(f"echo stuck; exec -a {MARK} sleep 1000",), timeout=0.5),
        )
    )
    assert found.rule == "probe"
    assert (
        found.message.splitlines()[0]
        == f"it did not end within 0.5 seconds, while probed by: echo stuck; exec -a {MARK} sleep 1000"
    )
    assert "  stuck" in found.message.splitlines()


def test_a_probe_is_tried_again_until_it_succeeds(tmp_path: Path) -> None:
    probe = "echo x >>tries; test $(wc -l <tries) -ge 3"
    assert run(make_root(tmp_path), service(*SERVER, probe=(probe,))) == ()


def test_a_probe_sees_root_work_out_and_port(tmp_path: Path) -> None:
    probe = f'test "$PORT" = 24900 && test "$PWD" = "$WORK" && grep -q {MARK} $OUT && test -x $ROOT/bin/does'
    assert run(make_root(tmp_path), service(*SERVER, probe=(probe, ("test", "-d", "/etc")))) == ()


def test_a_service_that_dies_while_probed(tmp_path: Path) -> None:
    kill = "kill $(pidof does); false"
    found = only(run(make_root(tmp_path), service(*SERVER, probe=(kill,))))
    assert found.message.startswith("it was killed by SIGTERM, while probed by: kill")


@pytest.mark.parametrize(
    ("words", "ready"),
    [
        (("udp", "127.0.0.1", "24901"), "udp:127.0.0.1:24901"),
        (("tcp", "::1", "24901"), "tcp:[::1]:24901"),
        (("tcp", "0.0.0.0", "24901"), "tcp:127.0.0.1:24901"),
        (("tcp", "::", "24901"), "tcp:127.0.0.1:24901"),
        (("tcp", "192.0.2.77", "53"), "tcp:192.0.2.77:53"),
        (("unix", "/tmp/s"), "unix:/tmp/s"),
        (("write", "/tmp/pid", "sleep"), "file:/tmp/pid"),
        (("write", "/tmp/pid", "sleep"), "grep -q written $ROOT/tmp/pid"),
        (("sleep",), ""),
    ],
)
def test_ready(tmp_path: Path, words: tuple[str, ...], ready: str) -> None:
    assert run(make_root(tmp_path), service(*words, ready=ready, probe=())) == ()


@pytest.mark.parametrize(
    ("ready", "why"),
    [
        ("udp:127.0.0.1:9", "nobody is bound to udp:127.0.0.1:9"),
        ("unix:/tmp/s", "/tmp/s is not there"),
        ("unix:/bin/does", "/bin/does is no socket"),
        ("file:/bin/does", "/bin/does was there before the start, and has not changed"),
        ("false", "false: ended with status 1"),
        ("sleep 100", "sleep 100: it did not end within"),
    ],
)
def test_not_ready(tmp_path: Path, ready: str, why: str) -> None:
    found = only(run(make_root(tmp_path), service("sleep", ready=ready, probe=(), timeout=0.3)))
    assert f"it is not ready after 0.3 seconds: {why}" in found.message


def test_a_socket_left_by_the_live_service_is_not_ready(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(root / "tmp/s"))
        found = only(run(root, service("sleep", ready="unix:/tmp/s", probe=(), timeout=0.3)))
    assert "/tmp/s was there before the start, and has not changed" in found.message


def test_a_port_that_prepare_took_is_not_the_services(tmp_path: Path) -> None:
    checks = service("sleep", timeout=0.5)
    checks = Check(
        prepare=(f"{tmp_path}/bin/does say {MARK} tcp 127.0.0.1 24900 & sleep 0.1",), service=checks.service
    )
    found = only(run(make_root(tmp_path), checks))
    assert "tcp:127.0.0.1:24900 is bound by does (pid " in found.message
    assert "whose root is not this root" in found.message


def test_a_backend_that_prepare_leaves_serves_and_is_ended(tmp_path: Path) -> None:
    backend = f"{tmp_path}/bin/does say {MARK} tcp 127.0.0.1 24902 & sleep 0.1"
    probe = HELLO.replace("24900", "24902")
    checks = Check(prepare=(backend,), service=service(*SERVER, probe=(HELLO, probe)).service)
    assert run(make_root(tmp_path), checks) == ()


def test_prepare_writes_to_the_overlay_and_the_root_stays(tmp_path: Path) -> None:
    root = make_root(tmp_path, "etc")
    checks = Check(
        prepare=("echo hello >$ROOT/etc/greeting",),
        service=service("need", "/etc/greeting", *SERVER).service,
    )
    assert run(root, checks) == ()
    assert not (root / "etc/greeting").exists()


def test_prepare_that_fails_says_so_and_stops(tmp_path: Path) -> None:
    checks = Check(prepare=("echo no luck; exit 3", "touch $WORK/x"), service=service(*SERVER).service)
    found = only(run(make_root(tmp_path), checks))
    assert found.rule == "prepare"
    assert found.message.splitlines() == [
        "echo no luck; exit 3: ended with status 3",
        "it printed:",
        "  no luck",
    ]


def test_a_program_that_is_not_in_the_root(tmp_path: Path) -> None:
    checks = Check(service=Service(ORIGIN, ("/usr/sbin/nginx",)))
    found = only(run(make_root(tmp_path), checks))
    assert (found.rule, found.message) == ("start", "cannot run /usr/sbin/nginx: it is not in the root")


def test_a_program_without_its_interpreter(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "bin/script").write_text("#!/bin/sh\n")
    (root / "bin/script").chmod(0o755)
    for name in ("/bin/script", "script"):
        found = only(run(root, Check(run=(Command((name,), ORIGIN),))))
        assert found.message.startswith(f"cannot run {name}: its interpreter")


def test_a_program_of_another_machine(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    program = bytearray((root / "bin/does").read_bytes())
    program[18:20] = (0x1234).to_bytes(2, "little")  # e_machine, elf(5)
    (root / "bin/does").write_bytes(program)
    found = only(run(root, service(*SERVER)))
    assert found.message == "cannot run /bin/does: it is for another machine or system"
    freebsd = Target("t", "", ORIGIN, str(root), os="freebsd", check=service(*SERVER))
    with pytest.raises(Failure, match="cannot check t: its programs are FreeBSD's"):
        check(freebsd, str(root), users=users)


def test_run_holds_status_and_output_against_what_is_expected(tmp_path: Path) -> None:
    commands = (
        Command(("does", "say", "JST"), ORIGIN, stdout="^JST$"),
        Command(("does", "say", "UTC", "complain", "no zone"), ORIGIN, stdout="JST"),
        Command(("does", "say", MARK, "exit", "7"), ORIGIN),
        Command(
            ("does", "env"),
            ORIGIN,
            stdout=r"\APATH=/usr/sbin:/usr/bin:/sbin:/bin\nTZ=Asia/Tokyo\n\Z",
            env={"TZ": "Asia/Tokyo"},
        ),
    )
    unlike, status = run(make_root(tmp_path), Check(run=commands))
    assert unlike.message.splitlines() == [
        "does say UTC complain no zone: did not print 'JST'",
        "it printed:",
        "  UTC",
        "its errors:",
        "  no zone",
    ]
    assert status.message.splitlines()[0] == f"does say {MARK} exit 7: ended with status 7"


def test_run_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chrootbuild.check.trial._COMMAND_SECONDS", 0.3)
    found = only(run(make_root(tmp_path), Check(run=(Command(("does", "say", MARK, "sleep"), ORIGIN),))))
    assert "did not end within 0.3 seconds" in found.message


def test_proc_is_there_where_mounts_says_so_and_read_only(tmp_path: Path) -> None:
    root = make_root(tmp_path, "proc")
    checks = Check(
        run=(Command(("does", "cat", "/proc/self/mounts"), ORIGIN, stdout=r"proc /proc proc ro,"),)
    )
    assert run(root, checks, ("/proc",)) == ()
    assert "/proc/self/mounts: No such file" in only(run(root, checks)).message


def test_a_mount_without_its_directory(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot mount /proc in the root: No such file or directory"):
        run(make_root(tmp_path), service(*SERVER), ("/proc",))


def test_logs_are_kept_where_the_caller_says(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    checks = Check(
        prepare=("echo prepared",),
        run=(Command(("does", "say", "out", "complain", "err"), ORIGIN),),
        service=service(*SERVER, probe=(f"echo probed; {HELLO}",)).service,
    )
    assert run(make_root(tmp_path / "root"), checks, logs=str(logs)) == ()
    assert {path.name: path.read_text() for path in logs.iterdir()} == {
        "prepare-1.log": "prepared\n",
        "run-1.log": "out\nerr\n",
        "service.log": f"{MARK}\n",
        "probe-1.log": "probed\n",
    }


def test_no_check_is_said(tmp_path: Path) -> None:
    assert only(run(make_root(tmp_path), Check())).severity == "note"


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"cannot open .*/absent: No such file or directory"):
        run(tmp_path / "absent", service(*SERVER))


@pytest.mark.strace
def test_what_failed_is_run_again_under_trace_and_explained(tmp_path: Path) -> None:
    traces = []

    def explain(path: str) -> list[tuple[str, str]]:
        text = Path(path).read_text()
        traces.append(text)
        line = "/etc/greeting  asked for by does, exists in the sysroot"
        return [("/etc/greeting", line)] if "/etc/greeting" in text else []

    passes = Command(("does", "say", "passes"), ORIGIN)
    checks = Check(run=(passes,), service=service("need", "/etc/greeting").service)
    target = Target("t", "", ORIGIN, str(tmp_path), check=checks)
    error, missing = check(target, str(make_root(tmp_path)), users=users, explain=explain)
    assert error.rule == "ready"
    assert (missing.rule, missing.path) == ("missing", "/etc/greeting")
    assert len(traces) == 1  # of what failed alone
    first, *_ = traces[0].splitlines()
    assert 'execve("/bin/does", ["/bin/does", "say"' in first
    assert "chrootbuild" not in traces[0].replace(str(tmp_path), "")


def test_without_strace_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chrootbuild.check.trial.find_program", lambda _: None)
    target = Target("t", "", ORIGIN, str(tmp_path), check=service("exit", "1"))
    error, note = check(target, str(make_root(tmp_path)), users=users, explain=lambda _: [])
    assert (error.severity, note.severity) == ("error", "note")
    assert note.message == "install strace to be told which paths were missing"


def test_the_clients_of_the_distribution_can_be_probes(tmp_path: Path) -> None:
    assert subprocess.run(["python3", "--version"], capture_output=True).returncode == 0
    probe = (
        "python3",
        "-c",
        "import socket; assert b'hello' in socket.create_connection(('127.0.0.1', 24900)).recv(99)",
    )
    assert run(make_root(tmp_path), service(*SERVER, probe=(probe,))) == ()
