from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from chrootbuild.artifact import Device
from chrootbuild.errors import Failure
from chrootbuild.sandbox.box import Box
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system.rights.user import CONFINED, User
from tests.support.confine_lab import leftovers, make_root, running
from tests.support.trees import tree

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

MARK = f"mark-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() == before
    assert running(MARK) == []


def does(box: Box, *words: str, user: User | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run the program of the root; return what it printed, its errors too."""
    process = box.inside(("/bin/does", *words), name="does", env=env, user=user or User(0, 0))
    assert box.wait(process, 20) is not None
    return box.output("does").decode(errors="replace")


def host(box: Box, command: str) -> str:
    process = box.outside(command, name="host")
    assert box.wait(process, 20) is not None
    return box.output("host").decode()


# -- what a program inside has -------------------------------------------------------------


def test_it_has_a_clean_environment_and_no_other_descriptor(tmp_path: Path) -> None:
    secret = os.open("/", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        with confine(Confinement(str(make_root(tmp_path)))) as box:
            assert does(box, "env", env={"A": "b"}) == "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nA=b\n"
            assert does(box, "fds") == "0 1 2 \n"
            assert does(box, "umask", "sigpipe") == "022\ndefault\n"
    finally:
        os.close(secret)


def test_the_host_has_no_other_descriptor_either(tmp_path: Path) -> None:
    secret = os.open("/", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        with confine(Confinement(str(make_root(tmp_path)))) as box:
            assert host(box, f"{tmp_path}/bin/does fds") == "0 1 2 \n"
    finally:
        os.close(secret)


def test_it_is_the_user_with_the_groups_and_no_other(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert does(box, "id") == "0:0\n"
        assert does(box, "id", user=User(42, 43, (44, 45))) == "42:43+44+45\n"
        assert "uid" not in does(box, "uid", "0", user=User(42, 43)).replace(
            "setuid: Operation not permitted", ""
        )


def test_its_capabilities_are_those_of_the_list(tmp_path: Path) -> None:
    kept = sum(1 << number for number in CONFINED.values())
    with confine(Confinement(str(make_root(tmp_path, "proc")), ("/proc",))) as box:
        status = does(box, "cat", "/proc/self/status")
        assert {
            line.split()[1]
            for line in status.splitlines()
            if line.startswith(("CapPrm", "CapEff", "CapBnd"))
        } == {f"{kept:016x}"}
        status = does(box, "cat", "/proc/self/status", user=User(42, 43))
        assert "CapEff:\t0000000000000000\n" in status
        assert f"CapBnd:\t{kept:016x}\n" in status


def test_what_leads_out_of_a_chroot_is_refused(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert does(box, "mknod", "mount", "unshare", "attach", "1") == (
            "mknod: Operation not permitted\n"
            "mount: Operation not permitted\n"
            "unshare: Operation not permitted\n"
            "attach: Operation not permitted\n"
        )


def test_chroot_again_and_go_up_stays_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("outside")
    with confine(Confinement(str(make_root(tmp_path / "root")))) as box:
        assert does(box, "break-out", "cat", "/bin/../bin/does")[:4] == "\x7fELF"
        assert does(box, "break-out", "cat", f"{tmp_path}/victim").endswith("No such file or directory\n")
        assert does(box, "break-out", "cat", "/etc/passwd").endswith("No such file or directory\n")


def test_the_first_process_cannot_be_killed_or_looked_into(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path, "proc")), ("/proc",))) as box:
        does(box, "kill", "9", "1", "kill", "2", "1", "kill", "15", "1", "kill", "17", "1")
        assert does(box, "cat", "/proc/1/root/etc/passwd").endswith("Permission denied\n")
        assert does(box, "cat", "/proc/1/mem").endswith("Permission denied\n")
        assert does(box, "say", "still here") == "still here\n"


def test_processes_of_the_host_view_cannot_be_seen(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path, "proc")), ("/proc",))) as box:
        process = box.outside(f"exec -a {MARK} sleep 100", name="sleeps")
        assert does(box, "cat", f"/proc/{process.pid}/cmdline").endswith("No such file or directory\n")
        assert does(box, "kill", "9", str(process.pid)) == "kill: No such process\n"
        assert box.wait(process, 0) is None


def test_the_kernels_settings_cannot_be_written(tmp_path: Path) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    with confine(Confinement(str(make_root(tmp_path, "proc", "sys")), ("/proc", "/sys"))) as box:
        assert does(box, "write", "/proc/sys/kernel/core_pattern").endswith("Read-only file system\n")
        assert does(box, "write", "/sys/kernel/mm/ksm/run").endswith("Read-only file system\n")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_the_network_is_lo_alone(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        lines = host(box, "cat /proc/net/dev").splitlines()[2:]
        assert [line.split(":")[0].strip() for line in lines] == ["lo"]


# -- what is written -----------------------------------------------------------------------


def test_nothing_reaches_the_root(tmp_path: Path) -> None:
    root = make_root(tmp_path, "var/lib/x")
    (root / "var/lib/x/old").write_text("old")
    before = tree(root)
    with confine(Confinement(str(root))) as box:
        does(box, "write", "/var/lib/x/new", "write", "/var/lib/x/old", "write", "/bin/new")
        host(box, "rm -rf $ROOT/tmp; mv $ROOT/var/lib/x $ROOT/var/y; chown 5:5 $ROOT/bin/does")
        assert does(box, "cat", "/var/y/old") == "written\n"
    assert tree(root) == before


def test_changed_lists_what_was_written(tmp_path: Path) -> None:
    root = make_root(tmp_path, "var/lib/x")
    (root / "var/lib/x/old").write_text("old")
    (root / "var/lib/x/gone").write_text("gone")
    with confine(Confinement(str(root), devices={"/dev/null": Device(True, 1, 3)})) as box:
        does(box, "write", "/var/lib/x/new", "write", "/var/lib/x/old", "need", "/bin/does")
        host(box, "mkdir $ROOT/var/deep; touch $ROOT/var/deep/file; rm $ROOT/var/lib/x/gone")
        box.end()
        assert box.changed() == ("/dev", "/var/deep", "/var/deep/file", "/var/lib/x/new", "/var/lib/x/old")


def test_a_tree_deeper_than_paths_can_be_long_is_no_obstacle(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        text = "import os\nos.chdir(os.environ['ROOT'] + '/tmp')\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
        assert box.wait(box.outside((sys.executable, "-c", text), name="deep"), 20) == 0
        box.end()
        assert "/tmp/d/d/d" in box.changed()


def test_the_host_cannot_be_written_but_for_temporary_files_that_vanish(tmp_path: Path) -> None:
    name = f"/tmp/{MARK}"
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert "Read-only file system" in host(box, "touch /etc/chrootbuild-test")
        assert "Read-only file system" in host(box, "mkdir /usr/chrootbuild-test")
        assert (
            host(box, f"touch {name} /var{name} /run/{MARK} /dev/shm/{MARK} $WORK/x && echo done")
            == "done\n"
        )
    assert not any(
        os.path.exists(path) for path in (name, f"/var{name}", f"/run/{MARK}", f"/dev/shm/{MARK}")
    )


def test_the_roots_own_path_shows_the_overlay_too(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with confine(Confinement(str(root))) as box:
        assert host(box, f"echo hello >{root}/tmp/x; cat $ROOT/tmp/x") == "hello\n"
    assert not (root / "tmp/x").exists()


def test_files_of_the_project_are_there_for_commands(tmp_path: Path) -> None:
    (tmp_path / "probe.sh").write_text("echo probed\n")
    with confine(Confinement(str(make_root(tmp_path / "root")))) as box:
        assert host(box, f"sh {tmp_path}/probe.sh") == "probed\n"


@pytest.mark.parametrize("where", ["root", "host"])
def test_a_socket_of_a_live_daemon_cannot_be_reached(tmp_path: Path, where: str) -> None:
    root = make_root(tmp_path / "root")
    path = root / "tmp/s" if where == "root" else tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        live.settimeout(0)
        with confine(Confinement(str(root))) as box:
            if where == "root":
                assert does(box, "connect", "/tmp/s") == "connect: Connection refused\n"
            assert host(box, f"{root}/bin/does connect {path}") == "connect: Connection refused\n"
        with pytest.raises(BlockingIOError):
            live.accept()


# -- roots of all kinds --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a root", "a:b", "a,b", "a\\b", "a\nb", "a%b", "a'b\"c", "\udcff"])
def test_a_root_with_any_name(tmp_path: Path, name: str) -> None:
    with confine(Confinement(str(make_root(tmp_path / name)))) as box:
        assert does(box, "say", "here") == "here\n"


def test_a_relative_root() -> None:
    with pytest.raises(Failure, match="it is not an absolute path"), confine(Confinement("build/x")):
        pass


def test_a_root_that_is_a_link_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(make_root(tmp_path / "root"))
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with (
            pytest.raises(Failure, match=f"cannot open .*/{name}: Not a directory"),
            confine(Confinement(str(tmp_path / name))),
        ):
            pass


def test_mount_points_are_looked_up_inside_the_root(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    (tmp_path / "victim").mkdir()
    (root / "proc").symlink_to("../../victim")
    with (
        pytest.raises(Failure, match="cannot mount /proc in the root"),
        confine(Confinement(str(root), ("/proc",))),
    ):
        pass
    (root / "victim").mkdir()
    with confine(Confinement(str(root), ("/proc",))) as box:
        assert "Name:\tdoes" in does(box, "cat", "/victim/self/status")
        assert host(box, f"ls {tmp_path}/victim $ROOT/victim | wc -w") == "2\n"


def test_devices_are_shown_inside_the_root_wherever_its_links_lead(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    (tmp_path / "victim").mkdir()
    (root / "dev").symlink_to("../../victim")
    confinement = Confinement(str(root), devices={"/dev/zero": Device(True, 1, 5)})
    with (
        pytest.raises(Failure, match="cannot show the host's /dev/zero in the root: File exists"),
        confine(confinement),
    ):
        pass
    (root / "victim").mkdir()
    with confine(confinement) as box:
        assert does(box, "need", "/victim/zero", "say", "in") == "in\n"
    assert os.listdir(tmp_path / "victim") == []


def test_other_mounts_show_a_throw_away_overlay_of_the_hosts_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_text("of the host\n")
    root = make_root(tmp_path / "root", f"{tmp_path}/data".lstrip("/"))
    with confine(Confinement(str(root), (f"{tmp_path}/data",))) as box:
        assert does(box, "cat", f"{tmp_path}/data/x", "write", f"{tmp_path}/data/x") == "of the host\n"
        assert does(box, "cat", f"{tmp_path}/data/x") == "written\n"
    assert (tmp_path / "data/x").read_text() == "of the host\n"


def test_a_mount_that_the_host_has_not(tmp_path: Path) -> None:
    with (
        pytest.raises(Failure, match="cannot show the host's /nowhere in the root: No such file"),
        confine(Confinement(str(make_root(tmp_path, "nowhere")), ("/nowhere",))),
    ):
        pass


def test_terminals_and_shared_memory_are_the_boxs_own(tmp_path: Path) -> None:
    root = make_root(tmp_path, "dev/pts", "dev/shm")
    with confine(Confinement(str(root), ("/dev/pts", "/dev/shm"))) as box:
        assert does(box, "need", "/dev/pts/ptmx", "write", f"/dev/shm/{MARK}") == ""
    assert not os.path.exists(f"/dev/shm/{MARK}")


def test_devices_of_the_root_work(tmp_path: Path) -> None:
    root = make_root(tmp_path, "dev")
    os.mknod(root / "dev/null", 0o666 | 0o020000, os.makedev(1, 3))
    with confine(Confinement(str(root), devices={"/dev/zero": Device(True, 1, 5)})) as box:
        assert does(box, "write", "/dev/null", "need", "/dev/zero", "say", "both") == "both\n"
        assert not (root / "dev/zero").exists()


def test_a_device_that_the_host_has_not(tmp_path: Path) -> None:
    devices = {"/dev/none": Device(True, 511, 77)}
    with (
        pytest.raises(Failure, match="cannot show /dev/none in the root: the host has no node char 511:77"),
        confine(Confinement(str(make_root(tmp_path)), devices=devices)),
    ):
        pass


# -- output --------------------------------------------------------------------------------


def test_binary_output_is_kept_as_it_is(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert box.wait(box.inside(("does", "binary"), name="x"), 20) == 0
        assert box.output("x") == bytes(range(256))


def test_a_gigabyte_of_output_is_cut_in_the_middle(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        words = ("does", "say", "the beginning", "spam", str(1 << 30), "say", "the end")
        assert box.wait(box.inside(words, name="x"), 60) == 0
        output = box.output("x")
    assert output.startswith(b"the beginning\n")
    assert output.endswith(b"the end\n")
    assert b" bytes left out]\n" in output
    assert len(output) < 8 << 20


def test_output_of_a_program_that_was_killed_is_kept(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        process = box.inside(("does", "say", "last words", "sleep"), name="x")
        while b"words" not in box.output("x"):
            time.sleep(0.005)
        box.signal(process, signal.SIGKILL)
        assert box.wait(process, 20) == -signal.SIGKILL
        assert box.output("x") == b"last words\n"


def test_standard_error_on_its_own(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert box.wait(box.inside(("does", "say", "a", "complain", "b"), name="x", merge=False), 20) == 0
        assert (box.output("x"), box.output("x", "err")) == (b"a\n", b"b\n")


# -- ends ----------------------------------------------------------------------------------


def test_running_lists_what_went_into_the_background(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        process = box.inside(("does", "background", "say", MARK, "sleep"), name="x")
        assert box.wait(process, 20) == 0
        while MARK.encode() not in box.output("x"):
            time.sleep(0.005)
        assert [one.name for one in box.running()] == ["does"]
        box.end()
        assert box.running() == ()


def test_what_the_host_side_leaves_running_is_ended(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        sleep = f"exec -a {MARK} sleep 1000"
        host(box, f"(setsid bash -c '{sleep}' &); (bash -c 'trap \"\" TERM; {sleep}' &); sleep 0.1")
        assert len(running(MARK)) == 2


def test_an_exception_ends_the_box(tmp_path: Path) -> None:
    def stop(box: Box) -> None:
        box.inside(("does", "say", MARK, "sleep"), name="x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), confine(Confinement(str(make_root(tmp_path)))) as box:
        stop(box)


_PARENT = """
import sys
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
root, mark = sys.argv[1:]
with confine(Confinement(root)) as box:
    box.inside(("does", "say", mark, "deaf", "sleep"), name="x")
    box.outside(f"exec -a {mark} sleep 1000", name="y")
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_signal_to_the_caller_ends_the_box(tmp_path: Path, number: int) -> None:
    argv = [sys.executable, "-c", _PARENT, str(make_root(tmp_path)), MARK]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        assert len(running(MARK)) >= 4  # the caller and its helpers too
        parent.send_signal(number)
        parent.wait(20)
    for _ in range(500):
        if not running(MARK):
            break
        time.sleep(0.01)


def test_killing_the_first_process_is_one_clear_error(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        [helper] = leftovers().children - {os.getpid()}
        [first] = Path(f"/proc/{helper}/task/{helper}/children").read_text().split()
        os.kill(int(first), signal.SIGKILL)
        with pytest.raises(Failure, match="the first process of the box was killed"):
            box.wait(box.inside(("does", "say", "x"), name="x"), 20)


# -- trace ---------------------------------------------------------------------------------


@pytest.mark.strace
def test_a_trace_begins_with_the_program_and_its_pids_agree(tmp_path: Path) -> None:
    root = make_root(tmp_path, "etc")
    with confine(Confinement(str(root))) as box:
        words = ("/bin/does", "sigpipe", "background", "need", "/bin/does", "need", "/etc/missing")
        process = box.inside(words, name="x", user=User(42, 43), strace="/usr/bin/strace")
        assert box.wait(process, 20) == 0
        while box.running():
            time.sleep(0.005)
        box.end()
        assert box.output("x").startswith(b"default\n")
        with box.trace("x") as file:
            lines = file.read().decode().splitlines()
    pids = [line.split()[0] for line in lines]
    assert 'execve("/bin/does", ["/bin/does", "sigpipe", "background",' in lines[0]
    assert pids[0] == str(process.pid)
    # The two programs run at once: a call may be told in two halves.
    assert any('"/etc/missing", O_RDONLY' in line for line in lines)
    assert any("ENOENT" in line for line in lines)
    children = [line.split(" = ")[-1] for line in lines if "clone" in line and " = " in line]
    assert children == list(dict.fromkeys(pids))[1:]
    assert not any("chrootbuild" in line for line in lines)


@pytest.mark.strace
def test_a_strace_that_does_not_start(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        with pytest.raises(Failure, match="cannot trace does: "):
            box.inside(("does", "say", "x"), name="x", strace="/bin/false")
        assert does(box, "say", "still") == "still\n"


# -- paths of the overlay ------------------------------------------------------------------


def test_open_resolves_links_in_the_root(tmp_path: Path) -> None:
    root = make_root(tmp_path, "etc")
    (root / "etc/passwd").write_text("of the root\n")
    (root / "abs").symlink_to("/etc/passwd")
    (root / "up").symlink_to("../../../../etc/passwd")
    with confine(Confinement(str(root))) as box:
        for path in ("/abs", "/up", "/etc/../../etc/passwd"):
            with os.fdopen(box.open(path, os.O_RDONLY)) as file:
                assert file.read() == "of the root\n"
        with os.fdopen(box.open("/etc/new", os.O_WRONLY | os.O_CREAT), "w") as file:
            file.write("made\n")
        assert does(box, "cat", "/etc/new") == "made\n"
    assert not (root / "etc/new").exists()
