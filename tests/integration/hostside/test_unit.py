"""The units, judged by systemd itself: systemd-analyze verify, its security score, and what its parser read."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from chrootbuild.hostside import schedule
from chrootbuild.hostside.schedule import Job
from chrootbuild.hostside.snippet import Snippet
from chrootbuild.hostside.systemd_unit import unit
from chrootbuild.plan.users import look
from chrootbuild.sysroot.reader import Sysroot
from tests.support.hostside_project import make_project, make_sysroot, public_folder, target_of

pytestmark = [pytest.mark.package("systemd")]

# What a unit can hold; a path cannot end in a blank or a backslash there.
ODD = 'it\'s 100% "q" $HOME #1;[x]{y}*?`z` a:b\\c'


COMMAND = ["/usr/bin/env", "-g", "daemon off; 100% $HOME", "", "a'b\\c", ";"]


def service(tmp_path: Path, keys: str = "", more: str = "", root: str = "/opt/chroot/web") -> Snippet:
    quoted = root.replace("\\", "\\\\").replace('"', '\\"')
    text = (
        f'summary = "100% of the web; its \\"server\\""\nroot = "{quoted}"\n'
        f'sysroot = "{make_sysroot(tmp_path / "sysroot")}"\nos = "linux"\n{keys}\n'
        f'[check.service]\nstart = ["/usr/bin/env", "-g", "daemon off; 100% $HOME", "", "a\'b\\\\c", ";"]\n{more}\n'
    )
    target = target_of(make_project(tmp_path, text))
    sysroot = Sysroot(target.sysroot)
    return unit(target, look(target, sysroot), sysroot)[0]


def verify(where: Path, *snippets: Snippet) -> str:
    """Return what systemd-analyze verify says of units, which are read from a folder of their own."""
    where.mkdir(exist_ok=True)
    paths = [where / os.path.basename(snippet.path) for snippet in snippets]
    for path, snippet in zip(paths, snippets, strict=True):
        path.write_text(snippet.content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_LOG_LEVEL": "warning"},
    )
    return done.stderr + done.stdout


def parsed(snippet: Snippet) -> list[str]:
    """Return the lines about a unit that systemd's own test mode prints; it starts nothing, and is not root."""
    name = os.path.basename(snippet.path)
    with public_folder() as where:
        where.joinpath(name).write_text(snippet.content)
        done = subprocess.run(
            ["/lib/systemd/systemd", "--test", "--system", f"--unit={name}"],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{where}:", "HOME": "/"},
            user=65534 if os.getuid() == 0 else None,  # it will not run as root
            group=65534 if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
        )
    text = done.stdout + done.stderr
    start = text.find(f"-> Unit {name}:")
    assert start >= 0, text
    return [line.strip() for line in text[start:].split("\n\t-> ", 1)[0].split("\n")]


@pytest.mark.parametrize(
    ("keys", "more"),
    [
        ("", ""),
        ("[syslog]\nsocket = true", 'user = "www"\nenv = { A = "b c", B = "it\'s 100% \\"q\\" $x \\\\" }'),
        (
            'mounts = ["/proc", "/sys", "/dev", "/dev/shm", "/srv/a b:c"]',
            'user = "www:ssl"\nstop_signal = "SIGQUIT"',
        ),
        ('devices = ["null", { name = "fuse", char = "10:229" }]', 'user = "nobody"'),
        ('setuid = ["/bin/su"]', ""),
        ('setuid = ["/bin/su"]', 'user = "www"'),
    ],
    ids=["root", "user", "mounts", "devices", "setuid", "setuid-user"],
)
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, keys: str, more: str) -> None:
    assert verify(tmp_path / "units", service(tmp_path, keys, more)) == ""


def test_systemd_would_find_something_wrong(tmp_path: Path) -> None:
    snippet = service(tmp_path)
    broken = Snippet(snippet.path, snippet.content.replace("MountAPIVFS=no", "MountAPIVSF=no"))
    assert "MountAPIVSF" in verify(tmp_path / "units", broken)


def test_systemd_reads_the_command_and_the_environment_as_they_were_written(tmp_path: Path) -> None:
    snippet = service(tmp_path, more='env = { A = "b c", B = "it\'s 100% \\"q\\" $x \\\\" }')
    lines = parsed(snippet)
    assert "Environment: A=b c" in lines
    assert 'Environment: B=it\'s 100% "q" $x \\' in lines
    assert 'Description: 100% of the web; its "server" (in its root)' in lines
    (command,) = (line.removeprefix("Command Line: ") for line in lines if line.startswith("Command Line: "))
    # as the test mode prints a command: quoted, with a backslash before what the shell would expand
    assert shlex.split(command.replace("\\$", "$")) == COMMAND
    assert "KillSignal: SIGTERM" in lines


@pytest.mark.parametrize("name", [ODD, "a b", "50%n %%", "a\\b c"])
def test_systemd_reads_any_root_as_it_is_named(tmp_path: Path, name: str) -> None:
    snippet = service(tmp_path, root=f"/opt/{name}")
    lines = parsed(snippet)
    assert f"RootDirectory: /opt/{name}" in lines
    assert f"RequiresMountsFor: /opt/{name} (origin-file)" in lines
    assert verify(tmp_path / "units", snippet) == ""


def test_mounts_become_what_is_seen_inside(tmp_path: Path) -> None:
    keys = 'mounts = ["/proc", "/sys", "/dev/shm", "/srv/a b:c"]\n[syslog]\nsocket = true'
    lines = parsed(service(tmp_path, keys))
    assert {line for line in lines if line.startswith(("Bind", "Temporary", "MountAPIVFS"))} == {
        "MountAPIVFS: no",
        "BindReadOnlyPaths: /proc:/proc:rbind",
        "BindPaths: /srv/a b:c:/srv/a b:c:rbind",
        "BindReadOnlyPaths: -/dev/log:/dev/log:rbind",
        "BindReadOnlyPaths: /sys:/sys:rbind",
        "TemporaryFileSystem: /dev/shm:nosuid,nodev,mode=1777",
    }


def score(where: Path, snippet: Snippet) -> tuple[float, str]:
    where.mkdir(exist_ok=True)
    path = where / os.path.basename(snippet.path)
    path.write_text(snippet.content)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", path], capture_output=True, text=True
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1]), done.stdout


CLOSED = (
    *("RootDirectory=/RootImage=", "NoNewPrivileges=", "RestrictSUIDSGID=", "ProtectKernelModules="),
    *("CapabilityBoundingSet=~CAP_SYS_ADMIN", "CapabilityBoundingSet=~CAP_SYS_PTRACE"),
    *("CapabilityBoundingSet=~CAP_SYS_MODULE", "CapabilityBoundingSet=~CAP_SYS_RAWIO"),
    *("CapabilityBoundingSet=~CAP_MKNOD", "RestrictNamespaces=~mnt", "RestrictNamespaces=~user"),
    *("SystemCallFilter=~@module", "SystemCallFilter=~@raw-io", "SystemCallFilter=~@reboot"),
    *("SystemCallFilter=~@debug", "SystemCallFilter=~@swap", "RestrictAddressFamilies=~AF_PACKET"),
)


@pytest.mark.parametrize(("more", "most"), [("", 4.0), ('user = "www"', 3.0)], ids=["root", "user"])
def test_the_ways_out_of_a_chroot_are_closed(tmp_path: Path, more: str, most: float) -> None:
    points, text = score(tmp_path / "units", service(tmp_path, more=more))
    assert points <= most
    good = {line.split()[1] for line in text.splitlines() if line.startswith("\u2713")}
    missing = [name for name in CLOSED if not any(item.startswith(name) for item in good)]
    assert missing == [], text


# -- schedule's units -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["systemd", "watch"])
@pytest.mark.parametrize("name", ["roots", ODD])
@pytest.mark.parametrize("every", [1, 15, 60])
def test_systemd_finds_nothing_wrong_with_the_units_of_schedule(
    tmp_path: Path, kind: str, name: str, every: int
) -> None:
    program = tmp_path / "it's chrootbuild"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    job = Job((str(program),), f"/srv/{name}", every=every)
    assert verify(tmp_path / "units", *schedule.snippets(kind, job)) == ""


def test_the_timer_starts_when_it_says() -> None:
    job = Job(("/bin/true",), "/srv/roots", every=15)
    timer = schedule.snippets("systemd", job)[1].content
    when = next(line for line in timer.splitlines() if line.startswith("OnCalendar=")).partition("=")[2]
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=8", when],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    minutes = {int(minute) for minute in re.findall(r"\d\d:(\d\d):00 UTC", done.stdout)}
    assert minutes == {job.minute + step for step in (0, 15, 30, 45)}
