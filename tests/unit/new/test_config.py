from __future__ import annotations

import os
from pathlib import Path

import pytest

from chrootbuild.new.config import Config, configuration, named_port, names_in, well_known_port
from tests.support.trace_sysroot import sysroot

INFO = "/var/lib/dpkg/info"


def config(base: Path, text: str) -> tuple[str, int]:
    host = sysroot(base, {"/etc/foo.conf": text})
    return named_port(host, Config((), ("/etc/foo.conf",), ()))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("port 6379", ("", 6379)),
        ("Port 2222", ("", 2222)),
        ("    listen 8080 default_server;", ("", 8080)),
        ("Listen 192.0.2.1:80", ("192.0.2.1", 80)),
        ("listen [::1]:25;", ("[::1]", 25)),
        ("bind *:443 ssl", ("", 443)),
        ("server.port = 81", ("", 81)),
        ('listen_port: "5432"', ("", 5432)),
        ("#port 1\n;port 2\nport 3", ("", 3)),
        ("report 5", ("", 0)),
        ("transport 5", ("", 0)),
        ("ListenPort 5", ("", 5)),
        ("port 0\nport 99999\n", ("", 0)),
        ("bind 127.0.0.1", ("", 0)),
        ("bind 127.0.0.1 ::1\nport 7", ("", 7)),
        ("port 1.5", ("", 0)),
    ],
)
def test_ports_as_configurations_write_them(tmp_path: Path, line: str, expected: tuple[str, int]) -> None:
    assert config(tmp_path, line + "\n") == expected


def test_users_in_a_configuration(tmp_path: Path) -> None:
    text = "user www-data;\n#user nobody\nexport FOO_RUN_USER=foo\nmail_owner = postfix\nlogin alice\n"
    host = sysroot(tmp_path, {"/etc/foo.conf": text})
    found = list(names_in(host, Config((), ("/etc/foo.conf",), ())))
    assert found == ["www-data", "foo", "postfix"]


def test_services_that_are_known_by_one_protocol(tmp_path: Path) -> None:
    text = "ssh 22/tcp # SSH\ndomain 53/tcp\ndomain 53/udp\ntime 37/udp timserver\nbroken\n"
    host = sysroot(tmp_path, {"/etc/services": text})
    assert well_known_port(host, ("gone", "ssh")) == ("tcp", 22)
    assert well_known_port(host, ("timserver",)) == ("udp", 37)
    assert well_known_port(host, ("domain",)) == ("", 0)  # which of the two, nobody says


def test_a_directory_of_its_own_is_taken_whole_and_shared_ones_by_file(tmp_path: Path) -> None:
    files = {
        "/etc/foo/foo.conf": "",
        "/etc/foo/secret.conf": "",
        "/etc/pam.d/foo": "",
        "/etc/shared/foo.conf": "",
        "/etc/shared/bar.conf": "",
        "/etc/init.d/foo": "",
        "/etc/default/foo": "",
        "/etc/foorc": "",
        f"{INFO}/foo-server.list": "/etc\n/etc/foo\n/etc/foo/foo.conf\n/etc/pam.d/foo\n/etc/shared\n"
        "/etc/shared/foo.conf\n/etc/init.d/foo\n/etc/default/foo\n/etc/foorc\n/etc/gone/x\n",
        f"{INFO}/bar.list": "/etc\n/etc/shared\n/etc/shared/bar.conf\n",
    }
    host = sysroot(tmp_path, dict(files))
    os.chmod(tmp_path / "etc/foo/secret.conf", 0o640)
    found = configuration(host, ("foo-server", ""), ())
    assert found.entries == ("/etc/foo/", "/etc/foorc", "/etc/pam.d/foo", "/etc/shared/foo.conf")
    assert found.closed == ("/etc/foo/secret.conf",)
    named = configuration(host, ("foo-server",), ("-c", "/etc/foo/secret.conf", "/etc/foo", "/usr/bin/x"))
    assert named.entries[-1] == "/etc/foo/secret.conf"
    assert named.read[0] == "/etc/foo/secret.conf"
    assert named.closed == ()


def test_no_package_no_configuration_but_what_the_command_line_names(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {"/srv/own.conf": "", "/usr/lib/x": ""})
    assert configuration(host, ("",), ("/srv/own.conf", "/usr/lib/x")).entries == ("/srv/own.conf",)


def test_a_line_of_a_million_blanks_is_read_once(tmp_path: Path) -> None:
    text = f"user{' ' * 500_000}!\nport{' ' * 500_000}!\nuser foo\nport 7\n"
    host = sysroot(tmp_path, {"/etc/foo.conf": text})
    read = Config((), ("/etc/foo.conf",), ())
    assert named_port(host, read) == ("", 7)
    assert list(names_in(host, read)) == ["foo"]


def test_a_port_of_five_thousand_digits_is_none(tmp_path: Path) -> None:
    """Python refuses to make a number of so many."""
    host = sysroot(tmp_path, {"/etc/services": f"foo {'1' * 5000}/tcp\nbar 7/tcp\n"})
    assert well_known_port(host, ("foo", "bar")) == ("tcp", 7)
