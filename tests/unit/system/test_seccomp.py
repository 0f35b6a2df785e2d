"""The filter of system calls, run by an interpreter of classic BPF: each machine's, without the machine."""

from __future__ import annotations

import errno
import struct
import sys

import pytest

from chrootbuild.system.rights.seccomp import filter_code

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
TIOCSTI, TIOCLINUX, TCGETS = 0x5412, 0x541C, 0x5401
# AUDIT_ARCH_*, add_key, request_key, keyctl, ioctl, socket, openat: as scmp_sys_resolver(1) says them.
INTERFACES = {
    ("x86_64", "x86_64"): (0xC000003E, 248, 249, 250, 16, 41, 257),
    ("x86_64", "i386"): (0x40000003, 286, 287, 288, 54, 359, 295),
    ("i686", "i386"): (0x40000003, 286, 287, 288, 54, 359, 295),
    ("aarch64", "aarch64"): (0xC00000B7, 217, 218, 219, 29, 198, 56),
    ("aarch64", "arm"): (0x40000028, 309, 310, 311, 54, 281, 322),
    ("armv7l", "arm"): (0x40000028, 309, 310, 311, 54, 281, 322),
    ("riscv64", "riscv64"): (0xC00000F3, 217, 218, 219, 29, 198, 56),
    ("ppc64le", "ppc64le"): (0xC0000015, 269, 270, 271, 54, 326, 286),
    ("s390x", "s390x"): (0x80000016, 278, 279, 280, 54, 359, 288),
}


def verdict(machine: str, arch: int, number: int, *arguments: int) -> int:
    """Run the filter of a machine over a system call."""
    words = [*arguments, *[0] * 6][:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *words)
    code, at, value = filter_code(machine), 0, 0
    while True:
        step, then, otherwise, constant = code[at]
        at += 1
        if step == 0x20:
            value = struct.unpack_from("=I", data, constant)[0]
        elif step == 0x06:
            return constant
        else:
            met = {0x15: value == constant, 0x35: value >= constant}[step]
            at += then if met else otherwise


@pytest.mark.parametrize(("machine", "interface"), INTERFACES)
def test_each_interface_of_each_machine(machine: str, interface: str) -> None:
    arch, add_key, request_key, keyctl, ioctl, socket, openat = INTERFACES[machine, interface]
    for number in (add_key, request_key, keyctl):
        assert verdict(machine, arch, number) == ERRNO | errno.ENOSYS
        assert verdict(machine, arch, number + 7) == ALLOW
    for request in (TIOCSTI, TIOCLINUX, 0xABCD_0000_0000 | TIOCSTI):  # the kernel takes 32 bits of it
        assert verdict(machine, arch, ioctl, 0, request) == ERRNO | errno.EPERM
    assert verdict(machine, arch, ioctl, TIOCSTI, TCGETS) == ALLOW
    assert verdict(machine, arch, socket, 16, 3, 9) == ERRNO | errno.EPROTONOSUPPORT
    for family, protocol in ((16, 0), (2, 9), (9, 16)):
        assert verdict(machine, arch, socket, family, 3, protocol) == ALLOW
    assert verdict(machine, arch, openat) == ALLOW


def test_no_other_interface_is_a_way_round() -> None:
    assert verdict("x86_64", 0xC000003E, 0x40000000 | 257) == ERRNO | errno.ENOSYS  # x32
    assert verdict("x86_64", 0xC000003E, 0xFFFFFFFF) == ERRNO | errno.ENOSYS
    assert verdict("x86_64", 0xC00000B7, 56) == ERRNO | errno.ENOSYS


def test_a_machine_that_is_not_known_has_no_filter() -> None:
    assert filter_code("mips64") == []
    assert sys.byteorder in ("little", "big")
