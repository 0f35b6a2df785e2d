"""The includes that are shipped, the targets of this project, and the examples of the documentation."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from msgspec import Struct

from chrootbuild.artifact import Kind, Plan
from chrootbuild.plan.make import plan
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target import schema
from chrootbuild.target.reader import SHIPPED, Targets, read_targets
from tests.support.places import REPOSITORY
from tests.support.target_project import project, target

INCLUDES = sorted(name.removesuffix(".toml") for name in os.listdir(SHIPPED))


def planned(folder: Path, name: str, sysroot: str = "/") -> Plan:
    found = target(folder, f'include = ["{name}"]\nsysroot = "{sysroot}"\nroot = "root"\nos = "linux"\n')
    return plan(found, Sysroot(sysroot))


def tree(folder: Path, *paths: str) -> str:
    """Make a sysroot with a file at each path; "a -> b" is a link, a slash at the end a directory."""
    for path in paths:
        name, arrow, text = path.partition(" -> ")
        where = folder / "sysroot" / name.strip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            where.symlink_to(text)
        elif name.endswith("/"):
            where.mkdir(exist_ok=True)
        else:
            where.write_text(f"{name}\n")
    return str(folder / "sysroot")


def brought(plan: Plan) -> set[str]:
    return {path for path, artifact in plan.artifacts.items() if artifact.kind is not Kind.DIRECTORY}


@pytest.mark.parametrize("name", INCLUDES)
def test_each_include_can_be_had_on_this_machine(tmp_path: Path, name: str) -> None:
    found = planned(tmp_path, name)
    assert found.artifacts
    assert not found.skipped  # an include asks for no secret


@pytest.mark.parametrize("name", [name for name in INCLUDES if name not in ("shell", "iconv")])
def test_each_include_does_without_what_a_system_has_not(tmp_path: Path, name: str) -> None:
    planned(tmp_path, name, tree(tmp_path, "/etc/"))


def test_name_service_is_the_table_of_etc_files(tmp_path: Path) -> None:
    names = ["protocols", "services", "resolv.conf", "nsswitch.conf", "hosts", "host.conf"]
    found = planned(tmp_path, "name-service", tree(tmp_path, *(f"/etc/{name}" for name in names)))
    assert brought(found) == {f"/etc/{name}" for name in names}
    assert b"passwd: files\n" in found.artifacts["/etc/nsswitch.conf"].content


def test_the_hosts_own_nsswitch_conf_by_name(tmp_path: Path) -> None:
    sysroot = tree(tmp_path, "/etc/nsswitch.conf")
    text = (
        f'include = ["name-service"]\nfiles = ["/etc/nsswitch.conf"]\nsysroot = "{sysroot}"\nroot = "root"\n'
    )
    found = plan(target(tmp_path, text), Sysroot(sysroot))
    assert found.artifacts["/etc/nsswitch.conf"].source == f"{sysroot}/etc/nsswitch.conf"


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param(
            [
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/ssl/certs/00.pem",
                "/etc/ssl/openssl.cnf",
                "/etc/ssl/private/x.key",
                "/usr/lib/ssl/cert.pem -> /etc/ssl/certs/ca-certificates.crt",
                "/usr/lib/ssl/openssl.cnf -> /etc/ssl/openssl.cnf",
            ],
            {
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/ssl/openssl.cnf",
                "/usr/lib/ssl/cert.pem",
                "/usr/lib/ssl/openssl.cnf",
            },
            id="debian",
        ),
        pytest.param(
            [
                "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                "/etc/pki/tls/cert.pem -> /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                "/etc/pki/tls/openssl.cnf",
                "/etc/crypto-policies/opensslcnf.txt",
                "/etc/crypto-policies/back-ends/opensslcnf.config -> ../opensslcnf.txt",
            ],
            {
                "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                "/etc/pki/tls/cert.pem",
                "/etc/pki/tls/openssl.cnf",
                "/etc/crypto-policies/opensslcnf.txt",
                "/etc/crypto-policies/back-ends/opensslcnf.config",
            },
            id="fedora",
        ),
        pytest.param(
            [
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/ssl/cert.pem -> certs/ca-certificates.crt",
                "/etc/ssl/openssl.cnf",
            ],
            {"/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf"},
            id="alpine",
        ),
        pytest.param(
            [
                "/usr/local/share/certs/ca-root-nss.crt",
                "/etc/ssl/cert.pem -> ../../usr/local/share/certs/ca-root-nss.crt",
            ],
            {"/usr/local/share/certs/ca-root-nss.crt", "/etc/ssl/cert.pem"},
            id="freebsd",
        ),
    ],
)
def test_tls_finds_the_certificates_of_each_system(
    tmp_path: Path, paths: list[str], expected: set[str]
) -> None:
    assert brought(planned(tmp_path, "tls", tree(tmp_path, *paths))) == expected


@pytest.mark.parametrize("base", ["/lib/terminfo", "/etc/terminfo", "/usr/share/terminfo"])
def test_terminal_finds_terminfo_where_each_system_has_it(tmp_path: Path, base: str) -> None:
    names = [
        "x/xterm",
        "x/xterm-256color",
        "v/vt100",
        "v/vt220",
        "l/linux",
        "s/screen",
        "t/tmux-256color",
        "d/dumb",
    ]
    sysroot = tree(tmp_path, *(f"{base}/{name}" for name in [*names, "h/hurd"]))
    assert brought(planned(tmp_path, "terminal", sysroot)) == {f"{base}/{name}" for name in names}


def test_terminal_finds_termcap(tmp_path: Path) -> None:
    paths = {"/usr/share/misc/termcap", "/usr/share/misc/termcap.db", "/etc/termcap"}
    assert brought(planned(tmp_path, "terminal", tree(tmp_path, *paths))) == paths


def test_pam_takes_stacks_and_settings_and_no_old_passwords(tmp_path: Path) -> None:
    paths = {"/etc/pam.d/su", "/etc/pam.d/common-auth", "/etc/security/limits.conf", "/etc/login.defs"}
    sysroot = tree(tmp_path, *paths, "/etc/security/opasswd", "/etc/shadow")
    assert brought(planned(tmp_path, "pam", sysroot)) == paths


@pytest.mark.parametrize("name", ["C.utf8", "C.UTF-8"])
def test_locale_takes_c_utf_8_and_the_archive(tmp_path: Path, name: str) -> None:
    paths = {f"/usr/lib/locale/{name}/LC_CTYPE", "/usr/lib/locale/locale-archive"}
    assert (
        brought(planned(tmp_path, "locale", tree(tmp_path, *paths, "/usr/lib/locale/ja_JP/LC_CTYPE")))
        == paths
    )


# -- the targets of this project ----------------------------------------------------------------

OURS = sorted(path.stem for path in (REPOSITORY / "targets").glob("*.toml"))


@pytest.fixture
def ours(tmp_path: Path) -> Targets:
    """Return the targets of this project, from a copy that is the caller's own."""
    shutil.copytree(REPOSITORY / "targets", tmp_path / "targets")
    return read_targets(project(tmp_path, {}))


def test_all_targets_of_this_project_are_right(ours: Targets) -> None:
    assert not ours.failures
    assert list(ours.targets) == OURS
    assert [name for name, target in ours.targets.items() if not target.manual] == ["first"]


@pytest.mark.parametrize("name", ["first", "shell"])
def test_what_every_machine_has_is_enough_for_these(ours: Targets, name: str) -> None:
    found = plan(ours.targets[name], Sysroot()).artifacts
    assert {"/usr/bin/ls", "/bin/ls"} & set(found)
    assert "/etc/localtime" in found or not os.path.lexists("/etc/localtime")


@pytest.mark.parametrize("name", OURS)
def test_each_target_of_this_project_says_what_it_is_for(name: str) -> None:
    text = (REPOSITORY / "targets" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert re.search(r"^summary +=", text, re.MULTILINE)
    assert re.search(r"^\[check(\.service)?\]$", text, re.MULTILINE)


# -- the documentation --------------------------------------------------------------------------

PAGE = (REPOSITORY / "docs/target-file.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.strip().splitlines()[0])
def test_each_example_of_the_documentation_is_right(tmp_path: Path, text: str) -> None:
    found = read_targets(project(tmp_path, {"x.toml": text, "common/daemon.toml": ""}))
    assert not found.failures


def test_the_documentation_has_every_key() -> None:
    code = " ".join([*EXAMPLES, *re.findall(r"`([^`\n]+)`", PAGE)])
    structs = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, Struct)]
    keys = {key for kind in structs for key in kind.__struct_fields__}
    assert {"char", "stop_signal", "legacy"} < keys
    assert {key for key in keys if not re.search(rf"\b{key}\b", code)} == set()


def test_the_documentation_lists_every_include() -> None:
    table = PAGE.split("| name | brings |\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)) == INCLUDES
