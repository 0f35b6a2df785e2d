"""Commands of the host write and read below ROOT, where a daemon has planted links, FIFOs and nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.artifact import Origin
from chrootbuild.check.trial import check
from chrootbuild.sandbox.box import Box
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system.rights.user import ROOT, User
from chrootbuild.target.model import Check, Command, Target
from tests.support.confine_lab import make_root

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

LOOP = "Too many levels of symbolic links"
WRITE = 'echo hello > "$ROOT/srv/index.html"'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_root(tmp_path / "root", "srv", "run", "usr/bin", "var/lib", "etc")
    os.chmod(root / "srv", 0o777)  # the daemon's
    return root


def host(box: Box, command: str) -> str:
    process = box.outside(command, name="host")
    assert box.wait(process, 20) is not None
    return box.output("host").decode()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A disk with a node of its own in /dev, and the file that it is made of."""
    image = tmp_path / "disk"
    image.write_bytes(bytes(1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, timeout=20)
    if made.returncode:
        pytest.skip("needs a loop device")
    yield made.stdout.strip(), image
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_a_link_to_a_disk(root: Path, disk: tuple[str, Path]) -> None:
    device, image = disk
    (root / "srv/index.html").symlink_to(device)
    with confine(Confinement(str(root))) as box:
        assert LOOP in host(box, WRITE)
        host(box, f"echo hello > {device}")  # a new file in its own small /dev
    subprocess.run(["sync"], check=True)
    assert b"hello" not in image.read_bytes()


def test_a_node_in_the_root(root: Path, disk: tuple[str, Path]) -> None:
    device, image = disk
    os.mknod(root / "srv/index.html", 0o60666, os.stat(device).st_rdev)
    with confine(Confinement(str(root))) as box:
        assert "Permission denied" in host(box, WRITE)
        assert "Permission denied" in host(box, f"echo hello > {root}/srv/index.html")
    subprocess.run(["sync"], check=True)
    assert b"hello" not in image.read_bytes()


@pytest.mark.parametrize("to", ["/proc/sys/kernel/hostname", "../../../../../../proc/sys/kernel/hostname"])
def test_a_link_to_the_kernel(root: Path, to: str) -> None:
    before = os.uname().nodename
    (root / "srv/index.html").symlink_to(to)
    with confine(Confinement(str(root))) as box:
        assert LOOP in host(box, WRITE)
        for path in ("/proc/sys/kernel/hostname", "/proc/self/oom_score_adj"):
            assert "Read-only file system" in host(box, f"echo '' > {path}")
    assert os.uname().nodename == before


def test_a_link_to_the_hosts_files_is_neither_read_nor_written(root: Path) -> None:
    (root / "srv/index.html").symlink_to("/etc/passwd")
    (root / "srv/dir").symlink_to("/etc")
    with confine(Confinement(str(root))) as box:
        assert LOOP in host(box, WRITE)
        assert LOOP in host(box, 'cat "$ROOT/srv/index.html"')
        assert LOOP in host(box, f"cat {root}/srv/dir/passwd")
        assert host(box, 'readlink "$ROOT/srv/dir"') == "/etc\n"


def test_a_link_to_a_fifo_of_a_daemon_of_the_host(root: Path, tmp_path: Path) -> None:
    """A read-only mount keeps nobody from writing to a FIFO."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    (root / "srv/index.html").symlink_to(fifo)
    with confine(Confinement(str(root))) as box:
        assert LOOP in host(box, WRITE)
    heard = os.read(reader, 100)
    os.close(reader)
    assert heard == b""


def test_a_link_that_is_planted_while_the_command_runs(root: Path) -> None:
    with confine(Confinement(str(root))) as box:
        process = box.outside(
            'until test -L "$ROOT/srv/x"; do sleep 0.01; done; cat "$ROOT/srv/x"', name="x"
        )
        plant = box.outside('ln -s /etc/passwd "$ROOT/srv/x"', name="y")
        assert box.wait(plant, 20) == 0
        assert box.wait(process, 20) == 1
        assert LOOP.encode() in box.output("x")


def test_what_a_tree_is_made_of_is_followed_inside_the_root(root: Path) -> None:
    os.rename(root / "bin/does", root / "usr/bin/does")
    (root / "bin").rmdir()
    (root / "bin").symlink_to("usr/bin")
    (root / "var/run").symlink_to("/run")
    (root / "var/up").symlink_to("../../../../../usr")
    (root / "srv/run").symlink_to("/run")  # where the daemon writes: planted
    (root / "etc/out").symlink_to("/etc/passwd")
    (root / "run/pid").write_text("of the root\n")
    with confine(Confinement(str(root))) as box:
        for place in ("$ROOT", str(root)):
            assert host(box, f"{place}/bin/does say in").endswith("in\n")
            assert host(box, f"cat {place}/var/run/pid") == "of the root\n"
            assert host(box, f"{place}/var/up/bin/does say up") == "up\n"
            assert LOOP in host(box, f"cat {place}/srv/run/pid")
            assert LOOP in host(box, f"cat {place}/etc/out")


def test_what_prepares_are_made_of_works(root: Path) -> None:
    command = """
    set -e
    mkdir -p $ROOT/var/lib/db/data; chown -R 65534:65534 $ROOT/var/lib/db; chmod 2750 $ROOT/var/lib/db
    setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'echo by nobody >$ROOT/var/lib/db/data/x'
    cat $ROOT/var/lib/db/data/x >/dev/null; head -c 4 /dev/urandom | wc -c; echo x | tee /dev/stderr >/dev/null
    t=$(mktemp -d); echo y >$t/y; touch /dev/shm/z; cat <(cat $t/y)
    rm -rf $ROOT/var/lib/db; ln -s /nowhere $ROOT/var/lib/link; rm $ROOT/var/lib/link; echo done
    """
    with confine(Confinement(str(root))) as box:
        assert host(box, command) == "4\nx\ny\ndone\n"
        assert host(box, "ls /dev | tr '\\n' ' '") == (
            "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero "
        )
        assert host(box, "test -e /dev/shm/z && touch /dev/shm/z && echo same") == "same\n"


@pytest.mark.parametrize("program", ["su nobody -s /bin/sh -c", "runuser -u nobody -- sh -c"])
def test_a_prepare_changes_its_user(root: Path, program: str) -> None:
    with confine(Confinement(str(root))) as box:
        assert host(box, f"{program} 'id -un'") == "nobody\n"


def test_what_a_command_of_the_host_may_not_do(root: Path) -> None:
    with confine(Confinement(str(root))) as box:
        status = host(box, "cat /proc/self/status")
        bounding = next(int(line.split()[1], 16) for line in status.splitlines() if "CapBnd" in line)
        for number in (16, 17, 19, 21, 22, 25, 27, 34):  # MODULE RAWIO PTRACE ADMIN BOOT TIME MKNOD SYSLOG
            assert not bounding >> number & 1
        assert host(box, "mknod $WORK/x b 7 0 2>&1").endswith("Operation not permitted\n")
        assert "mount" in host(box, "mount -t tmpfs x $WORK || echo mount").splitlines()
        assert host(box, "grep -v nodev /proc/self/mounts | cut -d' ' -f2 | sort -u").split() == sorted(
            ["/dev/full", "/dev/null", "/dev/pts", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"]
        )


def test_the_finding_says_what_to_do(root: Path) -> None:
    (root / "srv/index.html").symlink_to("/etc/passwd")
    origin = Origin("t.toml", "check")
    checks = Check(prepare=(WRITE,), run=(Command(("does",), origin),))
    target = Target("t", "", origin, str(root), check=checks)

    def users(_: str) -> User:
        return ROOT

    [finding] = check(target, str(root), users=users)
    assert LOOP in finding.message
    assert finding.message.splitlines()[-1] == (
        "hint: a link in ROOT is not followed, since it may lead out; write the path that it leads to"
    )


_AS_USER = """
import sys
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
with confine(Confinement(sys.argv[1])) as box:
    for command in sys.argv[2:]:
        box.wait(box.outside(command, name="x"), 20)
        print(box.output("x").decode(), end="")
"""


@pytest.mark.nobody
def test_an_ordinary_users_box(user_root: Path) -> None:
    (user_root / "srv/index.html").symlink_to("/proc/sys/kernel/ostype")
    commands = (WRITE, "echo x > /proc/sys/kernel/ostype", "echo x > /dev/null; echo $(ls /dev)")
    more = ("cat /proc/self/mounts | grep -v nodev | grep -vc ' /dev/'",)
    argv = [sys.executable, "-c", _AS_USER, str(user_root), *commands, *more]
    done = subprocess.run(argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
    looped, read_only, devices, others = done.stdout.splitlines()
    assert looped.endswith(LOOP)
    assert read_only.endswith(("Read-only file system", "Permission denied"))
    assert devices == "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert others == "0"
