"""The crontab, run by the real cron daemon for one minute, with nothing of this machine's own to run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chrootbuild.hostside import schedule
from chrootbuild.hostside.installer import install
from chrootbuild.hostside.schedule import Job
from tests.support.hostside_project import make_project

pytestmark = [pytest.mark.root, pytest.mark.namespaces, pytest.mark.slow, pytest.mark.package("cron")]

# Private to the namespace: the jobs, the crontabs of users, and /run with cron's lock.
DAEMON = """
mount --bind "$1" /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs none /var/spool/cron
mkdir /var/spool/cron/crontabs
mount -t tmpfs none /run
exec timeout 100 cron -f
"""


def test_cron_runs_the_line_with_its_path_and_quoting(tmp_path: Path) -> None:
    where = tmp_path / "host"
    where.joinpath("etc/cron.d").mkdir(parents=True)
    log = tmp_path / "log"
    os.mkfifo(log)
    program = tmp_path / 'it\'s 100% "refresh"'
    program.write_text(
        f'#!/bin/sh\nexec > \'{log}\'\nid -u\nprintf \'%s\\n\' "$PATH" "$MAILTO" "$SHELL" "$@"\n'
    )
    program.chmod(0o755)
    project = '/srv/100% "q" it\'s $HOME #1;[x]*?`z`%%'
    job = Job((str(program),), project, every=1)
    found = schedule.snippets("cron", job)
    install(
        make_project(tmp_path / "p"), found, schedule.owner(make_project(tmp_path / "p"), "cron"), str(where)
    )
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", DAEMON, "sh"]
    with subprocess.Popen([*argv, where / "etc/cron.d"]) as daemon:
        try:
            # Opening the pipe waits for the program; cron starts it at the full minute.
            lines = subprocess.run(
                ["timeout", "90", "cat", log], capture_output=True, text=True
            ).stdout.splitlines()
        finally:
            daemon.kill()
    assert lines == [
        "0",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "root",
        "/bin/sh",
        "-C",
        project,
        "refresh",
    ]
