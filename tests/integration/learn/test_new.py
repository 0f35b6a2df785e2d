"""new with real packages of Debian: what it writes is valid, and learn completes it."""

from __future__ import annotations

import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chrootbuild.new.unit_file import listens
from tests.support.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    (tmp_path / "project/targets").mkdir(parents=True)
    return Workshop(tmp_path / "project", Path("/"))


def new(shop: Workshop, program: str) -> dict[str, Any]:
    said = shop.run("new", "x", program)
    path = shop.folder / "targets/x.toml"
    assert said == f"{path}\nnext: read it, then: chrootbuild learn x\n"
    return tomllib.loads(path.read_text())


@pytest.mark.package("nginx")
def test_a_server_that_goes_into_the_background(shop: Workshop) -> None:
    found = new(shop, "nginx")
    assert found["files"] == ["/etc/nginx/"]
    assert "www-data" in found["accounts"]["users"]
    assert found["host"] == {"restart": "systemctl restart nginx.service"}
    assert found["check"]["service"]["start"] == ["/usr/sbin/nginx", "-g", "daemon off; master_process on;"]
    assert found["check"]["service"]["ready"] == "tcp:127.0.0.1:80"


@pytest.mark.package("redis-server")
def test_a_server_with_a_user_of_its_own_and_closed_configuration(shop: Workshop) -> None:
    found = new(shop, "redis-server")
    assert "/etc/redis/redis.conf" in found["files"]
    assert found["directories"]["/run/redis"] == {"mode": "2755", "owner": "redis", "group": "redis"}
    assert found["check"]["service"]["user"] == "redis:redis"
    assert found["check"]["service"]["ready"] == "tcp:127.0.0.1:6379"


@pytest.mark.package("openssh-server")
def test_a_server_whose_port_services_knows_and_whose_keys_are_named_alone(shop: Workshop) -> None:
    found = new(shop, "sshd")
    assert found["host"] == {"restart": "systemctl restart ssh.service"}
    assert set(found["accounts"]["users"]) >= {"root", "sshd"}
    assert found["check"]["service"]["ready"] == "tcp:127.0.0.1:22"
    assert "/run/sshd" in found["directories"]
    assert not [path for path in found["files"] if path.endswith("_key")]


@pytest.mark.package("cron")
def test_a_daemon_that_listens_to_nobody(shop: Workshop) -> None:
    found = new(shop, "cron")
    assert found["check"]["service"] == {"start": ["/usr/sbin/cron", "-f"]}
    assert "/etc/pam.d/cron" in found["files"]


@pytest.mark.root
@pytest.mark.strace
@pytest.mark.namespaces
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(name, marks=pytest.mark.package(name if name != "date" else "coreutils"))
        for name in ("nginx", "redis-server", "cron", "date")
    ],
)
def test_new_and_learn_make_a_root_that_serves(shop: Workshop, program: str) -> None:
    new(shop, program)
    assert shop.run("learn", "x").splitlines()[-1] == "x  serves"
    assert "error" not in shop.run("check", "x")


@pytest.fixture
def server() -> Iterator[int]:
    argv = ["/usr/bin/perl", "-MIO::Socket::INET", "-e"]
    code = """
        my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1");
        $| = 1; print $server->sockport, "\\n"; <STDIN>
    """
    with subprocess.Popen(
        [*argv, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate("")


@pytest.mark.package("perl-base")
def test_an_instance_that_runs_tells_its_port(server: int) -> None:
    protocol, address, port = listens("/usr/bin/perl")
    assert (protocol, address) == ("tcp", "127.0.0.1")
    assert port <= server  # another perl of this machine may have a lower one
    with socket.create_connection((address, port), timeout=5):
        pass


def test_a_program_that_is_not_installed(shop: Workshop) -> None:
    said = shop.run("new", "x", "no-such-program", code=1)
    assert said.startswith("error: cannot find the program no-such-program\nhint: install its package first")
    assert list((shop.folder / "targets").iterdir()) == []


def test_a_file_that_is_there_is_kept(shop: Workshop) -> None:
    new(shop, "/bin/sh")
    assert "it is there already" in shop.run("new", "x", "/bin/ls", code=1)
