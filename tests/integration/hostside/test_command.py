"""`chrootbuild host` and `chrootbuild schedule`, as people run them, in a mount namespace with folders of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostside_project import make_project, make_sysroot
from tests.support.places import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.namespaces]

# Folders of the host that the commands write to, empty and private.
PRIVATE = ("/media", "/etc/cron.d", "/etc/logrotate.d", "/etc/systemd/system", "/srv")


def run(script: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in which `c` is chrootbuild in this project."""
    for path in PRIVATE:
        Path(path).mkdir(parents=True, exist_ok=True)
    mounts = "".join(f"mount -t tmpfs -o mode=755 none {path}\n" for path in PRIVATE)
    start = f'c() {{ "{sys.executable}" -m chrootbuild -C "{project}" "$@"; }}\n'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", mounts + start + script],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done


def target(tmp_path: Path, more: str = "") -> Path:
    text = f'root = "/srv/web"\nsysroot = "{make_sysroot(tmp_path / "sysroot")}"\n{more}'
    return Path(make_project(tmp_path / "project", text).directory)


LINKS = 'os = "linux"\n[host]\nlinks = { "/media/web" = "/usr/local/web", "/media/conf" = "/etc/web" }\n'


def test_links_are_printed_installed_once_and_removed(tmp_path: Path) -> None:
    project = target(tmp_path, LINKS)
    done = run("c host web links; ls /media; c host web links --install; readlink /media/web", project)
    assert done.stdout.splitlines() == [
        "ln -s /srv/web/usr/local/web /media/web",
        "ln -s /srv/web/etc/web /media/conf",
        "install  /media/web",
        "install  /media/conf",
        "/srv/web/usr/local/web",
    ]
    # the namespace of the first run has gone, and its links with it; the memory has not
    script = "c host web links --install; echo again; c host web links --install; echo away;"
    done = run(f"{script} c host web links --uninstall; c host web links --uninstall; ls /media", project)
    assert done.stdout.splitlines() == [
        "install  /media/web",
        "install  /media/conf",
        "again",
        "away",
        "remove   /media/conf",
        "remove   /media/web",
    ]


def test_what_is_not_ours_is_an_error_with_exit_1(tmp_path: Path) -> None:
    done = run("touch /media/web; c host web links --install", target(tmp_path, LINKS))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: cannot install /media/web: a file is there that was not written by chrootbuild",
        "hint: move it away",
    ]


def test_uninstall_works_when_the_target_has_gone_or_is_wrong(tmp_path: Path) -> None:
    project = target(tmp_path, LINKS)
    toml = f"{project}/targets/web.toml"
    script = f'c host web links --install; {{}} "{toml}"; c host web links --uninstall; ls /media'
    for damage in ("rm", "echo binarys=1 >"):
        done = run(script.format(damage), project)
        assert done.stdout.splitlines()[2:] == ["remove   /media/conf", "remove   /media/web"], done.stderr
        Path(toml).write_text(f'root = "/srv/web"\n{LINKS}')


def test_what_comes_next_is_said_when_something_was_done(tmp_path: Path) -> None:
    project = target(tmp_path, 'os = "linux"\n[check.service]\nstart = ["/usr/sbin/httpd"]\n')
    script = "c host web unit --install; echo again; c host web unit --install; c host web unit --uninstall"
    assert run(script, project).stdout.splitlines() == [
        "install  /etc/systemd/system/chroot-web.service",
        "then: systemctl daemon-reload && systemctl enable --now chroot-web.service",
        'then: in the target: [host] restart = "systemctl restart chroot-web.service"',
        "again",
        "remove   /etc/systemd/system/chroot-web.service",
        "then: systemctl disable --now chroot-web.service; systemctl daemon-reload",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the other system is FreeBSD")
def test_a_freebsd_roots_side_is_printed_but_not_installed_on_linux(tmp_path: Path) -> None:
    project = target(tmp_path, 'os = "freebsd"\ndevices = ["null"]\n')
    done = run("c host web devfs; c host web devfs --install", project)
    assert done.returncode != 0
    assert "add path null unhide" in done.stdout
    assert (
        "cannot install the host's side of web here: its root is for FreeBSD, this host runs Linux"
        in done.stderr
    )


@pytest.mark.parametrize("words", ["host web nosuch", "host web", "host web links --install --uninstall"])
def test_a_wrong_command_line_is_exit_2(tmp_path: Path, words: str) -> None:
    assert run(f"c {words}", target(tmp_path, LINKS)).returncode == 2


def test_an_unknown_target_is_exit_2_with_a_hint(tmp_path: Path) -> None:
    done = run("c host wbe links", target(tmp_path, LINKS))
    assert done.returncode == 2
    assert "hint: did you mean web?" in done.stderr


# -- schedule ---------------------------------------------------------------------------------


def test_a_schedule_is_printed_installed_once_changed_and_removed(tmp_path: Path) -> None:
    project = target(tmp_path)
    script = (
        "c schedule cron; ls /etc/cron.d; echo install; c schedule cron --install; c schedule cron --install;"
        " echo change; c schedule cron --install --every 15; cat /etc/cron.d/*;"
        " echo away; c schedule cron --uninstall; c schedule cron --uninstall; ls /etc/cron.d"
    )
    done = run(script, project)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    path = next(line for line in lines if line.startswith("# /etc/cron.d/")).removeprefix("# ")
    assert lines[lines.index("install") + 1 :][:2] == [f"install  {path}", "change"]
    assert lines[lines.index("change") + 1] == f"replace  {path}"
    assert lines[lines.index("away") + 1 :] == [f"remove   {path}"]
    minutes = lines[lines.index("away") - 1].split(" ")[0].split(",")
    assert len(minutes) == 4


def test_two_projects_have_their_schedules_side_by_side(tmp_path: Path) -> None:
    project, other = target(tmp_path / "a"), target(tmp_path / "b")
    script = (
        f'c schedule cron --install; "{sys.executable}" -m chrootbuild -C "{other}" schedule cron --install;'
    )
    done = run(f"{script} c schedule cron --uninstall; grep -l '{other}' /etc/cron.d/*", project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("/etc/cron.d/chrootbuild-project-")


def test_a_project_that_somebody_else_can_write_is_not_scheduled(tmp_path: Path) -> None:
    project = target(tmp_path)
    project.chmod(0o777)
    done = run("c schedule cron --install; ls /etc/cron.d", project)
    assert done.returncode == 1
    assert "it can be written by everyone" in done.stderr


def test_an_interval_that_cron_does_not_know_is_exit_2(tmp_path: Path) -> None:
    assert run("c schedule cron --every 7", target(tmp_path)).returncode == 2
