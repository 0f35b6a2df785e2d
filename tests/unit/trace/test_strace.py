"""strace's text: every form its options give, as strace 6.1 wrote them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.trace.calls import AT_FDCWD, LINE_LIMIT, Call, Name
from chrootbuild.trace.follow import follow
from chrootbuild.trace.open import events_of
from chrootbuild.trace.strace import parse, parse_files
from tests.support.trace_sysroot import SAMPLES, events, shown


def one(line: str) -> Call:
    """Return the only call of a text."""
    (call,) = parse(line)
    return call


OPEN = 'openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3'


@pytest.mark.parametrize(
    ("line", "pid"),
    [
        (OPEN, 0),
        (f"19913 {OPEN}", 19913),
        (f"[pid 19913] {OPEN}", 19913),
        (f"[pid  42] {OPEN}", 42),
        (f"06:16:26 {OPEN}", 0),
        (f"19913 06:16:26.062674 {OPEN}", 19913),
        (f"19913 1795500986.190559 {OPEN}", 19913),
        (f"     0.000136 {OPEN}", 0),
        (f"16615      0.000136 [ 257] {OPEN}", 16615),
        (f"12 08:20:55 (+     0.000131) {OPEN}", 12),
        (f"16633 [00007f7aa7ab5409] {OPEN}", 16633),
        (f"16621<python3> 08:20:55.433108 {OPEN}", 16621),
        (f"[pid 16621<a b>] {OPEN}", 16621),
        (f"19913 {OPEN} <0.000056>", 19913),
    ],
)
def test_prefix(line: str, pid: int) -> None:
    """-f, -o, -t, -tt, -ttt, -r, -n, -i, -Y and -T."""
    call = one(line)
    assert (call.pid, call.name, call.result, call.errno) == (pid, "openat", 3, "")
    assert call.names == (Name("/etc/hosts"),)


def test_paths_behind_descriptors() -> None:
    """-y: the directory, the opened file, and what was deleted."""
    call = one('1 openat(AT_FDCWD</srv/www>, "a.conf", O_RDONLY) = 3</etc/a\\76b.conf>')
    assert call.names == (Name("a.conf", AT_FDCWD, "/srv/www"),)
    assert call.opened == "/etc/a>b.conf"
    call = one('1 openat(7</srv, x(y>, "b", O_RDONLY) = 4</srv, x(y/b>')
    assert call.names == (Name("b", 7, "/srv, x(y"),)
    call = one("1 fchdir(5</tmp/gone>(deleted)) = 0")
    assert call.names == (Name("", 5, "/tmp/gone"),)
    call = one(
        '1 newfstatat(AT_FDCWD</tmp/dd (deleted)>, "zz", 0x7ffe4, 0) = -1 ENOENT (No such file or directory)'
    )
    assert (call.names, call.errno) == ((Name("zz", AT_FDCWD, "/tmp/dd"),), "ENOENT")


def test_devices_and_sockets_behind_descriptors() -> None:
    """-yy adds device numbers and addresses."""
    assert one('1 openat(AT_FDCWD, "/dev/null", O_RDWR) = 3</dev/null<char 1:3>>').opened == "/dev/null"
    text = '1 connect(4<TCP:[127.0.0.1:80->127.0.0.1:9]>, {sa_family=AF_UNIX, sun_path="/dev/log"}, 110) = 0'
    assert one(text).names == (Name("/dev/log"),)


def test_quoted_names() -> None:
    """C escapes, octal of one to three digits, and -xx."""
    names = {
        r'"\346\227\245\346\234\254"': "日本",
        r'"a\"b\\c"': 'a"b\\c',
        r'"n\nl\tt"': "n\nl\tt",
        r'"\0019"': "\x019",
        r'"\377"': "\udcff",
        r'"\x2f\x65\x74\x63"': "/etc",
        '"a, b) = 3"': "a, b) = 3",
    }
    for quoted, name in names.items():
        assert one(f"chdir({quoted}) = 0").names[0].text == name


def test_a_shortened_string_is_no_name() -> None:
    assert list(parse('unlink("/tmp/aaaaaaaa"...) = 0')) == []


def test_a_call_cut_in_two_is_glued() -> None:
    """The rest may be empty, a bracket, or more arguments."""
    text = (
        '1 openat(AT_FDCWD, "/a", O_RDONLY <unfinished ...>\n'
        '2 newfstatat(AT_FDCWD</>, "/b",  <unfinished ...>\n'
        "1 <... openat resumed>)             = -1 ENOENT (No such file or directory)\n"
        "2 <... newfstatat resumed>{st_mode=S_IFREG|0644, st_size=1, ...}, 0) = 0\n"
    )
    assert [(call.pid, call.names[0].text, call.errno) for call in parse(text)] == [
        (1, "/a", "ENOENT"),
        (2, "/b", ""),
    ]


def test_a_resumed_call_without_its_beginning_is_passed_over() -> None:
    assert list(parse("1 <... openat resumed>) = 3\n2 +++ exited with 0 +++\n")) == [Call(2, "+exit")]


def test_a_call_that_never_returns() -> None:
    """The process is killed in it, or the trace ends."""
    text = (
        '1 openat(AT_FDCWD, "/fifo", O_RDONLY <unfinished ...>\n'
        '2 execve("/bin/a", ["a"], 0x7ff /* 2 vars */ <unfinished ...>\n'
        "1 +++ killed by SIGKILL +++\n"
    )
    assert [(call.name, call.errno) for call in parse(text)] == [
        ("openat", "?"),
        ("+exit", ""),
        ("execve", "?"),
    ]


def test_exec_and_its_arguments() -> None:
    call = one('1 execve("/bin/date", ["date", "-d", "a b"], 0x7ffd /* 20 vars */) = 0')
    assert (call.names[0].text, call.words) == ("/bin/date", ("date", "-d", "a b"))
    call = one('1 execveat(3</bin>, "date", ["date"], 0x7ffd /* 2 vars */, 0) = 0')
    assert (call.names, call.words) == ((Name("date", 3, "/bin"),), ("date",))


def test_what_is_no_call() -> None:
    """Signals, stack traces, strace's and the program's own words."""
    text = (
        "strace: Process 12 attached\n"
        "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---\n"
        " > /usr/lib/libc.so.6(_exit+0x29) [0xd4409]\n"
        "hello, world\n"
        "% time     seconds  usecs/call\n"
        "restart_syscall(<... resuming interrupted read ...>) = 0\n"
        'openat(AT_FDCWD, "/never/closed, O_RDONLY\n'
        "open(0x7ffd3, O_RDONLY) = -1 EFAULT (Bad address)\n"
        "\n"
    )
    assert list(parse(text)) == []


def test_interrupted_and_unknown_results() -> None:
    assert one(
        'connect(3, {sa_family=AF_UNIX, sun_path="/s"}, 8) = ? ERESTARTSYS (To be restarted)'
    ).errno == ("ERESTARTSYS")
    assert one('connect(3, {sa_family=AF_UNIX, sun_path=@"/s"}, 8) = 0').names == ()


def test_one_file_for_each_process() -> None:
    """-ff: a child's calls come behind its fork, so that it starts where its parent was."""
    files = {
        12: 'openat(AT_FDCWD, "b", O_RDONLY) = 3\n+++ exited with 0 +++\n',
        11: (
            'chdir("/one") = 0\n'
            "clone(child_stack=NULL, flags=SIGCHLD) = 12\n"
            'chdir("/two") = 0\n'
            'openat(AT_FDCWD, "a", O_RDONLY) = 3\n'
        ),
    }
    assert shown(follow(parse_files(files)))[1:] == [
        ("read", "/one/b", ""),
        ("enter", "/two", ""),
        ("read", "/two/a", ""),
    ]


@pytest.mark.strace
def test_the_texts_of_strace_for_each_process(tmp_path: Path) -> None:
    """strace(1), -ff: "each process's trace is written to filename.pid"."""
    (tmp_path / "one").write_text("1")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/two").write_text("2")
    script = "cd deep; (cat two; :) & wait; cat ../one"
    argv = ["strace", "-ff", "-y", "-o", str(tmp_path / "log"), "sh", "-c", script]
    subprocess.run(argv, check=True, cwd=tmp_path, capture_output=True)
    assert len(list(tmp_path.glob("log.*"))) >= 3
    (tmp_path / "log.txt").write_text("of somebody else")
    found = shown(events_of(str(tmp_path / "log")))
    read = {os.path.normpath(path) for deed, path, _ in found if deed == "read"}
    assert {str(tmp_path / "one"), str(tmp_path / "deep/two")} <= read


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "log.12").mkdir()
    for name, fact in (
        ("no", "No such file or directory"),
        ("log", "it is not a regular file|Is a directory"),
    ):
        with pytest.raises(Failure, match=rf"^cannot read {tmp_path}/{name}(\.12)?: ({fact})"):
            list(events_of(str(tmp_path / name)))


def test_a_line_without_end_is_cut() -> None:
    """What is longer than any call is not kept; the next line is read again."""
    data = b'open("/' + b"a" * (3 * LINE_LIMIT) + b'", O_RDONLY) = 3\nchdir("/x") = 0\n'
    assert [call.name for call in parse(data)] == ["chdir"]


def test_the_sample_of_the_facts() -> None:
    assert shown(events((SAMPLES / "strace-f-o.txt").read_text())) == [
        ("exec", "/usr/bin/date", ""),
        ("access", "/etc/ld.so.preload", "ENOENT"),
        ("read", "/etc/ld.so.cache", ""),
        ("read", "/etc/localtime", "ENOENT"),
        ("access", "/nonexistent/日本", "ENOENT"),
        ("connect", "/dev/log", "ENOENT"),
        ("opendir", "/var/www/conf.d", "ENOENT"),
    ]
