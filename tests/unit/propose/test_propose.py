"""What a run used, against a sysroot: each rule by one small trace.

Where a test needs root, the directories of its sysroot have to be root's: others are named for their owner.
"""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.propose.model import Known, Proposals
from chrootbuild.propose.propose import missing, propose, touched
from tests.support.trace_sysroot import ELF, events, refusals, sysroot, values

START = '1 execve("/usr/sbin/food", ["food"], 0x7f /* 2 vars */) = 0\n'
Files = dict[str, str | bytes | None]


def learn(base: Path, files: Files, trace: str, known: Known | None = None) -> Proposals:
    """Propose for a trace of food on a sysroot that has these files."""
    host = sysroot(base, {"/usr/sbin/food": ELF, **files})
    plan = {"/usr/sbin/food": Artifact("/usr/sbin/food", Kind.FILE, 0o755)}
    return propose(events(START + trace), host, known or Known(plan))


def entries(proposals: Proposals) -> list[tuple[str, str]]:
    """Return what is proposed as (key, value)."""
    return [(entry.key, entry.value) for entry in proposals.entries]


def test_files_that_are_opened_and_files_that_are_only_looked_for(tmp_path: Path) -> None:
    found = learn(
        tmp_path,
        {"/etc/food.conf": "x", "/usr/share/food/a": "x", "/usr/share/food/b": "x", "/etc/gone": None},
        '1 openat(AT_FDCWD, "/etc/food.conf", O_RDONLY) = 3\n'
        '1 newfstatat(AT_FDCWD, "/usr/share/food/a", {st_mode=S_IFREG|0644}, 0) = 0\n'
        '1 access("/usr/share/food/b", R_OK) = 0\n'
        '1 openat(AT_FDCWD, "/etc/gone", O_RDONLY) = -1 ENOENT (No such file or directory)\n',
    )
    assert entries(found) == [
        ("files", "/etc/food.conf"),
        ("files", "/usr/share/food/a"),
        ("files", "/usr/share/food/b"),
    ]
    assert [entry.reason for entry in found.entries] == [
        "food opens it",
        "food looks for it",
        "food looks for it",
    ]


def test_the_path_as_asked_for_keeps_the_links_on_the_way(tmp_path: Path) -> None:
    """Both names are needed, unless the plan has the link already."""
    files: Files = {"/usr/lib/ssl/openssl.cnf": "-> /etc/ssl/openssl.cnf", "/etc/ssl/openssl.cnf": "x"}
    trace = (
        '1 open("/usr/lib/ssl/openssl.cnf", O_RDONLY) = 3\n1 open("/etc/ssl/openssl.cnf", O_RDONLY) = 3\n'
    )
    assert set(values(learn(tmp_path, files, trace), "files")) == {
        "/etc/ssl/openssl.cnf",
        "/usr/lib/ssl/openssl.cnf",
    }


@pytest.mark.root
def test_two_dots_behind_a_link(tmp_path: Path) -> None:
    """path_resolution(7): '..' is the parent of where the link leads, and what stands before it has to exist."""
    found = learn(
        tmp_path,
        {"/opt/food": "-> /usr/lib/food/15", "/usr/lib/food/15/bin/": None, "/usr/lib/food/share/a": "x"},
        '1 open("/opt/food/../share/a", O_RDONLY) = 3\n1 open("/usr/lib/food/15/bin/../../share/a", O_RDONLY) = 3\n',
    )
    assert ("files", "/usr/lib/food/share/a") in entries(found)
    assert values(found, "directories") == ["/opt/food", "/usr/lib/food/15/bin"]


def test_helper_programs(tmp_path: Path) -> None:
    """Executed, asked for with X_OK, or ELF and only looked for; a script that is read is a file."""
    found = learn(
        tmp_path,
        {
            "/usr/lib/food/a": ELF,
            "/bin/b": "#!/bin/sh\n",
            "/usr/lib/food/c": ELF,
            "/usr/lib/food/d": "#!/bin/sh\n",
        },
        '1 access("/bin/b", X_OK) = 0\n'
        '1 newfstatat(AT_FDCWD, "/usr/lib/food/c", {st_mode=S_IFREG|0755}, 0) = 0\n'
        '1 open("/usr/lib/food/d", O_RDONLY) = 3\n'
        '1 vfork() = 2\n2 execve("/usr/lib/food/a", ["a"], 0x7f /* 2 vars */) = 0\n',
    )
    assert values(found, "binaries") == ["/bin/b", "/usr/lib/food/a", "/usr/lib/food/c"]
    assert values(found, "files") == ["/usr/lib/food/d"]
    assert [entry.reason for entry in found.entries][:2] == [
        "food asks whether it can execute it",
        "food executes it",
    ]


def test_modules_come_without_what_they_bring(tmp_path: Path) -> None:
    """A module's own libraries are its closure's; the .la beside it is a file."""

    def closure(path: str) -> AbstractSet[str]:
        return {path, "/usr/lib/libxml.so.2"} if path.endswith("mod_x.so") else {path}

    found = learn(
        tmp_path,
        {
            "/usr/lib/food/mod_x.so": ELF,
            "/usr/lib/libxml.so.2": ELF,
            "/usr/lib/food/mod_x.la": "x",
            "/lib/a.so": "text",
        },
        '1 open("/usr/lib/libxml.so.2", O_RDONLY) = 3\n'
        '1 open("/usr/lib/food/mod_x.la", O_RDONLY) = 3\n'
        '1 open("/usr/lib/food/mod_x.so", O_RDONLY) = 3\n'
        '1 open("/lib/a.so", O_RDONLY) = 3\n',
        Known({"/usr/sbin/food": Artifact("/usr/sbin/food", Kind.FILE)}, closure=closure),
    )
    assert entries(found) == [
        ("libraries", "/usr/lib/food/mod_x.so"),
        ("files", "/lib/a.so"),
        ("files", "/usr/lib/food/mod_x.la"),
    ]


def test_a_helper_s_libraries_come_with_it(tmp_path: Path) -> None:
    def closure(path: str) -> AbstractSet[str]:
        return {path, "/usr/lib/libh.so.1"} if path == "/bin/h" else {path}

    found = learn(
        tmp_path,
        {"/bin/h": ELF, "/usr/lib/libh.so.1": ELF},
        '1 execve("/bin/h", ["h"], 0x7f /* 2 vars */) = 0\n1 open("/usr/lib/libh.so.1", O_RDONLY) = 3\n',
        Known({"/usr/sbin/food": Artifact("/usr/sbin/food", Kind.FILE)}, closure=closure),
    )
    assert entries(found) == [("binaries", "/bin/h")]


def test_modules_of_the_name_service_are_refused_with_what_they_bring(tmp_path: Path) -> None:
    """Nsswitch.conf(5) is not in a root, so its modules are never loaded there."""

    def closure(path: str) -> AbstractSet[str]:
        return {path, "/lib/libcap.so.2"} if "nss" in path else {path}

    found = learn(
        tmp_path,
        {
            "/lib/libnss_systemd.so.2": ELF,
            "/lib/libcap.so.2": ELF,
            "/etc/nsswitch.conf": "passwd: files systemd\n",
        },
        '1 open("/etc/nsswitch.conf", O_RDONLY) = 3\n'
        '1 open("/lib/libnss_systemd.so.2", O_RDONLY) = 3\n1 open("/lib/libcap.so.2", O_RDONLY) = 3\n',
        Known({"/usr/sbin/food": Artifact("/usr/sbin/food", Kind.FILE)}, closure=closure),
    )
    assert entries(found) == []
    assert sorted(refusals(found)) == ["/etc/nsswitch.conf", "/lib/libnss_systemd.so.2"]


def test_secrets_are_refused_unless_the_target_names_them(tmp_path: Path) -> None:
    files: Files = {
        "/etc/food/a.key": "x",
        "/etc/food/b.pem": "-----BEGIN PRIVATE KEY-----\n",
        "/etc/food/c.conf": "x",
        "/etc/food.d/d.conf": "x",
        "/etc/shadow": "root:$6$x::::::\n",
    }
    paths = ["/etc/food/a.key", "/etc/food/b.pem", "/etc/food/c.conf", "/etc/food.d/d.conf", "/etc/shadow"]
    trace = "".join(f'1 open("{path}", O_RDONLY) = 3\n' for path in paths)
    host = sysroot(tmp_path, {"/usr/sbin/food": ELF, **files})
    os.chmod(tmp_path / "etc/food/c.conf", 0o640)
    os.chmod(tmp_path / "etc/food.d", 0o750)
    try:
        plan = {"/usr/sbin/food": Artifact("/usr/sbin/food", Kind.FILE)}
        found = propose(events(START + trace), host, Known(plan))
        assert entries(found) == []
        assert {path: why.partition(";")[0] for path, why in refusals(found).items()} == {
            "/etc/food/a.key": "a key or hashes, by its name",
            "/etc/food/b.pem": "a private key",
            "/etc/food/c.conf": "others may not read it",
            "/etc/food.d/d.conf": "others may not read it",
            "/etc/shadow": "password hashes",
        }
        plan |= {path: Artifact(path, Kind.FILE) for path in paths}
        assert propose(events(START + trace), host, Known(plan)) == Proposals((), ())
    finally:
        os.chmod(tmp_path / "etc/food.d", 0o755)


def test_the_host_s_own_state_is_refused(tmp_path: Path) -> None:
    paths = [
        "/etc/passwd",
        "/etc/ld.so.cache",
        "/run/x.pid",
        "/var/log/x",
        "/var/cache/x",
        "/tmp/x",
        "/root/.x",
    ]
    paths += ["/home/alice/x", "/sys/a", "/sys/b"]
    found = learn(
        tmp_path,
        dict.fromkeys(paths[1:], "x"),
        "".join(f'1 open("{path}", O_RDONLY) = 3\n' for path in paths),
    )
    assert values(found, "files") == []
    assert sorted(refusals(found)) == sorted([*paths[:-2], "/sys"])


@pytest.mark.root
def test_what_the_run_made_is_no_input_but_its_directory_is(tmp_path: Path) -> None:
    """Created, renamed to, bound, linked; logs and pid files that are there already."""
    found = learn(
        tmp_path,
        {
            "/var/lib/food/": None,
            "/run/food/": None,
            "/var/log/food/a.log": "old",
            "/run/food.pid": "12\n",
            "/var/lib/lock/food": " 12\n",
        },
        '1 open("/var/lib/food/new", O_RDWR|O_CREAT|O_EXCL, 0600) = 3\n'
        '1 rename("/var/lib/food/new", "/var/lib/food/db") = 0\n'
        '1 open("/var/lib/food/db", O_RDONLY) = 3\n'
        '1 mkdir("/var/lib/food/sub", 0700) = 0\n'
        '1 open("/var/lib/food/sub/x", O_WRONLY|O_CREAT, 0600) = 3\n'
        '1 bind(3, {sa_family=AF_UNIX, sun_path="/run/food/sock"}, 110) = 0\n'
        '1 open("/var/log/food/a.log", O_WRONLY|O_CREAT|O_APPEND, 0640) = 3\n'
        '1 open("/run/food.pid", O_RDWR|O_CREAT, 0644) = 3\n'
        '1 open("/var/lib/lock/food", O_RDWR) = 3\n',
    )
    assert entries(found) == [
        ("directories", "/run/food"),
        ("directories", "/var/lib/food"),
        ("directories", "/var/lib/lock"),
        ("directories", "/var/log/food"),
    ]
    assert found.entries[0].reason == "food makes files in it"


@pytest.mark.root
def test_directories_that_must_exist(tmp_path: Path) -> None:
    """mkdir says EEXIST; entered; listed; looked for. Not: held with O_PATH; those above what comes anyway."""
    found = learn(
        tmp_path,
        dict.fromkeys(("/var/a/x/", "/var/b/", "/var/c/", "/var/d/", "/var/e/", "/etc/f/conf")),
        '1 mkdir("/var/a/x", 0700) = -1 EEXIST (File exists)\n'
        '1 chdir("/var/b") = 0\n'
        "1 getdents64(3</var/c>, 0x5 /* 2 entries */, 32768) = 48\n"
        '1 newfstatat(AT_FDCWD, "/var/d", {st_mode=S_IFDIR|0755}, 0) = 0\n'
        '1 openat(AT_FDCWD, "/var/e", O_RDONLY|O_PATH|O_DIRECTORY) = 4\n'
        '1 newfstatat(AT_FDCWD, "/etc/f", {st_mode=S_IFDIR|0755}, 0) = 0\n'
        '1 newfstatat(AT_FDCWD, "/var", {st_mode=S_IFDIR|0755}, 0) = 0\n'
        '1 open("/etc/f/conf", O_RDONLY) = 5\n',
    )
    assert values(found, "directories") == ["/var/a/x", "/var/b", "/var/c", "/var/d"]


@pytest.mark.root
def test_opening_a_directory_counts_where_no_listing_is_traced(tmp_path: Path) -> None:
    trace = '1 open("/var/c", O_RDONLY|O_DIRECTORY) = 3\n'
    assert values(learn(tmp_path, {"/var/c/": None}, trace), "directories") == ["/var/c"]
    other = "1 getdents64(3</var/d>, 0x5 /* 2 entries */, 32768) = 48\n"
    assert values(learn(tmp_path, {"/var/d/": None}, trace + other), "directories") == ["/var/d"]


def test_the_host_s_modes_are_taken_over(tmp_path: Path) -> None:
    """An entry says {}: as in the sysroot, then and later; what is sticky everywhere says so."""
    host = sysroot(tmp_path, {"/usr/sbin/food": ELF, "/var/spool/food/q/": None, "/tmp/": None})
    (tmp_path / "var/spool/food").chmod(0o710)
    (tmp_path / "var/spool/food/q").chmod(0o1730)
    trace = '1 chdir("/var/spool/food/q") = 0\n1 open("/tmp/x", O_RDWR|O_CREAT|O_EXCL, 0600) = 3\n'
    found = propose(events(START + trace), host, Known())
    tables = {entry.value: entry.table for entry in found.entries if entry.key == "directories"}
    assert tables["/tmp"] == (("mode", "1777"),)
    assert tables["/var/spool/food"] == tables["/var/spool/food/q"] == ()


def test_an_implied_directory_of_the_plan_is_proposed_where_the_host_s_differs(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {"/var/lib/food/": None})
    (tmp_path / "var/lib/food").chmod(0o750)
    trace = '1 open("/var/lib/food/x", O_WRONLY|O_CREAT, 0600) = 3\n'
    for implied, expected in ((True, ["/var/lib/food"]), (False, [])):
        known = Known({"/var/lib/food": Artifact("/var/lib/food", Kind.DIRECTORY, 0o755, implied=implied)})
        found = values(propose(events(trace), host, known), "directories")
        assert [path for path in found if path == "/var/lib/food"] == expected


@pytest.mark.root
def test_closed_directories_of_etc_are_left_alone(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {"/etc/ssl/private/": None})
    (tmp_path / "etc/ssl/private").chmod(0o710)
    assert entries(propose(events('1 chdir("/etc/ssl/private") = 0\n'), host)) == []


@pytest.mark.root
def test_state_becomes_a_seed(tmp_path: Path) -> None:
    """Read, then written: the service's own from then on, with all of its directory."""
    files: Files = {
        "/var/lib/food/data/db": "state",
        "/var/lib/food/data/VERSION": "15",
        "/etc/food.conf": "x",
    }
    trace = (
        '1 open("/etc/food.conf", O_RDONLY) = 3\n'
        '1 open("/var/lib/food/data/VERSION", O_RDONLY) = 3\n'
        '1 open("/var/lib/food/data/db", O_RDWR) = 3\n'
        '1 open("/var/lib/food/data/log", O_WRONLY|O_CREAT, 0600) = 3\n'
    )
    found = learn(tmp_path, files, trace)
    assert ("seed", "/var/lib/food/") in entries(found)
    assert values(found, "files") == ["/etc/food.conf"]
    assert values(found, "directories") == []


def test_a_file_replaced_by_its_reader_is_state(tmp_path: Path) -> None:
    trace = (
        '1 open("/var/lib/food/dump", O_RDONLY) = 3\n'
        '1 open("/var/lib/food/dump.new", O_WRONLY|O_CREAT, 0600) = 3\n'
        '1 rename("/var/lib/food/dump.new", "/var/lib/food/dump") = 0\n'
    )
    assert values(learn(tmp_path, {"/var/lib/food/dump": "x"}, trace), "seed") == ["/var/lib/food/"]


@pytest.mark.root
def test_what_is_written_before_it_is_read_is_no_state(tmp_path: Path) -> None:
    trace = (
        '1 open("/var/lib/food/out", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3\n'
        '1 open("/var/lib/food/out", O_RDONLY) = 3\n'
        '1 open("/var/lib/food/lock", O_RDWR|O_CREAT, 0600) = 3\n'
        '1 open("/var/lib/food/queued", O_RDONLY) = 3\n'
        '1 unlink("/var/lib/food/queued") = 0\n'
    )
    found = learn(
        tmp_path,
        {"/var/lib/food/out": "old", "/var/lib/food/lock": " 4711\n", "/var/lib/food/queued": "m"},
        trace,
    )
    assert values(found, "seed") == []
    assert values(found, "directories") == ["/var/lib/food"]


@pytest.mark.root
def test_the_data_directory_is_the_topmost_of_the_service_s_user(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {"/opt/data/foo/15/main/db": "x"})
    for path in ("opt/data/foo", "opt/data/foo/15", "opt/data/foo/15/main", "opt/data/foo/15/main/db"):
        os.chown(tmp_path / path, 105, 110)
    trace = '1 setuid(105) = 0\n1 open("/opt/data/foo/15/main/db", O_RDWR) = 3\n'
    assert values(propose(events(trace), host, Known()), "seed") == ["/opt/data/foo/"]


def test_devices(tmp_path: Path) -> None:
    """Those that lead nowhere, also where the sysroot's /dev is empty; terminals and machine devices are refused."""
    found = learn(
        tmp_path,
        {"/dev/tty": "", "/dev/sda": ""},
        '1 open("/dev/null", O_RDWR) = 3\n1 openat(AT_FDCWD, "/dev/urandom", O_RDONLY) = 3\n'
        '1 open("/dev/tty", O_RDWR) = 3\n1 open("/dev/sda", O_RDONLY) = 3\n',
    )
    assert entries(found) == [("devices", "null"), ("devices", "urandom")]
    assert sorted(refusals(found)) == ["/dev/sda", "/dev/tty"]


def test_standard_streams_are_links_into_proc(tmp_path: Path) -> None:
    found = learn(
        tmp_path,
        {"/dev/stderr": "-> /etc/hosts", "/etc/hosts": "x"},
        '1 open("/dev/stderr", O_WRONLY|O_CREAT, 0644) = 3\n',
    )
    assert [(entry.key, entry.value, entry.text) for entry in found.entries] == [
        ("mounts", "/proc", ""),
        ("links", "/dev/stderr", "/proc/self/fd/2"),
    ]


def test_proc_for_a_program_that_reads_the_machine(tmp_path: Path) -> None:
    """Two files of data, or one again and again; not for tuning, nor for one look."""
    files: Files = {
        "/proc/meminfo": "x",
        "/proc/stat": "x",
        "/proc/self/maps": "x",
        "/proc/sys/vm/x": "1",
        "/proc/12/stat": "",
    }
    one = '1 open("/proc/meminfo", O_RDONLY) = 3\n1 open("/proc/sys/vm/x", O_RDONLY) = 3\n'
    one += '1 open("/proc/self/maps", O_RDONLY) = 3\n1 open("/proc/12/stat", O_RDONLY) = 3\n' * 3
    found = learn(tmp_path / "one", files, one)
    assert (entries(found), list(refusals(found))) == ([], ["/proc"])
    found = learn(tmp_path / "two", files, one + '1 open("/proc/stat", O_RDONLY) = 3\n')
    assert [(entry.key, entry.reason) for entry in found.entries] == [("mounts", "food reads /proc/meminfo")]
    assert refusals(found) == {}


def test_time_zones(tmp_path: Path) -> None:
    """localtime(5) by its key, TZ= by its file."""
    found = learn(
        tmp_path,
        {
            "/etc/localtime": "-> /usr/share/zoneinfo/UTC",
            "/usr/share/zoneinfo/UTC": "x",
            "/usr/share/zoneinfo/Asia/Tokyo": "x",
        },
        '1 open("/etc/localtime", O_RDONLY) = 3\n1 open("/usr/share/zoneinfo/Asia/Tokyo", O_RDONLY) = 3\n',
    )
    assert entries(found) == [("files", "/usr/share/zoneinfo/Asia/Tokyo"), ("timezone", "host")]


def test_resolv_conf_only_with_a_query(tmp_path: Path) -> None:
    trace = '1 open("/etc/resolv.conf", O_RDONLY) = 3\n'
    found = learn(tmp_path, {"/etc/resolv.conf": "x"}, trace)
    assert (entries(found), refusals(found)) == ([], {"/etc/resolv.conf": "no DNS query was sent"})
    trace += (
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0\n'
    )
    assert entries(learn(tmp_path, {}, trace)) == [("files", "/etc/resolv.conf")]


def test_sockets_of_other_daemons(tmp_path: Path) -> None:
    import socket

    host = sysroot(tmp_path, {"/srv/": None})
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tmp_path / "srv")  # a socket's path has to be short
        try:
            listener.bind("db.sock")
        finally:
            os.chdir(here)
        text = '1 connect(3, {sa_family=AF_UNIX, sun_path="/srv/db.sock"}, 110) = 0\n'
        text += '1 connect(3, {sa_family=AF_UNIX, sun_path="/dev/log"}, 110) = -1 ENOENT (No such file)\n'
        found = propose(events(text), host)
    assert entries(found) == []
    assert refusals(found) == {
        "/dev/log": "the host's syslog: [syslog] socket = true gives the root one",
        "/srv/db.sock": "a socket of another daemon",
    }


def test_a_directory_looked_through_is_optional(tmp_path: Path) -> None:
    """find(1), or a program that scans all time zones: only what was opened is needed."""
    names = [f"z{index:02}" for index in range(90)]
    found = learn(
        tmp_path,
        {f"/usr/share/zones/{name}": "x" for name in names},
        "1 getdents64(3</usr/share/zones>, 0x5 /* 42 entries */, 32768) = 48\n"
        + "".join(
            f'1 newfstatat(AT_FDCWD, "/usr/share/zones//{name}", {{st_mode=S_IFREG}}, 0) = 0\n'
            for name in names
        )
        + '1 open("/usr/share/zones/z07", O_RDONLY) = 3\n',
    )
    assert values(found, "files") == ["/usr/share/zones/z07"]
    assert len(found.optional) == 89


def test_a_large_directory_read_whole_is_optional_a_small_one_is_not(tmp_path: Path) -> None:
    for size, optional in ((20, 0), (80, 80)):
        names = [f"c{index:02}.pem" for index in range(size)]
        found = learn(
            tmp_path / str(size),
            {f"/etc/certs/{name}": "x" for name in names},
            "1 getdents64(3</etc/certs>, 0x5 /* 42 entries */, 32768) = 48\n"
            + "".join(f'1 open("/etc/certs/{name}", O_RDONLY) = 3\n' for name in names),
        )
        assert (len(values(found, "files")), len(found.optional)) == (size - optional, optional)


def test_fragments_that_only_load_modules_are_optional(tmp_path: Path) -> None:
    """Found by listing, and nothing but "load it": unless the configuration names the module too."""
    files: Files = {
        "/etc/food.conf": "# extension=c.so\nextension=b.so\n",
        "/etc/food.d/a.ini": "; a\nextension=a.so\n",
        "/etc/food.d/b.ini": "extension=b.so\n",
        "/etc/food.d/c.ini": "LoadModule c_module /usr/lib/food/c.so\n",
        "/etc/food.d/d.ini": "extension=d.so\nallow_everything=no\n",
        **{f"/usr/lib/food/{name}.so": ELF for name in "abcd"},
    }
    trace = '1 open("/etc/food.conf", O_RDONLY) = 3\n1 getdents64(3</etc/food.d>, 0x5 /* 6 entries */, 32768) = 48\n'
    trace += "".join(f'1 open("/etc/food.d/{name}.ini", O_RDONLY) = 3\n' for name in "abcd")
    trace += "".join(f'1 open("/usr/lib/food/{name}.so", O_RDONLY) = 3\n' for name in "abcd")
    found = learn(tmp_path, files, trace)
    assert values(found, "libraries") == ["/usr/lib/food/b.so", "/usr/lib/food/d.so"]
    assert values(found, "files") == ["/etc/food.conf", "/etc/food.d/b.ini", "/etc/food.d/d.ini"]
    assert [entry.value for entry in found.optional] == [
        "/usr/lib/food/a.so",
        "/usr/lib/food/c.so",
        "/etc/food.d/a.ini",
        "/etc/food.d/c.ini",
    ]


def test_a_long_word_in_a_fragment_is_tried_in_one_way(tmp_path: Path) -> None:
    """In 2^40 ways it was, where a word of a module's form did not end in .so after all."""
    files: Files = {"/etc/food.d/a.ini": "include /etc/food/a-file-with-a-long-name/and-another-one.conf\n"}
    trace = "1 getdents64(3</etc/food.d>, 0x5 /* 3 entries */, 32768) = 48\n"
    trace += '1 open("/etc/food.d/a.ini", O_RDONLY) = 3\n'
    assert values(learn(tmp_path, files, trace), "files") == ["/etc/food.d/a.ini"]


def test_names_no_target_file_can_hold(tmp_path: Path) -> None:
    found = learn(
        tmp_path,
        {os.fsdecode(b"/etc/\xff"): "x"},
        '1 open("/etc/\\377", O_RDONLY) = 3\n1 openat(9, "loose", O_RDONLY) = 3\n',
    )
    assert entries(found) == []
    assert refusals(found) == {
        "/etc/\udcff": "its name is no UTF-8: rename it",
        "loose": "relative to a directory that the trace does not tell",
    }


def test_directories_made_at_boot(tmp_path: Path) -> None:
    """tmpfiles.d(5) and RuntimeDirectory=: in a sysroot that is not booted they are not there."""
    files: Files = {
        "/usr/lib/tmpfiles.d/food.conf": "d /run/food 0750 foo food -\nd /run/systemd/x 0755 root root -\n",
        "/usr/lib/systemd/system/bar.service": "[Service]\nUser=bar\n"
        "RuntimeDirectory=bar bar/%i\nRuntimeDirectoryMode=0700\n",
    }
    trace = '1 chroot("/run/food") = 0\n'
    trace += '1 open("/../run/bar/x.sock", O_RDWR|O_CREAT, 0600) = -1 ENOENT (No such file or directory)\n'
    found = learn(tmp_path, files, trace)
    assert [(entry.value, entry.table) for entry in found.entries] == [
        ("/run/food", (("mode", "0750"), ("owner", "foo"), ("group", "food")))
    ]
    asked = '1 open("/run/bar/x.sock", O_RDWR|O_CREAT, 0600) = -1 ENOENT (No such file or directory)\n'
    found = missing(events(asked), sysroot(tmp_path, {}))
    assert [(entry.value, entry.table) for entry in found.entries] == [
        ("/run/bar", (("mode", "0700"), ("owner", "bar"), ("group", "bar")))
    ]


def test_homes_of_the_root_s_own_people(tmp_path: Path) -> None:
    """An account that only the root has: its home is a directory there, and its owner's."""
    passwd = b"ct:x:4242:4243::/home/ct:/bin/sh\nfoo:x:105:110::/run/foo:/bin/false\n"
    known = Known({"/etc/passwd": Artifact("/etc/passwd", Kind.TEXT, content=passwd)})
    trace = '1 chdir("/home/ct") = -1 ENOENT (No such file or directory)\n'
    trace += '1 chdir("/home/alice") = 0\n1 chdir("/run/foo") = 0\n'
    found = propose(events(trace), sysroot(tmp_path, {"/home/alice/": None}), known)
    assert [(entry.value, entry.table) for entry in found.entries] == [
        ("/home/ct", (("mode", "0755"), ("owner", "4242"), ("group", "4243")))
    ]


def test_the_order_of_processes_changes_nothing(tmp_path: Path) -> None:
    """The reason is the same whoever came first."""
    lines = [
        '1 execve("/usr/sbin/food", ["food"], 0x7f /* 2 vars */) = 0\n1 open("/etc/a", O_RDONLY) = 3\n',
        '2 execve("/usr/sbin/bar", ["bar"], 0x7f /* 2 vars */) = 0\n2 open("/etc/a", O_RDONLY) = 3\n',
    ]
    host = sysroot(tmp_path, {"/usr/sbin/food": ELF, "/usr/sbin/bar": ELF, "/etc/a": "x"})
    assert propose(events("".join(lines)), host) == propose(events("".join(reversed(lines))), host)


@pytest.mark.root
def test_missing_is_what_the_sysroot_has(tmp_path: Path) -> None:
    """A run inside the root: ENOENT and EACCES, for files, modules, programs and directories."""
    host = sysroot(tmp_path, {"/etc/a": "x", "/bin/h": ELF, "/usr/lib/m.so": ELF, "/var/lib/food/": None})
    text = (
        '1 open("/etc/a", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        '1 open("/etc/never", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        '1 open("/usr/lib/m.so", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        '1 execve("/usr/bin/h", ["h"], 0x7f /* 2 vars */) = -1 ENOENT (No such file or directory)\n'
        '1 execve("/bin/h", ["h"], 0x7f /* 2 vars */) = -1 ENOENT (No such file or directory)\n'
        '1 open("/var/lib/food/x", O_RDWR|O_CREAT, 0600) = -1 ENOENT (No such file or directory)\n'
        '1 open("/dev/null", O_RDWR) = -1 ENOENT (No such file or directory)\n'
        '1 open("/proc/meminfo", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
    )
    expected = [
        ("binaries", "/bin/h"),
        ("libraries", "/usr/lib/m.so"),
        ("files", "/etc/a"),
        ("devices", "null"),
        ("directories", "/var/lib/food"),
    ]
    assert entries(missing(events(text), host)) == expected
    last = missing(events(text), host, last_resort=True)
    assert ("mounts", "/proc") in entries(last)
    assert len(entries(last)) == len(expected) + 1


def test_touched(tmp_path: Path) -> None:
    """What was used with success, where it leads, and the links on the way."""
    host = sysroot(tmp_path, {"/etc/a": "-> b", "/etc/b": "x", "/etc/c": "x"})
    text = '1 open("/etc/a", O_RDONLY) = 3\n1 open("/etc/c", O_RDONLY) = -1 EACCES (Permission denied)\n'
    assert touched(events(text)) == {"/etc/a"}
    assert touched(events(text), host) == {"/etc/a", "/etc/b"}


def test_a_secret_by_any_of_its_names(tmp_path: Path) -> None:
    """The link's name, and that of where it leads."""
    files: Files = {"/etc/a.key": "-> b", "/etc/b": "x", "/etc/c": "-> d.key", "/etc/d.key": "x"}
    found = learn(tmp_path, files, '1 open("/etc/a.key", O_RDONLY) = 3\n1 open("/etc/c", O_RDONLY) = 3\n')
    assert (entries(found), sorted(refusals(found))) == ([], ["/etc/a.key", "/etc/c"])


def test_a_link_that_is_read_is_needed_though_it_dangles(tmp_path: Path) -> None:
    """Symlink(7): some programs keep a value in a link's text."""
    files: Files = {"/etc/a": "-> value", "/etc/b": "-> nowhere"}
    trace = '1 readlink("/etc/a", "value", 4096) = 5\n1 lstat("/etc/b", {st_mode=S_IFLNK|0777}) = 0\n'
    assert entries(learn(tmp_path, files, trace)) == [("files", "/etc/a")]


def test_whose_home_is_a_home(tmp_path: Path) -> None:
    """People's, wherever it is, and what lies in /home; not a system account's own directory, not root's."""
    lines = ["a:x:1001:1001::/srv/a:/bin/sh", "b:x:105:105::/home/b:/bin/sh", "c:x:106:106::/run/c:/bin/sh"]
    lines += ["d:x:1002:1002::/root/d:/bin/sh"]
    passwd = Artifact("/etc/passwd", Kind.TEXT, content="\n".join(lines).encode() + b"\n")
    trace = "".join(f'1 chdir("{line.split(":")[5]}") = -1 ENOENT (No such file)\n' for line in lines)
    found = propose(events(trace), sysroot(tmp_path, {}), Known({"/etc/passwd": passwd}))
    assert values(found, "directories") == ["/home/b", "/srv/a"]
