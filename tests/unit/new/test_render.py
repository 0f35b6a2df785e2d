from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from chrootbuild.errors import Failure, UsageError
from chrootbuild.new.make import find, write_new
from chrootbuild.new.render import foreground, render
from chrootbuild.state.project import Project
from tests.support.trace_sysroot import ELF, sysroot


def made(base: Path, word: str, files: dict[str, str | bytes | None]) -> dict[str, Any]:
    return tomllib.loads(render(find(sysroot(base, files), word)))


UNIT = "/usr/lib/systemd/system/foo.service"


def test_all_that_is_known_is_in_the_file(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        "food",
        {
            UNIT: "[Service]\nExecStart=/usr/sbin/food -c /etc/foo/foo.conf\nUser=foo\nGroup=bar\n"
            "RuntimeDirectory=foo\nStateDirectory=foo\nEnvironment=MODE=quiet\n",
            "/usr/sbin/food": ELF,
            "/etc/foo/foo.conf": "user bar\nlisten 127.0.0.1:7007\n",
            "/var/lib/foo/": None,
            "/var/lib/dpkg/info/foo.list": "/usr/sbin/food\n/etc/foo\n/etc/foo/foo.conf\n",
        },
    )
    assert found == {
        "summary": "food, from the package foo",
        "binaries": ["/usr/sbin/food"],
        "files": ["/etc/foo/"],
        "accounts": {"users": ["foo", "bar"]},
        "directories": {
            "/run/foo": {"mode": "0755", "owner": "foo", "group": "bar"},
            "/var/lib/foo": {},
        },
        "host": {"restart": "systemctl restart foo.service"},
        "check": {
            "service": {
                "start": ["/usr/sbin/food", "-c", "/etc/foo/foo.conf"],
                "user": "foo:bar",
                "env": {"MODE": "quiet"},
                "ready": "tcp:127.0.0.1:7007",
                "probe": ["exec 3<>/dev/tcp/127.0.0.1/7007"],
            }
        },
    }


def test_a_bare_program_is_asked_for_its_version(tmp_path: Path) -> None:
    found = made(tmp_path, "/opt/x/tool", {"/opt/x/tool": ELF})
    assert found == {
        "summary": "tool",
        "binaries": ["/opt/x/tool"],
        "check": {"run": [["/opt/x/tool", "--version"]]},
    }


def test_a_unit_s_name_will_do_and_a_script_around_the_program_comes_along(tmp_path: Path) -> None:
    found = made(
        tmp_path,
        "foo",
        {
            UNIT: "[Service]\nType=forking\nExecStart=/usr/sbin/foo-start\nPIDFile=/run/foo.pid\n",
            "/usr/sbin/foo-start": ELF,
        },
    )
    assert found["binaries"] == ["/usr/sbin/foo-start"]
    assert found["check"]["service"] == {"start": ["/usr/sbin/foo-start"], "ready": "file:/run/foo.pid"}
    assert found["directories"] == {"/run": {}}


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot find the program gone"):
        find(sysroot(tmp_path, {}), "gone")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("x", "-g", "daemon on; master_process on;"), ("x", "-g", "daemon off; master_process on;")),
        (("x", "--daemonize", "yes"), ("x", "--daemonize", "no")),
        (("x", "--background=true"), ("x", "--background=false")),
        (("x", "--name", "yes", "-D"), ("x", "--name", "yes", "-D")),
    ],
)
def test_a_command_line_that_says_background_is_turned(
    argv: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert foreground(argv) == expected


def project(base: Path) -> Project:
    (base / "targets").mkdir()
    return Project(str(base), str(base / ".chrootbuild"), str(base / "build"))


def test_it_is_written_once(tmp_path: Path) -> None:
    here = project(tmp_path)
    assert write_new(here, "shell", "/bin/sh") == str(tmp_path / "targets/shell.toml")
    before = (tmp_path / "targets/shell.toml").read_bytes()
    with pytest.raises(Failure, match=r"cannot write targets/shell\.toml: it is there already"):
        write_new(here, "shell", "/bin/ls")
    assert (tmp_path / "targets/shell.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["learn", "-x", "a b", "../x", "", "a.learned"])
def test_a_name_that_no_target_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a target"):
        write_new(project(tmp_path), name, "/bin/sh")
    assert list((tmp_path / "targets").iterdir()) == []
