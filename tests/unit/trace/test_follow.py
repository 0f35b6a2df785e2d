"""Where processes are: names become absolute, in whatever directory and root."""

from __future__ import annotations

import pytest

from chrootbuild.trace.events import Access, Identity
from tests.support.trace_sysroot import events, sample, shown


def paths(text: str, **start: str) -> list[str]:
    """Return the paths of a text."""
    return [path for _, path, _ in shown(events(text, **start))]


def test_chdir_and_forks() -> None:
    """fork(2): the child starts where its parent is, and goes its own way."""
    text = (
        '1 chdir("/srv") = 0\n'
        "1 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 2\n"
        '2 chdir("www") = 0\n'
        '2 open("a", O_RDONLY) = 3\n'
        '1 open("b", O_RDONLY) = 3\n'
        '1 chdir("nowhere") = -1 ENOENT (No such file or directory)\n'
        '1 open("c", O_RDONLY) = 3\n'
    )
    assert paths(text) == ["/srv", "/srv/www", "/srv/www/a", "/srv/b", "/srv/nowhere", "/srv/c"]


def test_threads_share_their_directory() -> None:
    """clone(2), CLONE_FS: chdir in one moves all."""
    text = (
        '1 chdir("/one") = 0\n'
        "1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD, stack=0x7f}, 88) = 2\n"
        '2 chdir("/two") = 0\n'
        '1 open("a", O_RDONLY) = 3\n'
    )
    assert paths(text)[-1] == "/two/a"


def test_a_child_that_shows_up_before_its_fork_returns() -> None:
    text = (
        '1 chdir("/srv") = 0\n'
        "1 vfork( <unfinished ...>\n"
        '2 open("a", O_RDONLY) = 3\n'
        "1 <... vfork resumed>)              = 2\n"
    )
    assert paths(text) == ["/srv", "/srv/a"]


def test_a_number_is_used_again() -> None:
    """fork(2) after the first process of that number has ended, also where strace is told not to say so."""
    text = (
        '1 chdir("/one") = 0\n1 fork() = 2\n2 chdir("/two") = 0\n2 exit_group(0) = ?\n'
        '1 fork() = 2\n2 open("a", O_RDONLY) = 3\n'
    )
    assert paths(text)[-1] == "/one/a"


def test_a_child_numbered_by_another_pid_namespace() -> None:
    """clone(2) returns 2 inside; strace, outside, writes 4711."""
    text = '1 chdir("/srv") = 0\n1 clone(flags=SIGCHLD) = 2\n4711 open("a", O_RDONLY) = 3\n'
    assert paths(text) == ["/srv", "/srv/a"]


def test_the_first_process_gets_its_number_late() -> None:
    """strace -f to a terminal writes [pid N] only once there are two."""
    text = (
        'chdir("/srv") = 0\n'
        "clone(flags=SIGCHLD) = 12\n"
        '[pid    12] open("child", O_RDONLY) = 3\n'
        '[pid    11] open("parent", O_RDONLY) = 3\n'
    )
    assert paths(text) == ["/srv", "/srv/child", "/srv/parent"]


def test_descriptors_without_y() -> None:
    """openat(2) below a directory that was opened; fchdir(2)."""
    text = (
        'open("/etc/foo", O_RDONLY|O_DIRECTORY) = 5\n'
        'openat(5, "a.conf", O_RDONLY) = 6\n'
        "fchdir(5) = 0\n"
        'open("b.conf", O_RDONLY) = 7\n'
        'openat(9, "c.conf", O_RDONLY) = 8\n'
    )
    assert paths(text) == ["/etc/foo", "/etc/foo/a.conf", "/etc/foo", "/etc/foo/b.conf", "c.conf"]


def test_a_root_inside_the_trace() -> None:
    """chroot(2): names are seen from there, and '..' does not lead out; -y shows outside paths."""
    text = (
        '1 chroot("/run/jail") = 0\n'
        '1 chdir("/") = 0\n'
        '1 open("/etc/a", O_RDONLY) = 3\n'
        '1 open("../../b", O_RDONLY) = 4\n'
        '1 open("/../c", O_RDONLY) = 5\n'
        '1 openat(AT_FDCWD</run/jail/etc>, "d", O_RDONLY) = 6</run/jail/etc/d>\n'
    )
    found = paths(text)
    assert found[1:] == ["/run/jail", *(f"/run/jail/{name}" for name in ("etc/a", "b", "c", "etc/d"))]


def test_a_tracer_outside_of_the_root() -> None:
    """Names in calls are the root's, the paths of -y the tracer's."""
    text = (
        '1 openat(AT_FDCWD</tmp/root/srv>, "a", O_RDONLY) = 3</tmp/root/srv/a>\n'
        '1 openat(3</etc>, "b", O_RDONLY) = 4</etc/b>\n'
        '1 open("/etc/c", O_RDONLY) = 5</tmp/root/etc/c>\n'
    )
    found = events(text, root="/tmp/root")
    assert [(event.path, event.real) for event in found if isinstance(event, Access)] == [
        ("/srv/a", "/srv/a"),
        ("/etc/c", "/etc/c"),
    ]


def test_getcwd_tells_where_a_process_is() -> None:
    assert paths('getcwd("/srv/x", 4096) = 7\nopen("a", O_RDONLY) = 3\n') == ["/srv/x/a"]


def test_an_unknown_directory_leaves_a_name_relative() -> None:
    assert paths('open("a", O_RDONLY) = 3\n') == ["a"]
    assert paths('open("a", O_RDONLY) = 3\n', cwd="/srv") == ["/srv/a"]


@pytest.mark.parametrize(
    ("call", "deed"),
    [
        ('open("/a", O_RDWR)', "update"),
        ('open("/a", O_RDWR|O_CREAT|O_TRUNC, 0644)', "write"),
        ('open("/a", O_WRONLY|O_APPEND)', "write"),
        ('openat(AT_FDCWD, "/a", O_RDONLY|O_PATH)', "hold"),
        ('openat2(AT_FDCWD, "/a", {flags=O_RDONLY, resolve=0}, 24)', "read"),
        ('creat("/a", 0644)', "write"),
        ('faccessat2(AT_FDCWD, "/a", X_OK, AT_EACCESS)', "access-exec"),
        ('access("/a", R_OK|X_OK)', "access-exec"),
        ('access("/a", F_OK)', "access"),
        ('statx(AT_FDCWD, "/a", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=0x17ff})', "stat"),
        ('getxattr("/a", "security.selinux", NULL, 0)', "stat"),
        ('symlink("to", "/a")', "make"),
        ('unlinkat(AT_FDCWD, "/a", AT_REMOVEDIR)', "remove"),
        ('inotify_add_watch(3, "/a", IN_MODIFY)', "stat"),
        ("getdents64(3</a>, 0x5 /* 2 entries */, 32768)", "list"),
    ],
)
def test_deeds(call: str, deed: str) -> None:
    assert [(found, path) for found, path, _ in shown(events(f"1 {call} = 3\n"))] == [(deed, "/a")]


def test_a_mapped_file_needs_execution() -> None:
    text = (
        "1 mmap(NULL, 8192, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3</usr/lib/m.so>, 0) = 0x7f00\n"
        "1 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3</usr/share/d>, 0) = 0x7f00\n"
        "1 mmap(NULL, 8192, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f00\n"
    )
    assert shown(events(text)) == [("map", "/usr/lib/m.so", "")]


def test_who_it_became() -> None:
    """credentials(7), chown(2): root, -1 and failures left out."""
    text = (
        "1 setgroups(2, [33, 4]) = 0\n"
        "1 setresgid(-1, 33, 33) = 0\n"
        "1 setuid(33) = 0\n"
        "1 setuid(0) = -1 EPERM (Operation not permitted)\n"
        '1 fchownat(AT_FDCWD, "/a", 105, 4294967295, 0) = 0\n'
        '1 chown("/a", 0, -1) = 0\n'
    )
    found = [event for event in events(text) if isinstance(event, Identity)]
    assert [(event.call, event.users, event.groups) for event in found] == [
        ("setgroups", (), (4, 33)),
        ("setresgid", (), (33,)),
        ("setuid", (33,), ()),
        ("fchownat", (105,), ()),
    ]


def test_a_query_to_a_name_server() -> None:
    text = (
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0\n'
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(5353), sin_addr=inet_addr("192.0.2.1")}, 16) = 0\n'
    )
    assert shown(events(text)) == [("query", "/etc/resolv.conf", "")]


def test_who_executes_and_who_opens() -> None:
    """An exec is the old program's doing, what follows the new one's."""
    text = (
        '1 execve("/bin/sh", ["sh"], 0x7f /* 2 vars */) = 0\n'
        '1 execve("/bin/date", ["date"], 0x7f /* 2 vars */) = 0\n'
        '1 open("/etc/localtime", O_RDONLY) = 3\n'
    )
    assert [event.program for event in events(text)] == ["", "/bin/sh", "/bin/date"]


def test_a_real_privilege_separation() -> None:
    """A recorded sshd: its child makes an empty directory its root, and goes on there."""
    found = shown(sample("sshd.strace"))
    at = found.index(("chroot", "/run/sshd", ""))
    assert found[at + 1] == ("enter", "/run/sshd", "")


def test_relative_names_of_a_real_mail_server() -> None:
    """A recorded postfix lives in its queue directory."""
    found = shown(sample("postfix.strace"))
    assert ("bind", "/var/spool/postfix/public/postlog", "") in found
    assert [path for _, path, _ in found if not path.startswith("/")] == []
