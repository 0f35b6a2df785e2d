"""A seccomp(2) filter for what of the kernel has no namespace: keyrings, audit, and a terminal's input.

Refused are add_key(2), request_key(2) and keyctl(2) (ENOSYS, as by a kernel without keyrings: the
keys of a user are those of the same number outside), TIOCSTI and TIOCLINUX (EPERM: both type into a
terminal), and the sockets of audit (EPROTONOSUPPORT, as by a kernel without audit: PAM then goes
on, where EPERM from a message would end each login). io_uring(7) is left alone, for it has no
operation that does any of these with effect: without CAP_AUDIT_WRITE an audit socket sends nothing.
All else is allowed: what is privileged is a matter of capabilities.

Each system call interface of the machine is filtered by its own numbers, so that a 32-bit program is no
way round; x32, and any other interface, is refused as a whole. On a machine that is not in the
table there is no filter. Sources: seccomp(2), Documentation/userspace-api/seccomp_filter.rst,
include/uapi/linux: seccomp.h, filter.h, audit.h, elf-em.h; arch/*/entry/syscalls.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from chrootbuild.system import syscalls


class _Interface(NamedTuple):
    """A system call interface: its AUDIT_ARCH_*, and the numbers of its calls."""

    arch: int
    add_key: int
    request_key: int
    keyctl: int
    ioctl: int
    socket: int


_GENERIC = (217, 218, 219, 29, 198)
_POWERPC = (269, 270, 271, 54, 326)
_S390 = (278, 279, 280, 54, 359)
_I386 = _Interface(0x40000003, 286, 287, 288, 54, 359)
_ARM = _Interface(0x40000028, 309, 310, 311, 54, 281)
_X86_64 = _Interface(0xC000003E, 248, 249, 250, 16, 41)
# By the name of the machine (uname(2)) the interfaces that its kernels have; the native one first.
_INTERFACES = {
    "x86_64": (_X86_64, _I386),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), (_I386,)),
    "aarch64": (_Interface(0xC00000B7, *_GENERIC), _ARM),
    **dict.fromkeys(("armv5tel", "armv6l", "armv7l", "armv8l"), (_ARM,)),
    "riscv64": (_Interface(0xC00000F3, *_GENERIC), _Interface(0x400000F3, *_GENERIC)),
    "loongarch64": (_Interface(0xC0000102, *_GENERIC),),
    "ppc64le": (_Interface(0xC0000015, *_POWERPC),),
    "ppc64": (_Interface(0x80000015, *_POWERPC), _Interface(20, *_POWERPC)),
    "s390x": (_Interface(0x80000016, *_S390), _Interface(22, *_S390)),
}
_X32 = 0x40000000  # __X32_SYSCALL_BIT; such a call says AUDIT_ARCH_X86_64
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # asm-generic/ioctls.h, powerpc's too
_AF_NETLINK, _NETLINK_AUDIT = 16, 9
_JOIN_SESSION_KEYRING = 1  # include/uapi/linux/keyctl.h

# Classic BPF: an instruction is a code, two jumps and a constant. struct seccomp_data has the
# call's number at 0, its AUDIT_ARCH_* at 4, its arguments (64 bits each) from 16 on.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_Code = list[tuple[int, int, int, int]]


def confine_calls() -> None:
    """Set the filter for this process and all that it becomes.

    It needs CAP_SYS_ADMIN, since no_new_privs stays unset: services use su(1) and the like. Raises OSError.
    """
    if code := filter_code(os.uname().machine):
        syscalls.set_filter(b"".join(struct.pack("=HBBI", *step) for step in code))


def new_session_keyring() -> None:
    """Give this process an empty session keyring of its own; nothing where there are no keyrings. Raises OSError."""
    interfaces = _INTERFACES.get(os.uname().machine)
    if interfaces is None:
        return
    native = interfaces[-1 if struct.calcsize("P") == 4 else 0]
    try:
        syscalls.by_number(native.keyctl, _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        # A filter that a container set may refuse it: then whatever we start is refused it, too.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def filter_code(machine: str) -> _Code:
    """Return the filter of a machine, as instructions of classic BPF; empty for an unknown one."""
    interfaces = _INTERFACES.get(machine)
    if interfaces is None:
        return []
    code: _Code = [(_LOAD, 0, 0, 4)]
    for interface in interfaces:
        code += _when(interface.arch, _of_interface(interface))
    return [*code, _refuse(errno.ENOSYS)]


def _of_interface(interface: _Interface) -> _Code:
    keys = (interface.add_key, interface.request_key, interface.keyctl)
    audit = [
        *_argument(0),
        *_when(_AF_NETLINK, [*_argument(2), *_refused((_NETLINK_AUDIT,), errno.EPROTONOSUPPORT)]),
    ]
    return [
        (_LOAD, 0, 0, 0),
        *([(_AT_LEAST, 0, 1, _X32), _refuse(errno.ENOSYS)] if interface is _X86_64 else []),
        *_refused(keys, errno.ENOSYS),
        *_when(interface.ioctl, [*_argument(1), *_refused((_TIOCSTI, _TIOCLINUX), errno.EPERM), _allow()]),
        *_when(interface.socket, audit),
        _allow(),
    ]


def _argument(number: int) -> _Code:
    """Load the lower 32 bits of an argument: the kernel takes no more of an ioctl's or socket's."""
    return [(_LOAD, 0, 0, 16 + 8 * number + (0 if sys.byteorder == "little" else 4))]


def _when(value: int, code: _Code) -> _Code:
    return [(_EQUAL, 0, len(code), value), *code]


def _refused(values: Iterable[int], number: int) -> _Code:
    return [step for value in values for step in _when(value, [_refuse(number)])]


def _refuse(number: int) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _ERRNO | number


def _allow() -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _ALLOW
