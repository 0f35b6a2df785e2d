"""Every key of a target file: what it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.artifact import Device, Origin
from chrootbuild.target import model
from tests.support.target_project import project, target

# The example of the contract, with every key.
WHOLE = """\
summary  = "CVS for ordinary users"
manual   = false
root     = "/opt/chroot/cvs"
sysroot  = "/"
os       = "linux"
include  = ["name-service"]
binaries = ["/bin/sh", "/bin/ls", "cvs"]
libraries = ["/usr/lib/plugin.so", "/usr/lib/*/x.so"]
files    = ["/etc/protocols", "/etc/bind/*.conf", "/usr/share/zoneinfo/Asia/",
            { path = "/etc/x", owner = "root", group = "x", mode = "0640" }]
exclude  = ["/etc/bind/rndc.key"]
seed     = ["/var/lib/postgresql/"]
timezone = "host"
devices  = ["null", { name = "fuse", char = "10:229", mode = "0666" }, { name = "sda", block = "8:0" }]
mounts   = ["/proc"]
setuid   = ["/usr/bin/su"]

[accounts]
min_uid = 1000
users   = ["cvs"]
groups  = ["mail"]
extra   = ["ctuser:x:4242:4242::/home/ctuser:/bin/sh"]
extra_groups = ["ctuser:x:4242:"]
format  = "linux"
passwords = ["cvs"]
legacy  = false

[directories]
"/tmp"         = { mode = "1777" }
"/var/lib/cvs" = { mode = "2775", owner = "root", group = "cvs" }
"/var/spool/x" = {}

[links]
"/usr/bin/editor" = "vi"

[text]
"/etc/hosts" = "127.0.0.1 localhost\\n"
"/etc/motd"  = { content = "welcome\\n", mode = "0600", owner = "cvs", group = "1" }

[build]
temporary = ["/sbin/ldconfig"]

[syslog]
socket = true

[host]
links    = { "/usr/local/apache" = "/usr/local/apache" }
wrapper  = { "/usr/local/sbin/httpd-chroot" = ["/usr/sbin/apache2", "-DFOREGROUND"] }
restart  = "systemctl restart named"

[check]
prepare = ["true", ["touch", "x"]]
run = [["cvs", "--version"], { argv = ["date", "+%Z"], stdout = "JST", env = { TZ = "Japan" } }]
[check.service]
start = ["/usr/sbin/nginx", "-g", "daemon off;"]
user  = "nobody:nogroup"
env   = { LANG = "C" }
ready = "tcp:127.0.0.1:8080"
probe = ["curl -fsS http://127.0.0.1:8080/ | grep -q hello", ["true"]]
stop_signal = "QUIT"
timeout = 5
[check.limits]
processes = 4096
memory = "64G"
files = "1048576"

[audit]
ignore = { "/usr/bin/su" = "people log in here" }
"""


@pytest.fixture
def whole(tmp_path: Path) -> model.Target:
    return target(tmp_path, WHOLE)


def at(line: int, key: str) -> Origin:
    return Origin("targets/x.toml", key, line)


def test_the_scalars(whole: model.Target, tmp_path: Path) -> None:
    assert whole.name == "x"
    assert whole.file == f"{tmp_path}/targets/x.toml"
    assert whole.origin == at(3, "root")
    assert (whole.summary, whole.manual) == ("CVS for ordinary users", False)
    assert (whole.root, whole.sysroot, whole.os) == ("/opt/chroot/cvs", "/", "linux")
    assert whole.timezone == model.Item("host", at(13, "timezone"))
    assert whole.syslog is True


def test_the_lists_of_strings(whole: model.Target) -> None:
    assert whole.binaries == tuple(
        model.Item(path, at(7, "binaries")) for path in ("/bin/sh", "/bin/ls", "cvs")
    )
    assert [item.value for item in whole.libraries] == ["/usr/lib/plugin.so", "/usr/lib/*/x.so"]
    assert whole.exclude == (model.Item("/etc/bind/rndc.key", at(11, "exclude")),)
    assert whole.seed == (model.Item("/var/lib/postgresql/", at(12, "seed")),)
    assert whole.mounts == (model.Item("/proc", at(15, "mounts")),)
    assert whole.setuid == (model.Item("/usr/bin/su", at(16, "setuid")),)
    assert whole.temporary == (model.Item("/sbin/ldconfig", at(41, "build.temporary")),)


def test_files_as_strings_and_as_tables(whole: model.Target) -> None:
    own = [item for item in whole.files if item.origin.file == "targets/x.toml"]
    assert own == [
        model.FileItem("/etc/protocols", at(9, "files")),
        model.FileItem("/etc/bind/*.conf", at(9, "files")),
        model.FileItem("/usr/share/zoneinfo/Asia/", at(9, "files")),
        model.FileItem("/etc/x", at(10, "files"), owner="root", group="x", mode=0o640),
    ]


def test_devices_as_strings_and_as_tables(whole: model.Target) -> None:
    assert whole.devices == (
        model.DeviceItem("null", at(14, "devices")),
        model.DeviceItem("fuse", at(14, "devices"), device=Device(True, 10, 229), mode=0o666),
        model.DeviceItem("sda", at(14, "devices"), device=Device(False, 8, 0)),
    )


def test_accounts(whole: model.Target) -> None:
    assert whole.accounts == model.Accounts(
        at(18, "accounts"),
        min_uid=1000,
        users=(model.Item("cvs", at(20, "accounts.users")),),
        groups=(model.Item("mail", at(21, "accounts.groups")),),
        extra=(model.Item("ctuser:x:4242:4242::/home/ctuser:/bin/sh", at(22, "accounts.extra")),),
        extra_groups=(model.Item("ctuser:x:4242:", at(23, "accounts.extra_groups")),),
        format="linux",
        passwords=(model.Item("cvs", at(25, "accounts.passwords")),),
        legacy=False,
    )


def test_directories_links_and_text(whole: model.Target) -> None:
    assert whole.directories == {
        "/tmp": model.DirectoryItem("/tmp", at(29, "directories"), mode=0o1777),
        "/var/lib/cvs": model.DirectoryItem("/var/lib/cvs", at(30, "directories"), "root", "cvs", 0o2775),
        "/var/spool/x": model.DirectoryItem("/var/spool/x", at(31, "directories")),
    }
    assert whole.links == {"/usr/bin/editor": model.Item("vi", at(34, "links"))}
    text = {path: item for path, item in whole.text.items() if item.origin.file == "targets/x.toml"}
    assert text == {
        "/etc/hosts": model.TextItem("/etc/hosts", "127.0.0.1 localhost\n", at(37, "text")),
        "/etc/motd": model.TextItem("/etc/motd", "welcome\n", at(38, "text"), "cvs", "1", 0o600),
    }


def test_the_host_side(whole: model.Target) -> None:
    assert whole.host == model.HostSide(
        links={"/usr/local/apache": model.Item("/usr/local/apache", at(47, "host.links"))},
        wrapper={"/usr/local/sbin/httpd-chroot": ("/usr/sbin/apache2", "-DFOREGROUND")},
        restart="systemctl restart named",
    )


def test_the_check(whole: model.Target) -> None:
    assert whole.check == model.Check(
        prepare=("true", ("touch", "x")),
        run=(
            model.Command(("cvs", "--version"), at(53, "check.run")),
            model.Command(("date", "+%Z"), at(53, "check.run"), stdout="JST", env={"TZ": "Japan"}),
        ),
        service=model.Service(
            at(54, "check.service"),
            start=("/usr/sbin/nginx", "-g", "daemon off;"),
            user="nobody:nogroup",
            env={"LANG": "C"},
            ready="tcp:127.0.0.1:8080",
            probe=("curl -fsS http://127.0.0.1:8080/ | grep -q hello", ("true",)),
            stop_signal="QUIT",
            timeout=5.0,
        ),
        limits=model.Limits(processes=4096, memory=64 << 30, files=1 << 20, trace=256 << 20),
    )
    assert whole.audit_ignore == {"/usr/bin/su": "people log in here"}


def test_an_empty_file_is_a_target_with_every_default(tmp_path: Path) -> None:
    empty = target(tmp_path, "")
    assert empty == model.Target(
        name="x",
        file=f"{tmp_path}/targets/x.toml",
        origin=Origin("targets/x.toml", "root"),
        root=f"{tmp_path}/build/x",
        read=(f"{tmp_path}/targets/x.toml",),
        absent=(f"{tmp_path}/targets/x.learned.toml",),
    )


def test_relative_root_and_sysroot_are_the_projects(tmp_path: Path) -> None:
    found = target(tmp_path, 'root = "roots/../tree/x"\nsysroot = "../other"\n')
    assert found.root == f"{tmp_path}/tree/x"
    assert found.sysroot == f"{tmp_path.parent}/other"


def test_accounts_for_freebsd_have_its_format(tmp_path: Path) -> None:
    assert (found := target(tmp_path, 'os = "freebsd"\n[accounts]\n')).accounts
    assert found.accounts.format == "freebsd"


def test_accounts_without_os_and_format_leave_both_to_the_plan(tmp_path: Path) -> None:
    line = "www:*:80:80:daemon:0:0:World Wide Web:/nonexistent:/usr/sbin/nologin"
    assert (found := target(tmp_path, f'[accounts]\nextra = ["{line}"]\n')).accounts
    assert (found.os, found.accounts.format) == ("", "")


def test_a_line_for_freebsd_may_have_ten_fields(tmp_path: Path) -> None:
    line = "www:*:80:80:daemon:0:0:World Wide Web:/nonexistent:/usr/sbin/nologin"
    found = target(tmp_path, f'[accounts]\nformat = "freebsd"\nextra = ["{line}", "a:*:1:1::/:/bin/sh"]\n')
    assert found.accounts is not None
    assert [item.value for item in found.accounts.extra] == [line, "a:*:1:1::/:/bin/sh"]


@pytest.mark.parametrize(
    "ready",
    [
        "tcp:127.0.0.1:8080",
        "tcp:[::1]:53",
        "tcp:localhost:1",
        "udp:127.0.0.1:65535",
        "udp:[fe80::1%lo]:53",
        "unix:/run/mysqld/mysqld.sock",
        "file:/run/named/named.pid",
        "test -S run/x",
        "grep -q ready: log",
        "pg_isready",
    ],
)
def test_ready_in_all_its_forms(tmp_path: Path, ready: str) -> None:
    found = target(tmp_path, f'check.service = {{ start = ["x"], ready = "{ready}" }}\n')
    assert found.check.service is not None
    assert found.check.service.ready == ready


@pytest.mark.parametrize(("written", "signal"), [("TERM", "TERM"), ("SIGQUIT", "QUIT"), ("USR1", "USR1")])
def test_signals_by_name(tmp_path: Path, written: str, signal: str) -> None:
    found = target(tmp_path, f'check.service = {{ start = ["x"], stop_signal = "{written}" }}\n')
    assert found.check.service is not None
    assert found.check.service.stop_signal == signal


def test_names_that_look_odd_and_are_right(tmp_path: Path) -> None:
    found = target(
        tmp_path,
        r"""
        binaries = ["/usr/bin/[", "[", "..."]
        files = ["/opt/a b/...", "/etc/ä", "/srv/.well-known/", "/a:b=c%"]
        timezone = "Etc/GMT+9"
        [directories]
        "/srv/cn=config" = { owner = "Debian-exim", group = "DOMAIN\\users" }
        [check]
        run = [{ argv = ["x", ""], stdout = '\A\d+' }]
        """,
    )
    assert [item.value for item in found.binaries] == ["/usr/bin/[", "[", "..."]
    assert found.files[3].path == "/a:b=c%"
    assert found.directories["/srv/cn=config"].group == "DOMAIN\\users"
    assert found.check.run[0].argv == ("x", "")


def test_hidden_files_and_other_names_are_no_targets(tmp_path: Path) -> None:
    from chrootbuild.target.reader import read_targets

    files = {"a.toml": "", ".#b.toml": "?", "c.toml~": "?", "README": "?", "d.learned.toml": "?"}
    found = read_targets(project(tmp_path, {**files, "common/e.toml": "?"}))
    assert list(found.targets) == ["a"]
    assert not found.failures
