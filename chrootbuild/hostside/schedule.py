"""Starts refresh (or watch) by cron, systemd, apt, dpkg or periodic(8): the files to install, as text.

The hooks of apt and dpkg start it detached and do not wait: the package
manager holds its lock while a hook runs, and refresh waits for that lock.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import zlib
from dataclasses import dataclass, replace

from chrootbuild.errors import Failure, UsageError
from chrootbuild.hostside.quoting import apt_string, cron_command, plain, sh, sh_words, unit_exec
from chrootbuild.hostside.snippet import Form, Owner, Snippet
from chrootbuild.state.places import SYSTEM
from chrootbuild.state.project import Project
from chrootbuild.system.rights.trust import refuse_untrusted

KINDS = ("cron", "systemd", "apt", "dpkg", "watch", "periodic")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DPKG_LINE = 1023  # bytes; dpkg reads its configuration by lines of that length


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled run: its program, its project, and the name of its files."""

    program: tuple[str, ...]  # absolute; the start of a command
    project: str
    out: str = ""  # OUT, if not the default
    every: int = 60  # minutes, a divisor of 60
    freebsd: bool = False

    @property
    def name(self) -> str:
        """The name of files and units: letters, digits and dashes, as cron.d and dpkg.cfg.d require."""
        if self.project == SYSTEM:
            return "chrootbuild"
        words = re.sub(r"[^A-Za-z0-9]+", "-", os.path.basename(self.project)).strip("-")[:40]
        number = zlib.crc32(os.fsencode(self.project))
        return f"chrootbuild-{words or 'project'}-{number:08x}"

    @property
    def minute(self) -> int:
        """The minute to start at: a hash of the project, below ``every``."""
        return zlib.crc32(os.fsencode(self.project)) % self.every

    def command(self, word: str) -> tuple[str, ...]:
        """Return the command line of our command ``word``."""
        out = (f"out={self.out}",) if self.out else ()
        return (*self.program, "-C", self.project, *out, word)


def program() -> tuple[str, ...]:
    """Return our start command for cron: the script beside this Python, else in PATH, else ``python -m``."""
    beside = os.path.join(os.path.dirname(sys.executable), "chrootbuild")
    found = beside if os.access(beside, os.X_OK) else shutil.which("chrootbuild")
    return (os.path.abspath(found),) if found else (sys.executable, "-P", "-m", "chrootbuild")


def job_of(project: Project, every: int = 60) -> Job:
    """Return the job of a project on this machine; raises UsageError for an interval cron cannot express."""
    if every < 1 or 60 % every:
        raise UsageError(
            f"cannot run every {every} minutes: crontab(5) and systemd.time(7) divide the hour",
            hint="use 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60",
        )
    usual = replace(
        project, out="/srv/chroot" if project.directory == SYSTEM else f"{project.directory}/build"
    )
    out = "" if usual == project else project.out
    return Job(program(), project.directory, out, every, sys.platform.startswith("freebsd"))


def refuse_unsafe(job: Job) -> None:
    """Raise Failure where somebody else could write a file that root will run."""
    refuse_untrusted([job.program[0], job.project], what="what root would run:")


def owner(project: Project, kind: str) -> Owner:
    """Return the owner of a project's snippets."""
    return Owner(f"schedule {kind}", project.directory)


def snippets(kind: str, job: Job) -> tuple[Snippet, ...]:
    """Return the snippets of a kind of KINDS; raises Failure where a path cannot be written there."""
    for word in job.command(""):
        plain(word, "the host's files")
    return _KINDS[kind](job)


# -- cron and periodic ------------------------------------------------------------------------


def _cron(job: Job) -> tuple[Snippet, ...]:
    """Return a file of cron.d, on FreeBSD lines of /etc/crontab; both have a user column."""
    line = f"{_minutes(job)} * * * * root {cron_command(job.command('refresh'))}\n"
    if job.freebsd:
        # Settings apply to every line below them: the command sets its own environment instead.
        path = f"/usr/bin/env PATH={_PATH} "
        line = line.replace(" root ", f" root {path}", 1)
        return (Snippet("/etc/crontab", line, Form.LINES),)
    text = f"SHELL=/bin/sh\nPATH={_PATH}\nMAILTO=root\n{line}"
    return (Snippet(f"/etc/cron.d/{job.name}", text),)


def _minutes(job: Job) -> str:
    if job.every == 1:
        return "*"
    return ",".join(str(minute) for minute in range(job.minute, 60, job.every))


_PERIODIC = """\
#!/bin/sh
# For periodic(8): exit 0 nothing to tell, 1 something was done, 3 it failed.
PATH={path}
export PATH
text=$({command} 2>&1)
code=$?
if [ -n "$text" ]; then
	printf '\\n%s\\n' {title}
	printf '%s\\n' "$text"
fi
[ "$code" -eq 0 ] || exit 3
[ -z "$text" ] || exit 1
exit 0
"""


def _periodic(job: Job) -> tuple[Snippet, ...]:
    title = sh(f"Chroots of {job.project}:")
    text = _PERIODIC.format(path=_PATH, command=sh_words(job.command("refresh")), title=title)
    return (Snippet(f"/usr/local/etc/periodic/daily/500.{job.name}", text, mode=0o755),)


# -- systemd ----------------------------------------------------------------------------------


def _systemd(job: Job) -> tuple[Snippet, ...]:
    """Return a service and its timer: systemd.service(5), systemd.timer(5)."""
    project = job.project.replace("%", "%%")
    service = (
        f"[Unit]\nDescription=Refresh the chroots of {project}\n\n"
        f"[Service]\nType=oneshot\nExecStart={_exec(job, 'refresh')}\n"
        f"Environment=PATH={_PATH}\n"
        "SuccessExitStatus=75\n"  # EX_TEMPFAIL: the lock is held, the next run will do it
    )
    timer = (
        f"[Unit]\nDescription=Refresh the chroots of {project} every {job.every} minutes\n\n"
        f"[Timer]\nOnCalendar=*:{_minutes(job)}\nPersistent=yes\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    return (
        Snippet(f"/etc/systemd/system/{job.name}.service", service),
        Snippet(
            f"/etc/systemd/system/{job.name}.timer",
            timer,
            note=f"systemctl daemon-reload && systemctl enable --now {job.name}.timer",
            undo=f"systemctl disable --now {job.name}.timer; systemctl daemon-reload",
        ),
    )


def _exec(job: Job, word: str) -> str:
    """Return the value of ExecStart=: by the shell where systemd refuses the program's name."""
    command = job.command(word)
    if any(char in "\"'\\" for char in command[0]):
        command = ("/bin/sh", "-c", 'exec "$@"', "sh", *command)
    return unit_exec(command)


def _watch(job: Job) -> tuple[Snippet, ...]:
    """Return the service of watch, which notifies systemd when ready: sd_notify(3)."""
    name = f"{job.name}-watch.service"
    project = job.project.replace("%", "%%")
    text = (
        f"[Unit]\nDescription=Keep the chroots of {project} fresh\nAfter=local-fs.target\n\n"
        f"[Service]\nType=notify\nExecStart={_exec(job, 'watch')}\n"
        f"Environment=PATH={_PATH}\n"
        "ExecReload=/bin/kill -HUP $MAINPID\nRestart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    return (
        Snippet(
            f"/etc/systemd/system/{name}",
            text,
            note=f"systemctl daemon-reload && systemctl enable --now {name}",
            undo=f"systemctl disable --now {name}; systemctl daemon-reload",
        ),
    )


# -- package managers -------------------------------------------------------------------------


def detached(job: Job) -> str:
    """Return the shell command of a hook: it starts refresh detached, and never fails.

    As a transient unit under systemd, its messages in the journal;
    else in a session of its own, its messages to syslog.
    """
    command = job.command("refresh")
    # systemd-run expands $ as ExecStart= does.
    unit = sh_words(["systemd-run", "--quiet", "--no-block", "--collect", f"--setenv=PATH={_PATH}", "--"])
    unit += " " + sh_words(word.replace("$", "$$") for word in command)
    inner = f"export PATH={_PATH}; {sh_words(command)} 2>&1 | logger -t chrootbuild"
    session = f"setsid -f sh -c {sh(inner)}"
    return (
        f"if [ -x {sh(job.program[0])} ]; then "
        f"if [ -d /run/systemd/system ]; then {unit}; else {session}; fi "
        "</dev/null >/dev/null 2>&1 || :; fi"
    )


def _apt(job: Job) -> tuple[Snippet, ...]:
    """Return a file of apt.conf.d: apt runs DPkg::Post-Invoke after each run of dpkg."""
    text = f"DPkg::Post-Invoke {{ {apt_string(detached(job))}; }};\n"
    return (Snippet(f"/etc/apt/apt.conf.d/99{job.name}", text, comment="//"),)


def _dpkg(job: Job) -> tuple[Snippet, ...]:
    """Return a file of dpkg.cfg.d: dpkg runs post-invoke itself, also without apt. Raises Failure."""
    line = f"post-invoke={detached(job)}\n"
    if len(os.fsencode(line)) > _DPKG_LINE:
        raise Failure(
            f"cannot write a hook for dpkg: the line is longer than {_DPKG_LINE} bytes",
            hint="use the hook of apt, or give the project a shorter path",
        )
    return (Snippet(f"/etc/dpkg/dpkg.cfg.d/{job.name}", line),)


_KINDS = {
    "cron": _cron,
    "systemd": _systemd,
    "apt": _apt,
    "dpkg": _dpkg,
    "watch": _watch,
    "periodic": _periodic,
}
