"""The files that start refresh: their names, their commands, and what their readers make of odd paths."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from chrootbuild.errors import Failure, UsageError
from chrootbuild.hostside import schedule
from chrootbuild.hostside.schedule import Job
from chrootbuild.hostside.snippet import Form
from chrootbuild.state.places import SYSTEM
from chrootbuild.state.project import Project
from tests.support.hostside_project import ODD

JOB = Job(("/usr/bin/chrootbuild",), SYSTEM)


def content(kind: str, job: Job = JOB) -> str:
    return schedule.snippets(kind, job)[0].content


def test_the_systems_own_project_has_the_plain_names() -> None:
    names = {kind: [snippet.path for snippet in schedule.snippets(kind, JOB)] for kind in schedule.KINDS}
    assert names == {
        "cron": ["/etc/cron.d/chrootbuild"],
        "systemd": ["/etc/systemd/system/chrootbuild.service", "/etc/systemd/system/chrootbuild.timer"],
        "apt": ["/etc/apt/apt.conf.d/99chrootbuild"],
        "dpkg": ["/etc/dpkg/dpkg.cfg.d/chrootbuild"],
        "watch": ["/etc/systemd/system/chrootbuild-watch.service"],
        "periodic": ["/usr/local/etc/periodic/daily/500.chrootbuild"],
    }


@pytest.mark.parametrize(
    "project", ["/srv/roots", "/srv/my.roots v2", "/srv/\u00e4", f"/srv/{ODD}", "/a" * 200]
)
def test_a_projects_name_is_one_that_cron_d_and_dpkg_cfg_d_read(project: str) -> None:
    name = replace(JOB, project=project).name
    assert re.fullmatch(r"chrootbuild-[A-Za-z0-9-]+-[0-9a-f]{8}", name)  # run-parts(8)
    assert len(name) < 80


def test_projects_of_the_same_name_in_two_places_have_names_of_their_own() -> None:
    assert replace(JOB, project="/a/roots").name != replace(JOB, project="/b/roots").name


def test_a_roots_folder_that_is_not_the_usual_one_is_part_of_the_command() -> None:
    assert schedule.job_of(Project("/srv/p", "/srv/p/.chrootbuild", "/srv/p/build")).out == ""
    job = schedule.job_of(Project("/srv/p", "/srv/p/.chrootbuild", "/opt/my roots"))
    assert job.command("refresh")[-4:] == ("-C", "/srv/p", "out=/opt/my roots", "refresh")
    assert "'out=/opt/my roots'" in content("cron", job)


def test_the_program_is_an_absolute_path_that_can_be_run() -> None:
    first, *rest = schedule.program()
    assert os.access(first, os.X_OK)
    assert os.path.isabs(first)
    assert rest in ([], ["-P", "-m", "chrootbuild"])


def test_beside_this_python_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert schedule.program() == (str(tmp_path / "python"), "-P", "-m", "chrootbuild")
    tmp_path.joinpath("chrootbuild").touch(mode=0o755)
    assert schedule.program() == (str(tmp_path / "chrootbuild"),)


@pytest.mark.parametrize("every", [0, -1, 7, 61, 120])
def test_an_interval_that_does_not_divide_the_hour_is_an_error(every: int) -> None:
    with pytest.raises(UsageError, match=f"cannot run every {every} minutes"):
        schedule.job_of(Project("/p", "/p/s", "/p/build"), every)


@pytest.mark.parametrize("kind", schedule.KINDS)
def test_a_path_with_a_newline_is_an_error(kind: str) -> None:
    with pytest.raises(Failure, match="it has a control character"):
        schedule.snippets(kind, replace(JOB, project="/srv/a\nroot"))


# -- cron and periodic ------------------------------------------------------------------------


def test_a_file_of_cron_d_has_path_mailto_and_a_user() -> None:
    lines = content("cron").splitlines()
    assert lines[:3] == [
        "SHELL=/bin/sh",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "MAILTO=root",
    ]
    minute, rest = lines[3].split(" ", 1)
    assert 0 <= int(minute) < 60
    assert rest == "* * * * root /usr/bin/chrootbuild -C /etc/chrootbuild refresh"


@pytest.mark.parametrize(("every", "count"), [(1, 60), (15, 4), (20, 3), (60, 1)])
def test_the_minutes_lie_evenly_in_the_hour(every: int, count: int) -> None:
    minutes = content("cron", replace(JOB, every=every)).splitlines()[-1].split(" ")[0]
    found = list(range(60)) if minutes == "*" else [int(minute) for minute in minutes.split(",")]
    assert len(found) == count
    assert {later - first for first, later in pairwise(found)} <= {every}


def test_a_percent_sign_in_a_crontab_is_escaped() -> None:
    job = replace(JOB, project="/srv/100% it's")
    command = content("cron", job).splitlines()[-1].split(" ", 6)[-1]
    assert not re.search(r"(?<!\\)%", command)
    assert shlex.split(command.replace("\\%", "%")) == ["/usr/bin/chrootbuild", "-C", job.project, "refresh"]


def test_on_freebsd_the_line_goes_into_crontab_and_brings_its_own_path() -> None:
    (snippet,) = schedule.snippets("cron", replace(JOB, freebsd=True))
    assert (snippet.path, snippet.form) == ("/etc/crontab", Form.LINES)
    (line,) = snippet.content.splitlines()
    _, *stars, user, env, path, program = line.split(" ")[:9]
    assert (stars, user, env, program) == (["*"] * 4, "root", "/usr/bin/env", "/usr/bin/chrootbuild")
    assert path.startswith("PATH=/")


@pytest.mark.parametrize(
    ("says", "exits", "code"), [("", 0, 0), ("2 replaced", 0, 1), ("error: no", 1, 3), ("", 75, 3)]
)
def test_periodic_is_told_whether_there_is_something_to_read(
    tmp_path: Path, says: str, exits: int, code: int
) -> None:
    refresh = tmp_path / "it's a program"
    refresh.write_text(f"#!/bin/sh\nprintf '%s' '{says}'\nexit {exits}\n")
    refresh.chmod(0o755)
    script = content("periodic", Job((str(refresh),), f"/srv/{ODD}"))
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == ""
    assert done.stdout == (f"\nChroots of /srv/{ODD}:\n{says}\n" if says else "")


# -- hooks ------------------------------------------------------------------------------------


def run_hook(job: Job, log: Path) -> subprocess.CompletedProcess[str]:
    """Run a hook's shell command, with a logger that writes to a file."""
    tools = log.parent / "tools"
    tools.mkdir()
    tools.joinpath("logger").write_text(f'#!/bin/sh\ncat > "{log}.new"; mv "{log}.new" "{log}"\n')
    tools.joinpath("logger").chmod(0o755)
    # The hook sets its own PATH for the logger: put the stand-in into that.
    command = schedule.detached(job).replace("PATH=/usr/local/sbin", f"PATH={tools}:/usr/local/sbin")
    command = command.replace("/run/systemd/system", "/nonexistent")
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)


def stand_in(where: Path, body: str) -> Path:
    where.write_text(f"#!/bin/sh\n{body}")
    where.chmod(0o755)
    return where


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists():
            return path.read_text()
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"there is no {path}")


def test_a_hook_does_not_wait_for_the_refresh_and_its_messages_go_to_syslog(tmp_path: Path) -> None:
    go, log = tmp_path / "go", tmp_path / "log"
    os.mkfifo(go)  # the stand-in waits here until the hook is over
    refresh = stand_in(tmp_path / "it's $x", f'read _ < "{go}"\nprintf \'%s|\' "$@"\n')
    done = run_hook(Job((str(refresh),), f"/srv/{ODD}"), log)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not log.exists()
    go.write_text("now\n")
    assert wait_for(log) == f"-C|/srv/{ODD}|refresh|"


def test_a_hook_runs_in_a_session_of_its_own(tmp_path: Path) -> None:
    refresh = stand_in(tmp_path / "refresh", "ps -o sid= -p $$\n")
    run_hook(Job((str(refresh),), SYSTEM), tmp_path / "log")
    assert int(wait_for(tmp_path / "log")) != os.getsid(0)


def test_a_hook_is_silent_when_the_program_has_gone(tmp_path: Path) -> None:
    done = run_hook(Job((f"{tmp_path}/gone",), SYSTEM), tmp_path / "log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    subprocess.run(["sleep", "0.3"], check=True)
    assert not tmp_path.joinpath("log").exists()


def test_under_systemd_a_hook_starts_a_unit_whose_dollars_are_doubled(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    stand_in(tools / "systemd-run", f"printf '%s|' \"$@\" > '{tmp_path}/log'\n")
    job = Job((str(stand_in(tmp_path / "refresh", "exit 9\n")),), "/srv/$HOME it's")
    command = schedule.detached(job).replace("/run/systemd/system", str(tools))
    subprocess.run(["sh", "-c", command], check=True, env={"PATH": f"{tools}:/usr/bin:/bin"})
    words = tmp_path.joinpath("log").read_text().split("|")[:-1]
    assert words[:3] == ["--quiet", "--no-block", "--collect"]
    assert words[words.index("--") + 1 :] == [str(tmp_path / "refresh"), "-C", "/srv/$$HOME it's", "refresh"]


def test_a_hook_that_is_too_long_a_line_for_dpkg_is_an_error() -> None:
    with pytest.raises(Failure, match="the line is longer than 1023 bytes"):
        schedule.snippets("dpkg", replace(JOB, project="/srv/" + "x" * 400))


def test_the_file_for_apt_is_marked_by_apts_own_comment() -> None:
    (snippet,) = schedule.snippets("apt", JOB)
    assert snippet.comment == "//"
    assert snippet.content.startswith('DPkg::Post-Invoke { "')


@pytest.mark.root
def test_a_program_or_project_that_somebody_else_can_write_is_refused(tmp_path: Path) -> None:
    refresh = stand_in(tmp_path / "refresh", "")
    schedule.refuse_unsafe(Job((str(refresh),), str(tmp_path)))
    refresh.chmod(0o777)
    with pytest.raises(Failure, match=r"cannot trust .*/refresh: it can be written by everyone"):
        schedule.refuse_unsafe(Job((str(refresh),), str(tmp_path)))
