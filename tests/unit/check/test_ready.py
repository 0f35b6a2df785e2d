from __future__ import annotations

import re
import socket
import struct
import sys
from pathlib import Path

import pytest

from chrootbuild.check.ready import Ready, parse_ready
from chrootbuild.check.service import last_lines, stop_signal
from chrootbuild.errors import Failure
from chrootbuild.system.sockets import Bound, bound


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("", Ready("")),
        ("tcp:127.0.0.1:8080", Ready("tcp", "127.0.0.1", 8080)),
        ("udp:0.0.0.0:53", Ready("udp", "0.0.0.0", 53)),
        ("tcp:[::1]:80", Ready("tcp", "::1", 80)),
        ("tcp:[0:0::1]:80", Ready("tcp", "::1", 80)),
        ("unix:/run/x:y", Ready("unix", "/run/x:y")),
        ("file:/run/x.pid", Ready("file", "/run/x.pid")),
        ("test -e $ROOT/x", Ready("command", "test -e $ROOT/x")),
        ("redis-cli -p 1 ping | grep -q tcp:", Ready("command", "redis-cli -p 1 ping | grep -q tcp:")),
    ],
)
def test_ready_is_parsed(text: str, ready: Ready) -> None:
    assert parse_ready(text) == ready


@pytest.mark.parametrize(
    "text",
    [
        "tcp:8080",
        "tcp:localhost:80",
        "tcp:127.0.0.1:0",
        "tcp:127.0.0.1:65536",
        "tcp:::1:80",
        "udp:",
        "tcp:1.2.3.4:٣",
    ],
)
def test_ready_that_is_no_address(text: str) -> None:
    with pytest.raises(Failure, match=re.escape(f"cannot read ready = {text!r}: it is no address and port")):
        parse_ready(text)


@pytest.mark.parametrize("text", ["unix:run/x", "file:"])
def test_ready_that_is_no_path(text: str) -> None:
    with pytest.raises(Failure, match="the path is not absolute"):
        parse_ready(text)


@pytest.mark.parametrize(
    ("name", "number"), [("TERM", 15), ("SIGINT", 2), ("quit", 3), ("9", 9), ("34", 34)]
)
def test_stop_signals(name: str, number: int) -> None:
    assert stop_signal(name) == number


@pytest.mark.parametrize("name", ["", "STOPIT", "0", "65", "-1"])
def test_no_stop_signal(name: str) -> None:
    with pytest.raises(Failure, match="there is no such signal"):
        stop_signal(name)


@pytest.mark.skipif(sys.byteorder != "little", reason="the samples are of a little-endian machine")
def test_the_kernels_tables_are_read(tmp_path: Path) -> None:
    # proc(5): taken from a machine where each socket was bound by hand.
    (tmp_path / "tcp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 28926 1 0 100 0\n"
        "   1: 0100007F:1F90 0100007F:BEEF 01 00000000:00000000 00:00000000 00000000     0        0 28927 1 0 100 0\n"
    )
    (tmp_path / "tcp6").write_text(
        "  sl  local_address                         remote_address                        st tx_queue rx_queue\n"
        "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 2 1\n"
        "   1: B80D0120000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 3 1\n"
        "   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4 1\n"
    )
    assert bound(str(tmp_path), "tcp") == [
        Bound("127.0.0.1", 8080, 28926),
        Bound("::1", 80, 2),
        Bound("2001:db8::1", 81, 3),
        Bound("127.0.0.1", 82, 4),
    ]


def test_this_process_is_found_in_the_tables() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(type=socket.SOCK_DGRAM) as datagram,
        socket.create_connection(server.getsockname()),
    ):
        datagram.bind(("127.0.0.1", 0))
        for one, protocol in ((server, "tcp"), (datagram, "udp")):
            port = one.getsockname()[1]
            assert [
                (each.address, each.port) for each in bound("/proc/self/net", protocol) if each.port == port
            ] == [("127.0.0.1", port)]


def test_the_last_lines_of_an_output() -> None:
    assert last_lines(b"", "it printed") == []
    assert last_lines(b"\n \n", "it printed") == []
    assert last_lines(b"a\r\nb\n", "it printed") == ["it printed:", "  a", "  b"]
    many = last_lines(b"".join(b"%d\n" % number for number in range(100)), "it printed")
    assert many == ["it printed, at the end:", *(f"  {number}" for number in range(90, 100))]
    [_, long] = last_lines(b"x" * 10_000, "it printed")
    assert long == "  " + "x" * 240 + "..."
    assert last_lines(struct.pack("4B", 0xFF, 0, 0x1B, 0x41), "it")[1] == "  �\0\x1bA"
