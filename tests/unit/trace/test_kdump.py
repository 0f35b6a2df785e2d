"""kdump's text, FreeBSD 5 to 14."""

from __future__ import annotations

import pytest

from chrootbuild.trace.calls import freebsd
from chrootbuild.trace.events import Access
from chrootbuild.trace.kdump import parse
from tests.support.trace_sysroot import SAMPLES, events, sample, shown


def test_the_article_s_own_example() -> None:
    """[実行例 ほ]: ktrace /bin/date inside a root that lacks the time zones (FreeBSD 5)."""
    found = sample("kdump-freebsd5-date.txt")
    assert shown(found) == [
        ("exec", "/sbin/date", "ENOENT"),
        ("exec", "/bin/date", ""),
        ("access", "/etc/localtime", "ENOENT"),
        ("read", "/usr/share/zoneinfo/UTC", "ENOENT"),
        ("read", "/usr/share/zoneinfo/posixrules", "ENOENT"),
    ]
    assert {event.pid for event in found} == {472}
    assert found[-1].program == "/bin/date"


def test_forks_data_dumps_structures_and_two_names() -> None:
    """FreeBSD 10: GIO over several lines, STRU, PSIG, rename's two names, a socket."""
    assert shown(sample("kdump-freebsd10-cvs-fork.txt")) == [
        ("exec", "/usr/bin/cvs", ""),
        ("read", "/etc/libmap.conf", "ENOENT"),
        ("read", "/var/run/ld-elf.so.hints", ""),
        ("access", "/lib/libgnuregex.so.5", "ENOENT"),
        ("access", "/usr/lib/libgnuregex.so.5", ""),
        ("read", "/usr/lib/libgnuregex.so.5", ""),
        ("rename-from", "/tmp/cvs日本語.new", "EACCES"),
        ("rename-to", "/tmp/cvs日本語", "EACCES"),
        ("connect", "/var/run/log", "ENOENT"),
    ]


def test_threads_and_times() -> None:
    """FreeBSD 14, -H -T: two threads' calls overlap; a name relative to a descriptor stays so."""
    assert shown(sample("kdump-freebsd14-H-T.txt")) == [
        ("exec", "/usr/local/sbin/httpd", ""),
        ("read", "/etc/libmap.conf", ""),
        ("read", "/usr/local/etc/libmap.d", "ENOENT"),
        ("stat", "/usr/local/lib/libpcre2-8.so.0", ""),
        ("read", "/etc/spwd.db", "EACCES"),
        ("read", "/dev/random", "ENOENT"),
        ("read", "conf.d/ssl.conf", "ENOENT"),
    ]


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("0.000123 ", "-R"),
        ("-0.000007 ", "-R, negative"),
        ("1718000000.118211 ", "-T"),
        ("1718000000.118211345 ", "-T, nanoseconds"),
        ("1718000000.118211 0.000100 ", "-T -E"),
    ],
)
def test_time_columns(column: str, what: str) -> None:
    text = (
        f"   472 date     {column}CALL  chdir(0x80a6408)\n"
        f'   472 date     {column}NAMI  "/etc"\n'
        f"   472 date     {column}RET   chdir 0\n"
    )
    assert shown(events(text)) == [("enter", "/etc", "")], what


def test_numbers_alone() -> None:
    """-n: flags as numbers, results in hex, errors without their text; those of FreeBSD's fcntl.h."""
    text = (
        "   1 a        CALL  open(0x8004,0x601,0x1b6)\n"
        '   1 a        NAMI  "/var/log/a"\n'
        "   1 a        RET   open 0x3\n"
        "   1 a        CALL  open(0x8004,0x2,0)\n"
        '   1 a        NAMI  "/var/db/a"\n'
        "   1 a        RET   open -1 errno 13\n"
        "   1 a        CALL  access(0x8004,0x1)\n"
        '   1 a        NAMI  "/bin/b"\n'
        "   1 a        RET   access 0\n"
    )
    found = [event for event in events(text) if isinstance(event, Access)]
    assert [(event.deed, event.path, event.errno, event.creates) for event in found] == [
        ("write", "/var/log/a", "", True),
        ("update", "/var/db/a", "EACCES", False),
        ("access-exec", "/bin/b", "", False),
    ]


def test_names_and_processes_that_would_mislead() -> None:
    """A command's name with blanks, or a number; a name with quotes; an ABI column; a long name."""
    text = (
        "   1 Web Content CALL  chdir(0x1)\n"
        '   1 Web Content NAMI  "/a "b" c"\n'
        "   1 Web Content RET   chdir 0\n"
        "   2 123      CALL  F64  chdir(0x1)\n"
        '   2 123      NAMI  "/n"\n'
        "   2 123      RET   chdir 0\n"
    )
    assert [(call.pid, call.program, call.names[0].text) for call in parse(text)] == [
        (1, "Web Content", '/a "b" c'),
        (2, "123", "/n"),
    ]


def test_a_dump_of_data_is_no_record() -> None:
    """Text of a write(2) that looks like kdump's own lines: it is indented deeper than any pid."""
    text = (
        "   472 date     CALL  write(0x1,0x80ad000,0x1d)\n"
        "   472 date     GIO   fd 1 wrote 29 bytes\n"
        '       "line\n'
        '       999 evil     NAMI  "/etc/shadow"\n'
        '\t   999 evil     NAMI  "/etc/shadow"\n'
        "   472 date     RET   write 29/0x1d\n"
    )
    assert list(parse(text)) == []


def test_error_numbers_are_freebsd_s() -> None:
    """errno.h: they differ from Linux's above 34."""
    numbers = {2: "ENOENT", 17: "EEXIST", 35: "EAGAIN", 45: "EOPNOTSUPP", 62: "ELOOP", 63: "ENAMETOOLONG"}
    assert {number: freebsd(number) for number in numbers} == numbers
    assert (freebsd(66), freebsd(70), freebsd(78), freebsd(4711)) == (
        "ENOTEMPTY",
        "ESTALE",
        "ENOSYS",
        "E4711",
    )


def test_a_call_left_open() -> None:
    text = "   1 a        CALL  open(0x1,0)\n" + '   1 a        NAMI  "/fifo"\n'
    assert [(call.names[0].text, call.errno) for call in parse(text)] == [("/fifo", "?")]


def test_samples_are_read_as_bytes_too() -> None:
    data = (SAMPLES / "kdump-freebsd5-date.txt").read_bytes()
    assert list(parse(data)) == list(parse(data.decode())) == list(parse(data.replace(b"\n", b"\r\n")))
