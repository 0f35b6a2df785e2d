"""What of the kernel has no namespace: keyrings, audit, a terminal's input. As root and as an ordinary user."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.enter.enter import enter
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system.rights.user import User
from tests.support.confine_lab import make_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.cc,
    pytest.mark.namespaces,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="has the numbers of x86-64"),
]

ADD_KEY, REQUEST_KEY, KEYCTL, IOCTL, SOCKET = "248", "249", "250", "16", "41"
SESSION, USER = "-3", "-4"  # the special keyrings, include/uapi/linux/keyctl.h
ID, SEARCH = "0", "10"
ABSENT = "call: Function not implemented\n"
SECRET = b"the-callers-secret"


@pytest.fixture
def _secret() -> Iterator[None]:
    """A key in a session keyring of the caller's, and in the user keyring of root."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    name, text = b"chrootbuild-test", ctypes.c_char_p(SECRET)
    libc.syscall(250, 1, None)
    keys = []
    for ring in (-3, -4):
        key = libc.syscall(248, b"user", name, text, ctypes.c_size_t(len(SECRET)), ctypes.c_long(ring))
        assert key > 0, os.strerror(ctypes.get_errno())
        keys.append((key, ring))
    yield
    for key, ring in keys:
        libc.syscall(250, 9, ctypes.c_long(key), ctypes.c_long(ring))  # KEYCTL_UNLINK


CALLS = (
    *("call", KEYCTL, ID, SESSION, "0"),
    *("call", KEYCTL, ID, USER, "0"),
    *("call", KEYCTL, SEARCH, SESSION, "0"),
    *("call", ADD_KEY, "0", "0", "0"),
    *("call", REQUEST_KEY, "0", "0", "0"),
)


@pytest.mark.parametrize("user", [User(0, 0), User(42, 43)])
def test_a_program_of_the_root_has_no_keyrings(tmp_path: Path, user: User) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        process = box.inside(("does", *CALLS), name="x", user=user)
        assert box.wait(process, 20) == 0
        assert box.output("x").decode() == ABSENT * 5


def test_neither_under_trace(tmp_path: Path) -> None:
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        process = box.inside(("does", *CALLS), name="x", strace="/usr/bin/strace")
        assert box.wait(process, 20) == 0
        assert box.output("x").decode() == ABSENT * 5


def test_neither_in_enter(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert enter(str(make_root(tmp_path)), ("does", *CALLS, "call", IOCTL, "0", "0x5412", "0")) == 0
    assert capfd.readouterr().out == ABSENT * 5 + "call: Operation not permitted\n"


def test_a_32_bit_call_is_no_way_round(tmp_path: Path) -> None:
    words = ("call-as-i386", "288", ID, SESSION, "0", "call", hex(0x40000000 + 250), ID, SESSION, "0")
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert box.wait(box.inside(("does", *words), name="x"), 20) == 0
        said = box.output("x").decode().splitlines()
    assert [line.partition(": ")[2] for line in said] == ["Function not implemented"] * 2


_FIND = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
text = ctypes.create_string_buffer(64)
key = libc.syscall(250, 10, ctypes.c_long(-3), b"user", b"chrootbuild-test", 0)
print(key > 0 and libc.syscall(250, 11, ctypes.c_long(key), text, ctypes.c_size_t(64)), text.value)
"""


@pytest.mark.usefixtures("_secret")
def test_a_command_of_the_host_has_a_session_of_its_own(tmp_path: Path) -> None:
    """It is the host's, and trusted; what it is led to search for is not the caller's."""
    here = subprocess.run([sys.executable, "-c", _FIND], capture_output=True, text=True)
    assert here.stdout == f"{len(SECRET)} {SECRET!r}\n"
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert box.wait(box.outside((sys.executable, "-c", _FIND), name="x"), 20) == 0
        assert box.output("x") == b"False b''\n"


def test_what_types_into_a_terminal_is_refused(tmp_path: Path) -> None:
    words = ("call", IOCTL, "0", "0x5412", "0", "call", IOCTL, "0", "0x541c", "0")
    with confine(Confinement(str(make_root(tmp_path)))) as box:
        assert box.wait(box.inside(("does", *words), name="x"), 20) == 0
        assert box.output("x").decode() == "call: Operation not permitted\n" * 2


def test_audit_is_not_there(tmp_path: Path) -> None:
    """A program takes it for a kernel without audit, as PAM wants it, and has no capability for it."""
    words = ("call", SOCKET, "16", "3", "9", "call", SOCKET, "16", "3", "0", "cat", "/proc/self/status")
    with confine(Confinement(str(make_root(tmp_path, "proc")), ("/proc",))) as box:
        assert box.wait(box.inside(("does", *words), name="x"), 20) == 0
        refused, allowed, *status = box.output("x").decode().splitlines()
    assert (refused, allowed) == ("call: Protocol not supported", "call: done")
    bounding = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
    assert not bounding >> 29 & 1


_AS_USER = """
import sys
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.system.rights.user import User
with confine(Confinement(sys.argv[1])) as box:
    for user in (User(0, 0), User(42, 43)):
        box.wait(box.inside(("does", *sys.argv[2:]), name="x", user=user), 20)
        print(box.output("x").decode(), end="")
"""


@pytest.mark.nobody
def test_an_ordinary_users_box_is_as_closed(user_root: Path) -> None:
    argv = [sys.executable, "-c", _AS_USER, str(user_root), *CALLS]
    done = subprocess.run(argv, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (ABSENT * 10, "")
