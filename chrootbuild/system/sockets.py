"""A network namespace: its bound sockets (proc_pid_net(5)), its loopback interface, and its local addresses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from dataclasses import dataclass

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h
# From include/uapi/linux: sockios.h, if.h, netlink.h, rtnetlink.h.
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NETLINK_ROUTE, _RTM_NEWROUTE, _NLMSG_ERROR = 0, 24, 2
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE = 1, 4, 0x400
_RT_TABLE_LOCAL, _RTPROT_BOOT, _RT_SCOPE_HOST, _RTN_LOCAL, _RTA_OIF = 255, 3, 254, 2, 4


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket bound to a local address and port."""

    address: str  # as ipaddress writes it; 0.0.0.0 and :: are every address
    port: int
    inode: int


def bound(table: str, protocol: str) -> list[Bound]:
    """Return the bound sockets in a directory like /proc/PID/net: proc(5), the tables tcp, tcp6, udp, udp6.

    ``protocol`` is "tcp" (listening sockets) or "udp" (unconnected ones).
    """
    found = []
    for name in (protocol, f"{protocol}6"):
        try:
            with open(f"{table}/{name}", encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except FileNotFoundError:
            continue  # no IPv6 in this kernel
        for line in lines:
            words = line.split()
            where, peer, state, inode = words[1], words[2], words[3], int(words[9])
            if state == _LISTEN or (protocol == "udp" and peer.endswith(":0000")):
                address, _, port = where.partition(":")
                found.append(Bound(_address(address), int(port, 16), inode))
    return found


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


def _address(digits: str) -> str:
    """Decode an address of these tables: 32-bit words in the machine's byte order."""
    packed = bytes.fromhex(digits)
    if sys.byteorder == "little":
        packed = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
