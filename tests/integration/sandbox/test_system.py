"""A whole system on an overlay: what learn's first run sees of this machine, or of another tree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.artifact import Device
from chrootbuild.sandbox.box import Box
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from tests.support.confine_lab import leftovers, make_root

pytestmark = [pytest.mark.root, pytest.mark.namespaces]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() == before


def sh(box: Box, command: str) -> str:
    process = box.inside(("/bin/sh", "-c", command), name="sh")
    assert box.wait(process, 20) is not None
    return box.output("sh").decode()


def test_this_machine_is_seen_and_stays_as_it_is() -> None:
    with confine(Confinement("/", system=True)) as box:
        assert sh(box, "cat /etc/passwd") == Path("/etc/passwd").read_text()
        assert sh(box, "echo x >/etc/chrootbuild-test; rm /etc/passwd; cat /etc/chrootbuild-test") == "x\n"
        box.end()
        assert box.changed() == ("/etc/chrootbuild-test",)
    assert os.path.exists("/etc/passwd")
    assert not os.path.exists("/etc/chrootbuild-test")


def test_its_devices_are_the_harmless_ones_alone() -> None:
    with confine(Confinement("/", system=True)) as box:
        names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
        assert sh(box, "echo $(ls /dev)") == f"{names}\n"
        assert sh(box, "echo x >/dev/null && head -c 2 /dev/zero | wc -c") == "2\n"
        assert "Operation not permitted" in sh(box, "mknod /tmp/x b 8 0")


def test_its_processes_are_its_own_and_the_kernel_is_read_only() -> None:
    with confine(Confinement("/", system=True)) as box:
        assert sh(box, "cat /proc/1/comm; echo /proc/[0-9]*").split()[1:] == ["/proc/1", "/proc/2"]
        assert "Read-only" in sh(box, "echo x >/proc/sys/kernel/hostname")
        assert "Read-only" in sh(box, "mkdir /sys/x 2>&1")


def test_prepare_adds_an_account_that_only_the_overlay_has() -> None:
    with confine(Confinement("/", system=True)) as box:
        with os.fdopen(box.open("/etc/passwd", os.O_WRONLY | os.O_APPEND), "a") as file:
            file.write("ctuser:x:4242:4242::/home/ctuser:/bin/sh\n")
        assert sh(box, "tail -1 /etc/passwd").startswith("ctuser:")
    assert "ctuser" not in Path("/etc/passwd").read_text()


def test_file_systems_below_it_are_overlaid_too(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
system = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "data", f"{system}/var"], check=True)
subprocess.run(["mount", "-t", "proc", "proc", f"{system}/proc"], check=True)
subprocess.run(["mount", "--bind", f"{system}/bin/does", f"{system}/file"], check=True)
open(f"{system}/var/x", "w").write("below\\n")
with confine(Confinement(system, system=True)) as box:
    process = box.inside(("does", "cat", "/var/x", "write", "/var/x", "cat", "/var/x"), name="x")
    assert box.wait(process, 20) == 0, box.output("x")
    assert box.output("x") == b"below\\nwritten\\n", box.output("x")
    process = box.inside(("/file", "say", "bound", "write", "/file"), name="y")
    box.wait(process, 20)
    assert box.output("y") == b"bound\\n/file: Read-only file system\\n", box.output("y")
    box.end()
    assert box.changed() == ("/var/x",), box.changed()
assert open(f"{system}/var/x").read() == "below\\n"
print("passed")
"""
    system = make_root(tmp_path, "var", "proc", "sys", "dev")
    (system / "file").write_text("")
    argv = ["unshare", "--mount", sys.executable, "-c", script, str(system)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("passed\n", "")


@pytest.mark.cc
def test_more_devices_where_the_caller_knows_them(tmp_path: Path) -> None:
    system = make_root(tmp_path, "proc", "sys", "dev")
    devices = {"/dev/net/tun-like": Device(True, 1, 7)}
    with confine(Confinement(str(system), devices=devices, system=True)) as box:
        process = box.inside(("does", "write", "/dev/net/tun-like"), name="x")
        assert box.wait(process, 20) == 1
        assert b"No space left" in box.output("x")  # what /dev/full says
