"""The network namespace of a box: its loopback interface, and the addresses that are local to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

# From include/uapi/linux: sockios.h, if.h, netlink.h, rtnetlink.h.
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NETLINK_ROUTE, _RTM_NEWROUTE, _NLMSG_ERROR = 0, 24, 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE = 1, 4, 0x400
_RT_TABLE_LOCAL, _RTPROT_BOOT, _RT_SCOPE_HOST, _RTN_LOCAL, _RTA_OIF = 255, 3, 254, 2, 4


def loopback_up() -> None:
    """Bring lo up in a new network namespace; its addresses come with it. Raises OSError.

    In one that is in use (EBUSY) it changes nothing: lo is down only where nobody has been.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        flags = struct.unpack_from("16xH", answer)[0]
        if flags & _IFF_UP:
            raise OSError(errno.EBUSY, "the network namespace is not a new one", "lo")
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def answer_everywhere() -> None:
    """Make every address local to lo, so that a service can bind to this machine's real address.

    Nothing leaves the namespace. An address family that the kernel lacks is skipped.
    Needs /proc mounted. Raises OSError.
    """
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv6/ip_nonlocal_bind", "w") as switch:
        switch.write("1")  # for IPv6 a local route does not suffice for bind(2)
    index = struct.pack("=HHi", 8, _RTA_OIF, socket.if_nametoindex("lo"))
    for family in (socket.AF_INET, socket.AF_INET6):
        kind = (_RT_TABLE_LOCAL, _RTPROT_BOOT, _RT_SCOPE_HOST, _RTN_LOCAL, 0)
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, *kind) + index
        flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as route:
            route.sendto(struct.pack("=IHHII", 16 + len(body), _RTM_NEWROUTE, flags, 1, 0) + body, (0, 0))
            answer = route.recv(4096)
        kind_of_answer, error = struct.unpack_from("=4xH10xi", answer)[:2]
        number = -error if kind_of_answer == _NLMSG_ERROR else 0
        if number and (family == socket.AF_INET or number not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)):
            raise OSError(number, os.strerror(number), "lo")
