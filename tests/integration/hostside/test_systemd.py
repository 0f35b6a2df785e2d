"""The unit, started by a real systemd that is the first process of namespaces of its own.

That systemd sees only the units that are written here, on an overlay of the
machine whose changes are thrown away; /proc/sys is read-only, /dev holds a
few nodes, and there is no network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.system.rights.user import KEPT
from tests.support.hostside_project import make_sysroot, public_folder, snippets

pytestmark = [
    pytest.mark.root,
    pytest.mark.namespaces,
    pytest.mark.cc,
    pytest.mark.package("systemd", "busybox-static"),
]

BOOT = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/new
mount -t overlay none -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/new
cd /mnt/new
mkdir -p old
for d in tmp run dev root home var/tmp; do mount -t tmpfs none $d; done
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/urandom c 1 9
touch dev/console
echo "the log" > dev/log
mkdir dev/shm dev/pts run/lab
mount -t proc none proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount --bind "$1" run/lab
pivot_root . old
umount -l /old
! [ -e /old/etc ]
exec env -i container=test SYSTEMD_UNIT_PATH=/run/lab/units PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target --show-status=no --default-standard-output=null </dev/null
"""

# chroot(2) into a folder below while the working directory stays above it, then up: the classic way out.
ESCAPE = r"""
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void) {
    int i;
    struct stat s;
    mkdir("/out/x", 0755);
    if (chroot("/out/x")) { puts("refused"); return 0; }
    for (i = 0; i < 64; i++) chdir("..");
    if (chroot(".")) { puts("refused"); return 0; }
    puts(stat("/out/x", &s) ? "outside" : "inside");
    return 0;
}
"""

REPORT = r"""
cd /out
{ echo "id=$(busybox id -u):$(busybox id -g)"
  echo "pwd=$PWD"
  echo "env=$A"
  B=own; echo "dollar=${B}"
  busybox test -e /run/lab/units && echo outside=seen || echo outside=unseen
  echo "log=$(busybox cat /dev/log)"
  busybox grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status
  echo "escape=$(/bin/escape)"
  busybox mknod /out/node c 1 3 2>/dev/null && echo mknod=made || echo mknod=refused
  busybox mount -t tmpfs none /out 2>/dev/null && echo mount=made || echo mount=refused
  busybox unshare -m true 2>/dev/null && echo unshare=made || echo unshare=refused
  echo x > /out/suid && busybox chmod 4755 /out/suid 2>/dev/null && echo suid=made || echo suid=refused
} > report 2>&1
busybox mv report done
exec busybox sleep 1000
"""


@pytest.fixture
def public() -> Iterator[Path]:
    with public_folder() as folder:
        yield folder


@pytest.fixture
def group() -> Iterator[Path]:
    """Make a control group of the second version for the namespace to be rooted in."""
    with open("/proc/mounts", encoding="utf-8") as file:
        mounts = [line.split()[1] for line in file if line.split()[2] == "cgroup2"]
    if not mounts:
        pytest.skip("needs cgroup2")
    path = Path(mounts[0], f"chrootbuild-test-{os.getpid()}")
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"needs a control group: {error}")
    yield path
    for folder, _, _ in os.walk(path, topdown=False):
        for _ in range(100):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
                break
            time.sleep(0.05)


def make_root(where: Path) -> Path:
    """Make a root with busybox and the program that tries to leave it."""
    root = where / "root"
    for path in ("bin", "dev", "proc", "out"):
        (root / path).mkdir(parents=True)
    root.joinpath("out").chmod(0o777)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    root.joinpath("bin/sh").symlink_to("busybox")
    source = where / "escape.c"
    source.write_text(ESCAPE)
    subprocess.run(["cc", "-static", "-w", "-o", root / "bin/escape", source], check=True)
    return root


def boot(where: Path, group: Path, unit: str) -> dict[str, str]:
    """Start a systemd with this unit, and return what its service reports."""
    units = where / "units"
    units.mkdir()
    for name in ("sysinit", "basic", "shutdown", "multi-user", "network", "umount"):
        units.joinpath(f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    wants = "[Unit]\nDefaultDependencies=no\nWants=chroot-web.service\n"
    units.joinpath("test.target").write_text(wants)
    units.joinpath("chroot-web.service").write_text(unit)
    join = f'echo 0 > "{group}/cgroup.procs"; exec "$@"'
    spaces = ["--mount", "--pid", "--cgroup", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
    argv = ["sh", "-ec", join, "sh", "unshare", *spaces, "sh", "-c", BOOT, "sh", str(where)]
    done = where / "root/out/done"
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(600):
                if done.exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
        finally:
            process.kill()
        assert done.exists(), process.stderr.read() if process.stderr else ""
    lines = [line.replace(":\t", "=").partition("=") for line in done.read_text().splitlines()]
    return {key: value for key, _, value in lines}


def unit_of(where: Path, more: str = "") -> str:
    text = (
        f'root = "/run/lab/root"\nos = "linux"\nsysroot = "{make_sysroot(where / "sysroot")}"\n'
        f'mounts = ["/proc"]\n[syslog]\nsocket = true\n'
        f"[check.service]\nstart = ['/bin/busybox', 'sh', '-c', '''{REPORT}''']\n"
        f'env = {{ A = "100% it\'s $A" }}\n{more}'
    )
    return snippets(where, text, "unit")[0].content


def test_a_service_of_root_is_closed_in(public: Path, group: Path) -> None:
    root = make_root(public)
    # A plain chroot(8) is left at once: the test can tell.
    escaped = subprocess.run(["chroot", root, "/bin/escape"], capture_output=True, text=True, check=True)
    assert escaped.stdout == "outside\n"
    root.joinpath("out/x").rmdir()
    report = boot(public, group, unit_of(public))
    kept = sum(1 << number for number in KEPT.values())
    assert int(report.pop("CapBnd"), 16) == int(report.pop("CapEff"), 16) == kept
    assert report == {
        "id": "0:0",
        "pwd": "/out",
        "env": "100% it's $A",
        "dollar": "own",
        "outside": "unseen",
        "log": "the log",
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "escape": "inside",
        "mknod": "refused",
        "mount": "refused",
        "unshare": "refused",
        "suid": "refused",
    }


def test_a_service_of_another_user_has_no_capability(public: Path, group: Path) -> None:
    make_root(public)
    report = boot(public, group, unit_of(public, 'user = "nobody"'))
    assert int(report["CapBnd"], 16) == int(report["CapEff"], 16) == 0
    assert report["id"].startswith("65534:")
    assert (report["escape"], report["NoNewPrivs"], report["Seccomp"]) == ("refused", "1", "2")
    assert (report["log"], report["mknod"], report["mount"]) == ("the log", "refused", "refused")
