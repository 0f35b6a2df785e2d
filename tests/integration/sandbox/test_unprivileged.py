"""Boxes of an ordinary user: in a user namespace, where only that user exists, or a range of ids too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.confine_lab import leftovers, make_root
from tests.support.hungry import bring_hungry

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces, pytest.mark.nobody]

NOBODY = 65534

_START = """
import os, sys
from chrootbuild.artifact import Device, Origin
from chrootbuild.check.trial import check
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.errors import Failure
from chrootbuild.system.rights.user import User
from chrootbuild.target.model import Check, Service, Target
root = sys.argv[1]
def does(box, *words, user=User(0, 0)):
    process = box.inside(("does", *words), name="x", user=user)
    assert box.wait(process, 20) is not None
    return box.output("x").decode()
def host(box, command):
    process = box.outside(command, name="x")
    assert box.wait(process, 20) is not None
    return box.output("x").decode()
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A root that belongs to nobody."""
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        root = make_root(Path(directory, "root"), "dev", "proc", "sys")
        for where, names, files in os.walk(root):
            for name in (".", *names, *files):
                os.chown(os.path.join(where, name), NOBODY, NOBODY)
        yield root


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() == before


def as_nobody(script: str, root: Path, *prefix: str) -> str:
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    argv = [*prefix, *drop, sys.executable, "-c", _START + script, str(root)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_the_caller_is_root_inside_with_the_capabilities_of_the_list(root: Path) -> None:
    script = """
with confine(Confinement(root, ("/proc", "/sys"))) as box:
    print(does(box, "id"), end="")
    print(*[line for line in does(box, "cat", "/proc/self/status").splitlines() if "CapEff" in line])
    print(does(box, "mount", "mknod", "write", "/tmp/x", "cat", "/tmp/x"), end="")
    print(box.rights.privileged, box.rights.mapped)
"""
    assert as_nobody(script, root) == (
        "0:0\nCapEff:\t00000000000425fb\n"
        "mount: Operation not permitted\nmknod: Operation not permitted\nwritten\nFalse False\n"
    )


def test_another_user_is_shown_the_caller_as_itself(root: Path) -> None:
    script = """
with confine(Confinement(root, ("/proc",))) as box:
    print(does(box, "id", user=User(42, 43, (44,))), end="")
    print(does(box, "write", "/tmp/x", "mount", "uid", "0", user=User(42, 43)), end="")
    status = does(box, "cat", "/proc/self/status", user=User(42, 43))
    print(*[line for line in status.splitlines() if "CapEff" in line])
"""
    said = as_nobody(script, root).splitlines()
    assert said[0].startswith("42:43")
    assert said[1:] == [
        "mount: Operation not permitted",
        "setuid: Invalid argument",
        "CapEff:\t0000000000000000",
    ]


def test_devices_are_the_hosts_nodes(root: Path) -> None:
    script = """
with confine(Confinement(root, devices={"/dev/null": Device(True, 1, 3), "/dev/random": Device(True, 1, 8)})) as box:
    print(does(box, "write", "/dev/null", "need", "/dev/random", "say", "both"), end="")
"""
    assert as_nobody(script, root) == "both\n"


def test_the_host_is_read_only_and_the_network_its_own(root: Path) -> None:
    script = """
with confine(Confinement(root)) as box:
    print(host(box, "touch $ROOT/x /tmp/y $WORK/z && echo written; touch /etc/z"), end="")
    print(host(box, "tail -n +3 /proc/net/dev | wc -l"), end="")
"""
    written, refused, interfaces = as_nobody(script, root).splitlines()
    assert written == "written"
    assert refused.endswith(("Permission denied", "Read-only file system"))
    assert interfaces == "1"


def test_a_live_socket_beside_a_mount_cannot_be_reached(root: Path) -> None:
    """A user namespace may not overlay /run as a whole where something is mounted in it."""
    name = f"/run/chrootbuild-test-{os.getpid()}"
    script = f"""
with confine(Confinement(root)) as box:
    print(host(box, f"{{root}}/bin/does connect {name}; ls /run/lock; touch /run/new && echo written"), end="")
"""
    try:
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(name)
            live.listen()
            os.chmod(name, 0o777)
            mounts = "mkdir -p /run/lock; mount -t tmpfs t /run/lock; touch /run/lock/held"
            prefix = ("unshare", "--mount", "sh", "-ec", f'{mounts}; exec "$@"', "sh")
            assert as_nobody(script, root, *prefix) == "connect: No such file or directory\nheld\nwritten\n"
    finally:
        os.unlink(name)


_CHECK = """
import dataclasses
origin = Origin("t.toml", "check")
def serves(*words, user="root", explain=None):
    probe = "exec 3<>/dev/tcp/127.0.0.1/24911 && grep -q hello <&3"
    service = Service(origin, ("/bin/does", *words), user, {}, "tcp:127.0.0.1:24911", (probe,), timeout=3.0)
    target = Target("t", "", origin, root, check=Check(service=service))
    users = {"root": User(0, 0), "nobody": User(65534, 65534)}
    for finding in check(target, root, users=users.__getitem__, explain=explain):
        print(finding.severity, finding.rule, finding.message)
"""


def test_a_check_passes_and_says_what_it_could_not_prove(root: Path) -> None:
    script = _CHECK + 'serves("tcp", "127.0.0.1", "24911", user="nobody")'
    assert as_nobody(script, root) == (
        "note unproven without root all files count as one user's: "
        "whether user 65534 may use them is not proven\n"
    )


def test_a_service_that_switches_its_user_itself_says_why_it_cannot(root: Path) -> None:
    said = as_nobody(_CHECK + 'serves("tcp-as", "127.0.0.1", "24911", "65534")', root)
    assert said == (
        "error ready it ended with status 1 before it was ready\n"
        "/bin/does printed:\n"
        "  setuid: Invalid argument\n"
        "note unproven without root all files count as one user's: "
        "whether a user that the service switches to may use them is not proven\n"
    )


@pytest.mark.strace
def test_trace(root: Path) -> None:
    script = (
        _CHECK
        + """
def explain(path):
    with open(path) as file:
        paths = [line.split('"')[1] for line in file if "/etc/greeting" in line and "openat" in line]
    return [(path, path + " is missing") for path in paths]
serves("need", "/etc/greeting", explain=explain)
"""
    )
    assert "note missing /etc/greeting is missing\n" in as_nobody(script, root)


def test_this_machine_as_a_system(root: Path) -> None:
    script = """
with confine(Confinement("/", system=True)) as box:
    text = "echo x >/etc/new && cat /etc/new && head -1 /etc/passwd; ls /dev | wc -w"
    process = box.inside(("/bin/sh", "-c", text), name="x")
    print(box.wait(process, 20), box.output("x").decode(), end="")
    box.end()
    print(box.changed())
"""
    with open("/etc/passwd") as file:
        first = file.readline()
    assert as_nobody(script, root) == f"0 x\n{first}13\n('/etc/new',)\n"
    assert not os.path.exists("/etc/new")


def with_ids(where: Path, count: int) -> tuple[str, ...]:
    """Return a command that gives nobody a range of ids in a mount namespace of its own."""
    layers = f"lowerdir=/etc,upperdir={where}/u,workdir={where}/w"
    script = f"""
mount -t tmpfs t {where}; mkdir {where}/u {where}/w; mount -t overlay o -o {layers} /etc
echo {NOBODY}:200000:{count} | tee /etc/subuid >/etc/subgid
exec "$@"
"""
    return ("unshare", "--mount", "sh", "-ec", script, "sh")


@pytest.mark.package("uidmap")
def test_with_a_range_of_ids_users_are_others(root: Path, tmp_path: Path) -> None:
    script = (
        """
with confine(Confinement(root)) as box:
    print(box.rights.privileged, box.rights.mapped)
    print(does(box, "id", user=User(42, 43, (44, 45))), end="")
    print(does(box, "write", "/bin/does", user=User(42, 43)), end="")
"""
        + _CHECK
        + 'serves("tcp-as", "127.0.0.1", "24911", "65534")'
    )
    assert as_nobody(script, root, *with_ids(tmp_path, 65536)) == (
        "False True\n42:43+44+45\n/bin/does: Permission denied\n"
    )


@pytest.mark.package("uidmap")
def test_a_user_that_is_not_there_in_the_range(root: Path, tmp_path: Path) -> None:
    said = as_nobody(
        _CHECK + 'serves("tcp", "127.0.0.1", "24911", user="nobody")', root, *with_ids(tmp_path, 10)
    )
    assert said == (
        "error start cannot switch to 65534:65534: Invalid argument\n"
        "hint: run as root, or give yourself a range of ids: subuid(5), newuidmap(1)\n"
    )


_SWARM = """
import time
from chrootbuild.sandbox import holder, init
from chrootbuild.target.model import Limits
for part in sys.argv[2:]:
    if part == "kernel": holder.bound_pids = lambda _: None
    if part == "user": init.bound_user = lambda _: None
    if part == "warden": init.start_warden = lambda *_: os.pipe2(os.O_NONBLOCK)[0]
with confine(Confinement(root, limits=Limits(processes=100))) as box:
    process = box.inside(["takes", "swarm", "3000"], name="it", user=User(USER, USER))
    box.wait(process, 1.5)
    count, looks = 3000, 100
    while looks and (count := len(box.running())) >= 500:  # the killed take a moment
        looks -= 1
        time.sleep(0.05)
    box.end()
    print(box.exceeded or "-", "bounded" if count < 500 else count)
"""


@pytest.mark.parametrize("user", [0, 7])
@pytest.mark.parametrize(
    ("off", "hit"),
    [((), "processes"), (("kernel", "user"), "processes"), (("kernel", "warden"), "-")],
    ids=["all", "the warden alone", "the user's own limit alone"],
)
def test_a_swarm_of_an_ordinary_user_is_bounded(
    root: Path, user: int, off: tuple[str, ...], hit: str
) -> None:
    bring_hungry(root)
    script = _SWARM.replace("USER", str(user)).replace("sys.argv[2:]", repr(off))
    assert as_nobody(script, root) == f"{hit} bounded\n"
