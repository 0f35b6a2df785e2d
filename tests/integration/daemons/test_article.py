"""Every step that the article takes by hand, on Linux: built from one target file each, and tried inside the root."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sysroot import write
from tests.support.trees import describe, tree
from tests.support.workshop import Workshop, bring_host_programs, library, program

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOST = Path("/")


def make(folder: Path, text: str, top: Path = HOST) -> Path:
    """Build a root from a target file's text."""
    shop = Workshop(folder, top)
    shop.write_targets({"x.toml": f'sysroot = "{top}"\n{text}'})
    shop.build()
    return shop.root


def inside(root: Path, *argv: str, code: int = 0) -> str:
    """Run a command in a root, with nothing in its environment but a PATH."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(["chroot", str(root), *argv], env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout


# -- the smallest environment: sh, ls and cvs --------------------------------------------------


@pytest.fixture(scope="module")
def cvs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cvs"), 'binaries = ["/bin/sh", "/bin/ls", "cvs"]')


@pytest.mark.package("cvs")
def test_sh_ls_and_cvs_run_with_their_libraries_and_their_loader(cvs: Path) -> None:
    assert "Concurrent Versions System" in inside(cvs, "cvs", "--version")
    assert "usr" in inside(cvs, "/bin/sh", "-c", "ls /").split()


@pytest.mark.package("cvs")
def test_nothing_is_there_that_nobody_asked_for(cvs: Path) -> None:
    assert {path for path in tree(cvs) if path.startswith(("/etc", "/dev", "/root", "/home", "/proc"))} <= {
        "/etc",
        "/etc/ld.so.cache",
        "/etc/ld.so.conf",
    }
    programs = {os.path.realpath(path) for path in ("/bin/sh", "/bin/ls", "/usr/bin/cvs")}
    assert {
        path for path, what in tree(cvs).items() if what.startswith("file 0755") and "/bin/" in path
    } == programs


@pytest.mark.package("cvs")
def test_without_accounts_ls_shows_numbers(cvs: Path) -> None:
    assert {tuple(line.split()[2:4]) for line in inside(cvs, "ls", "-l", "/").splitlines()[1:]} == {
        ("0", "0")
    }


# -- date and the time zone --------------------------------------------------------------------


def test_date_knows_utc_alone_without_a_time_zone(tmp_path: Path) -> None:
    assert inside(make(tmp_path, 'binaries = ["date"]'), "date", "+%Z") == "UTC\n"


@pytest.mark.package("tzdata")
def test_date_shows_japans_time(tmp_path: Path) -> None:
    root = make(tmp_path, 'binaries = ["date"]\ntimezone = "Asia/Tokyo"')
    assert inside(root, "date", "-d", "@0", "+%F %R %Z") == "1970-01-01 09:00 JST\n"


def test_date_shows_the_hosts_time(tmp_path: Path) -> None:
    root = make(tmp_path, 'binaries = ["date"]\ntimezone = "host"')
    here = subprocess.run(
        ["date", "-d", "@0", "+%F %R %Z"], env={}, capture_output=True, text=True, check=True
    )
    assert inside(root, "date", "-d", "@0", "+%F %R %Z") == here.stdout


# -- ldconfig ----------------------------------------------------------------------------------


@pytest.mark.cc
def test_libraries_outside_the_default_directories_are_in_ld_so_cache(tmp_path: Path) -> None:
    top = tmp_path / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    library(top / "usr/foo/lib/libfoo.so.1", "libfoo.so.1", "from foo")
    program(top / "usr/bin/tool", {"foo": top / "usr/foo/lib/libfoo.so.1"})
    write(top, {"/etc/ld.so.conf": "/usr/foo/lib\n"})
    subprocess.run(["ldconfig", "-r", str(top)], check=True, stderr=subprocess.DEVNULL)
    root = make(tmp_path / "project", 'binaries = ["tool"]', top)
    assert (root / "etc/ld.so.conf").read_text() == "/usr/foo/lib\n"
    listed = subprocess.run(
        ["ldconfig", "-p", "-C", str(root / "etc/ld.so.cache")], capture_output=True, text=True, check=True
    )
    assert "libfoo.so.1 (" in listed.stdout
    assert "=> /usr/foo/lib/libfoo.so.1" in listed.stdout
    assert inside(root, "tool") == "from foo\n"
    (root / "etc/ld.so.cache").unlink()
    inside(root, "tool", code=127)


@pytest.mark.cc
def test_a_library_beside_its_program_is_found_without_proc(tmp_path: Path) -> None:
    top = tmp_path / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    library(top / "opt/app/lib/libapp.so.1", "libapp.so.1", "from app")
    origin = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib"
    program(top / "opt/app/bin/app", {"app": top / "opt/app/lib/libapp.so.1"}, origin)
    root = make(tmp_path / "project", 'binaries = ["/opt/app/bin/app"]', top)
    assert not (root / "proc").exists()
    assert inside(root, "/opt/app/bin/app") == "from app\n"


# -- accounts ----------------------------------------------------------------------------------

PASSWD = """\
root:$6$hash:0:0:root:/root:/bin/sh
bin:x:2:2::/bin:/bin/sh
# ordinary users
ann:$6$hash:1000:1000:Ann 花子:/home/ann:/bin/sh
bob:x:1001:1000::/home/bob:/bin/sh
nobody:x:65534:65534::/:/bin/false
"""


def test_ordinary_users_have_names_inside_and_no_passwords(tmp_path: Path) -> None:
    top = tmp_path / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/ls")
    write(top, {"/etc/passwd": PASSWD, "/etc/shadow": "ann:$6$hash:1::::::\n", "/srv/a/": "", "/srv/b/": ""})
    write(top, {"/etc/group": "root:x:0:\nstaff:x:50:ann,bin\nusers:x:1000:\n"})
    os.chown(top / "srv/a", 1000, 1000)
    os.chown(top / "srv/b", 1001, 50)
    text = 'binaries = ["ls"]\nfiles = ["/srv/a", "/srv/b"]\n[accounts]\nmin_uid = 1000\n'
    root = make(tmp_path / "project", text, top)
    assert (root / "etc/passwd").read_text() == (
        "ann:x:1000:1000:Ann 花子:/home/ann:/bin/sh\nbob:x:1001:1000::/home/bob:/bin/sh\n"
    )
    assert not (root / "etc/shadow").exists()
    assert "$6$" not in "".join(path.read_text() for path in (root / "etc").iterdir())
    rows = [line.split() for line in inside(root, "ls", "-l", "/srv").splitlines()[1:]]
    assert [(row[2], row[3]) for row in rows] == [("ann", "users"), ("bob", "staff")]


# -- syslog ------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Iterator[tuple[Path, socket.socket]]:
    """A root with a directory for the log's socket, and the socket of a logger in it."""
    root = make(tmp_path, 'binaries = ["logger"]\n[syslog]\nsocket = true')
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        os.chdir(root / "dev")  # a socket's path is short
        try:
            listener.bind("log")
        finally:
            os.chdir(here)
        listener.settimeout(10)
        yield root, listener


def test_a_message_reaches_the_hosts_logger(log: tuple[Path, socket.socket]) -> None:
    root, listener = log
    inside(root, "logger", "from inside")
    assert listener.recv(1000).endswith(b"from inside")


# -- the table of /etc, devices, tmp, var ------------------------------------------------------


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = """
    include = ["name-service", "terminal", "pam", "tmp"]
    binaries = ["/bin/sh", "getent", "tput", "head", "wc"]
    devices = ["std"]
    [directories]
    "/var/mail" = {}
    "/var/spool/mqueue" = { mode = "0750" }
    [accounts]
    users = ["root"]
    [build]
    temporary = ["/sbin/ldconfig"]
    """
    return make(tmp_path_factory.mktemp("full"), text)


@pytest.mark.package("netbase")
def test_the_table_of_etc_is_there_and_is_read(full: Path) -> None:
    for name in ("protocols", "services", "hosts", "nsswitch.conf", "host.conf"):
        if name == "nsswitch.conf" or (HOST / "etc" / name).exists():
            assert (full / "etc" / name).is_file(), name
    assert inside(full, "getent", "protocols", "tcp").split()[:2] == ["tcp", "6"]
    assert inside(full, "getent", "services", "ssh").split()[:2] == ["ssh", "22/tcp"]
    assert "localhost" in inside(full, "getent", "hosts", "localhost")
    assert inside(full, "getent", "passwd", "0").startswith("root:x:0:0:")
    assert {path.name for path in (full / "etc/pam.d").iterdir()} >= {"common-auth", "other"}


@pytest.mark.package("ncurses-base", "ncurses-bin")
def test_terminals_are_known(full: Path) -> None:
    assert inside(full, "tput", "-T", "xterm", "bold") == "\x1b[1m"


def test_the_devices_of_makedev_std(full: Path) -> None:
    assert describe(full / "dev/null") == "char 1:3 0666 0:0"
    assert describe(full / "dev/random") == "char 1:8 0666 0:0"
    assert describe(full / "dev/stdin") == "link -> /proc/self/fd/0"
    assert inside(full, "/bin/sh", "-c", "echo gone > /dev/null; head -c 9 /dev/urandom | wc -c") == "9\n"


def test_tmp_is_open_to_all_and_sticky(full: Path) -> None:
    assert describe(full / "tmp") == "dir 1777 0:0"
    assert describe(full / "var/tmp") == "dir 1777 0:0"


def test_var_is_as_on_the_host(full: Path) -> None:
    assert describe(full / "var/mail") == describe(HOST / "var/mail")
    assert describe(full / "var/spool/mqueue") == "dir 0750 0:0"
    assert stat.S_IMODE((full / "var").stat().st_mode) == 0o755


def test_tools_for_building_are_not_in_the_finished_root(full: Path) -> None:
    assert not [path for path in tree(full) if "ldconfig" in path]


@pytest.mark.namespaces
def test_tools_for_building_are_there_while_one_is_inside(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, HOST)
    shop.write_targets({"x.toml": 'binaries = ["/bin/sh"]\n[build]\ntemporary = ["/sbin/ldconfig"]\n'})
    shop.build()
    before = tree(shop.root)
    assert "ldconfig" in shop.run("enter", "x", "/sbin/ldconfig", "--version")
    assert tree(shop.root) == before
