"""truss's text, and dtruss's."""

from __future__ import annotations

from chrootbuild.trace.calls import Name
from chrootbuild.trace.truss import parse
from tests.support.trace_sysroot import events, sample, shown


def test_the_sample_of_the_facts() -> None:
    """-f -d: pids, times, a fork, an exec that does not return."""
    found = sample("truss-f-d.txt")
    assert shown(found) == [
        ("read", "/etc/libmap.conf", "ENOENT"),
        ("read", "/var/run/ld-elf.so.hints", ""),
        ("access", "/lib/libz.so.6", ""),
        ("exec", "/bin/date", ""),
        ("stat", "/etc/localtime", "ENOENT"),
    ]
    assert [event.pid for event in found] == [1201, 1201, 1201, 1202, 1202]


def test_prefixes() -> None:
    """-H with and without -f, -d and -D."""
    call = 'chdir("/a")\t\t\t = 0 (0x0)'
    for prefix, pid in {
        "": 0,
        "12: ": 12,
        " 1201: 0.000123456 ": 1201,
        "1201 100123: ": 1201,
        "1201 100123: 1.000000000 0.000000123 ": 1201,
    }.items():
        (found,) = parse(prefix + call)
        assert (found.pid, found.names) == (pid, (Name("/a"),))


def test_escapes_of_vis() -> None:
    text = r'chdir("/a\^A\M-c\M^@\\\"b\n")' + "\t = 0 (0x0)"
    (call,) = parse(text)
    assert call.names[0].text.encode("utf-8", "surrogateescape") == b'/a\x01\xe3\x80\\"b\n'


def test_a_name_cut_short_is_none() -> None:
    assert list(parse("unlink(\"/aaaa\"...)\t ERR#2 'No such file or directory'")) == []


def test_sockets_and_ids() -> None:
    text = (
        '1: connect(3,{ AF_UNIX "/var/run/logpriv" },106)\t = 0 (0x0)\n'
        "1: setuid(0x50)\t\t\t = 0 (0x0)\n"
        "1: process exit, rval = 0\n"
    )
    found = events(text)
    assert shown(found) == [("connect", "/var/run/logpriv", "")]
    assert [getattr(event, "users", None) for event in found] == [None, (80,)]


def test_dtruss() -> None:
    """The DTrace toolkit's: a NUL behind each string, and its own way of saying errors."""
    text = (
        'open("/etc/localtime\\0", 0x0, 0x1B6)\t\t = -1 Err#2\n'
        '  472/0x1:  stat("/etc/a\\0", 0x7FFF, 0x0)\t\t = 0 0\n'
    )
    assert [(call.pid, call.names[0].text, call.errno) for call in parse(text)] == [
        (0, "/etc/localtime", "ENOENT"),
        (472, "/etc/a", ""),
    ]
