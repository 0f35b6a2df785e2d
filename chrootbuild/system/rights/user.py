"""The user that a program runs as, and what it may do."""

from __future__ import annotations

import os
from dataclasses import dataclass

# Numbers of include/uapi/linux/capability.h: what services need to bind, to change user, to chroot
# and to care for their files. Left out is all that reaches beyond the root: SYS_ADMIN, MKNOD,
# SYS_PTRACE, SYS_MODULE, SYS_TIME, DAC_READ_SEARCH (open_by_handle_at(2) is a way out), ...
KEPT = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
}
# In a box: an audit record is the machine's, whoever writes it; system/seccomp.py says why PAM does without.
CONFINED = {name: number for name, number in KEPT.items() if name != "CAP_AUDIT_WRITE"}
# Of a command of the host in a box: also what sets up a root and the box's own network.
OUTSIDE = KEPT | {"CAP_NET_ADMIN": 12, "CAP_SETFCAP": 31}


@dataclass(frozen=True, slots=True)
class User:
    """The credentials of a program; numbers only, for the root may have no names."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT = User(0, 0)


def privileged() -> bool:
    """Return whether we can set owners and make device nodes."""
    return os.geteuid() == 0
