from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.new.unit_file import Unit, unit_named, unit_of
from chrootbuild.sysroot.reader import Sysroot
from tests.support.trace_sysroot import ELF, sysroot

UNITS = "/usr/lib/systemd/system"


def unit(base: Path, text: str, more: dict[str, str | bytes | None] | None = None) -> Unit:
    files: dict[str, str | bytes | None] = {
        f"{UNITS}/foo.service": f"[Service]\n{text}",
        "/usr/sbin/food": ELF,
    }
    found = unit_of(sysroot(base, {**files, **(more or {})}), "/usr/sbin/food", ("foo",))
    assert found is not None
    return found


def test_what_a_unit_says(tmp_path: Path) -> None:
    text = (
        "Type=forking\nPIDFile=/var/run/foo.pid\nExecStart=-/usr/sbin/food -c '/etc/foo/a b' \\\n  --last\n"
        "User=foo\nGroup=bar\nRuntimeDirectory=foo foo/deep\nRuntimeDirectoryMode=0750\nLogsDirectory=foo\n"
        "Environment=A=1 'B=two words'\n"
    )
    assert unit(tmp_path, text) == Unit(
        "foo.service",
        f"{UNITS}/foo.service",
        ("/usr/sbin/food", "-c", "/etc/foo/a b", "--last"),
        forks=True,
        user="foo",
        group="bar",
        pidfile="/run/foo.pid",
        env={"A": "1", "B": "two words"},
        directories=(("/run/foo", "0750"), ("/run/foo/deep", "0750"), ("/var/log/foo", "0755")),
    )


def test_variables_come_from_environment_and_its_files(tmp_path: Path) -> None:
    text = (
        "EnvironmentFile=-/etc/default/foo\nEnvironmentFile=-/etc/gone\nEnvironment=HOME_OF=/srv\n"
        "ExecStart=/usr/sbin/food $OPTS -d ${HOME_OF}/x $UNSET\n"
    )
    found = unit(tmp_path, text, {"/etc/default/foo": '# OPTS="-no"\nOPTS="-u bar"\n'})
    assert found.start == ("/usr/sbin/food", "-u", "bar", "-d", "/srv/x")
    assert found.env == {"HOME_OF": "/srv"}  # what only the command line needs is not the service's


def test_specifiers(tmp_path: Path) -> None:
    found = unit(tmp_path, "ExecStart=/usr/sbin/food --pid %t/%N.pid --name 100%%\n")
    assert found.start == ("/usr/sbin/food", "--pid", "/run/foo.pid", "--name", "100%")


def test_a_drop_in_replaces_what_it_empties_first(tmp_path: Path) -> None:
    more: dict[str, str | bytes | None] = {
        "/etc/systemd/system/foo.service.d/own.conf": "[Service]\nExecStart=\nExecStart=/usr/sbin/food --own\n"
    }
    assert unit(tmp_path, "ExecStart=/usr/sbin/food\n", more).start == ("/usr/sbin/food", "--own")


def test_an_empty_assignment_forgets_those_before_it(tmp_path: Path) -> None:
    found = unit(
        tmp_path,
        "Environment=A=1\nEnvironment=\nEnvironment=B=2\nUser=foo\nUser=\nExecStart=/usr/sbin/food\n",
    )
    assert (found.env, found.user) == ({"B": "2"}, "")


def test_the_administrator_s_unit_counts_before_the_package_s(tmp_path: Path) -> None:
    more: dict[str, str | bytes | None] = {
        "/etc/systemd/system/foo.service": "[Service]\nExecStart=/usr/sbin/food --etc\n"
    }
    assert unit(tmp_path, "ExecStart=/usr/sbin/food\n", more).start == ("/usr/sbin/food", "--etc")


def test_an_alias_is_the_unit_it_leads_to(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = {
        f"{UNITS}/foo.service": "[Service]\nExecStart=/usr/sbin/food\n",
        "/etc/systemd/system/food.service": f"-> {UNITS}/foo.service",
        "/usr/sbin/food": ELF,
    }
    found = unit_of(sysroot(tmp_path, files), "/usr/sbin/food", ("food",))
    assert found is not None
    assert (found.name, found.path) == ("foo.service", f"{UNITS}/foo.service")


def test_the_program_counts_by_where_it_leads(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = {
        f"{UNITS}/bar.service": "[Service]\nExecStart=/usr/sbin/food-link\n",
        "/usr/sbin/food": ELF,
        "/usr/sbin/food-link": "-> food",
    }
    found = unit_of(sysroot(tmp_path, files), "/usr/sbin/food", ())
    assert found is not None
    assert found.name == "bar.service"


def test_templates_and_units_that_run_once_are_none(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = {
        f"{UNITS}/foo@.service": "[Service]\nExecStart=/usr/sbin/food %i\n",
        f"{UNITS}/foo-check.service": "[Service]\nType=oneshot\nExecStart=/usr/sbin/food --check\n",
        f"{UNITS}/broken.service": "[Service]\nExecStart=food\n",
        "/usr/sbin/food": ELF,
    }
    assert unit_of(sysroot(tmp_path, files), "/usr/sbin/food", ("foo", "foo-check", "broken")) is None


@pytest.mark.parametrize("name", ["foo", "foo.service"])
def test_a_unit_by_its_name_with_the_ports_of_its_socket(tmp_path: Path, name: str) -> None:
    files: dict[str, str | bytes | None] = {
        f"{UNITS}/foo.service": "[Service]\nExecStart=/usr/lib/foo/start\n",
        f"{UNITS}/foo.socket": "[Socket]\nListenStream=127.0.0.1:7\nListenStream=\n",
    }
    found = unit_named(sysroot(tmp_path, files), name)
    assert found is not None
    assert found.listens == ("127.0.0.1:7",)
    assert unit_named(Sysroot(str(tmp_path)), "../foo") is None


def test_a_file_that_is_named_again_and_again_is_read_once(tmp_path: Path) -> None:
    """Five thousand times 200 kB take minutes. What it says counts where it is named last: systemd.exec(5)."""
    once = "EnvironmentFile=/etc/default/a\n"
    text = f"ExecStart=/usr/sbin/food $A $B\n{once * 5000}EnvironmentFile=/etc/default/b\n{once}"
    files: dict[str, str | bytes | None] = {
        "/etc/default/a": "C=c\n" * 50_000 + "A=a\n",
        "/etc/default/b": "A=b\nB=b\n",
    }
    assert unit(tmp_path, text, files).start == ("/usr/sbin/food", "a", "b")
