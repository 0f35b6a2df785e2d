"""Sockets of a network namespace, by the tables of proc_pid_net(5)."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


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


def _address(digits: str) -> str:
    """Decode an address of these tables: 32-bit words in the machine's byte order."""
    packed = bytes.fromhex(digits)
    if sys.byteorder == "little":
        packed = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
