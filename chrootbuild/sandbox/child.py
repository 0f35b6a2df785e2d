"""Entry to the sandbox: the last steps before the exec of a confined program; also run under strace.

setns(2) moves only later children into a pid namespace. So :func:`start` forks: the child
joins the inside view, drops its privileges, and execs the program; the
parent reports the child's pid and any error, and ends. See pid_namespaces(7), setns(2).
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from chrootbuild.errors import Failure
from chrootbuild.sandbox.privileges import cut_capabilities, reset_signals, switch_user
from chrootbuild.sandbox.view.own_root import Place, place_of
from chrootbuild.system import syscalls
from chrootbuild.system.rights.seccomp import confine_calls
from chrootbuild.system.rights.user import User

# Looked up immediately before the program's own execve(2): a trace up to here is not the
# program's.
MARK = "/.chrootbuild-the-program-starts-here"
_CODE = "import sys; sys.path.insert(0, sys.argv[2]); import chrootbuild.sandbox.child as i; i.main(int(sys.argv[1]))"
_ALL_CALLS = "%file,%process,%creds,chdir,fchdir,connect,bind,getdents64,fchown,fchmod"


@dataclass(frozen=True, slots=True)
class Entry:
    """A program to run inside, and the descriptors of its namespaces."""

    argv: Sequence[str]
    env: Mapping[str, str]
    user: User
    mapped: bool  # its ids are mapped; else a user namespace of its own shows the caller as that user
    view: int  # the inside view's mount namespace
    root: Place  # its root: nothing is executed anywhere else
    pids: int  # its pid namespace
    report: int  # a pipe to write the report to


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a start; pid 0: nothing was started."""

    pid: int = 0  # in the pid namespace of the host view
    step: str = ""  # what failed: "cannot STEP"
    errno: int = 0
    found: bool = False  # the program is there, though exec says ENOENT: its interpreter is not
    switching: bool = False  # what failed is the switch to the user


def traced_argv(entry: Entry, strace: str, trace: str, *, privileges: bool) -> list[str]:
    """Return a command that runs ``entry`` under strace(1), its text going to the file ``trace``.

    The program stays a child of the caller (-D). Only traced calls stop it (--seccomp-bpf),
    which sets no_new_privs; with ``privileges`` setuid works, and every call stops. The
    descriptors of ``entry`` become inheritable.
    """
    memory = os.memfd_create("entry", 0)
    os.write(memory, json.dumps(asdict(entry)).encode())
    for fd in (entry.view, entry.pids, entry.report):
        os.set_inheritable(fd, True)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    options = [
        "-D",
        "-f",
        "-y",
        "-s",
        "256",
        "--decode-pids=pidns",
        "-o",
        trace,
        "-e",
        f"trace={_ALL_CALLS}",
    ]
    if not privileges:
        options.append("--seccomp-bpf")
    helper = [sys.executable, "-I", "-S", "-B", "-c", _CODE, str(memory), package]
    return [strace, *options, "--", *helper]


def main(memory: int) -> None:
    """Run the entry stored in the file of a descriptor; the command of strace(1)."""
    with os.fdopen(memory, "rb") as file:
        file.seek(0)
        values = json.load(file)
    user = User(**values.pop("user"))
    root = Place(*values.pop("root"))
    entry = Entry(user=User(user.uid, user.gid, tuple(user.groups)), root=root, **values)
    for fd in (entry.view, entry.pids, entry.report):
        os.set_inheritable(fd, False)
    start(entry)


def start(entry: Entry) -> NoReturn:
    """Run the program as a child of this process, report, and end this process."""
    try:
        report = _start(entry)
    except OSError as error:
        report = Report(step="join the pid namespace", errno=error.errno or errno.EIO)
    os.write(entry.report, json.dumps(asdict(report)).encode() + b"\n")
    os._exit(0)


def read_report(fd: int) -> Report:
    """Return the report that :func:`start` writes to a pipe, and close it; none written: nothing was started.

    End of file is no sign: strace(1) inherits the write end, and lives on.
    """
    with os.fdopen(fd, "rb") as file:
        line = file.readline()
    return Report(**json.loads(line)) if line else Report(step="start it")


def start_failure(report: Report, privileged: bool) -> Failure:
    """Return the error of a failed start."""
    if report.switching:
        hint = "" if privileged else "run as root, or give yourself a range of ids: subuid(5), newuidmap(1)"
        return Failure(f"cannot {report.step}: {os.strerror(report.errno)}", hint=hint)
    if report.errno == errno.ENOENT and report.found:
        why = "its interpreter (the loader of an ELF file, or what #! names) is not in the root"
    elif report.errno == errno.ENOENT:
        why = "it is not in the root"
    elif report.errno == errno.EXDEV:
        why = "its mount namespace leads to another directory, and nothing is run there"
    elif report.errno == errno.ENOEXEC:
        why = "it is for another machine or system"
    else:
        why = os.strerror(report.errno)
    return Failure(f"cannot {report.step}: {why}")


def is_there(program: str, env: Mapping[str, str]) -> bool:
    """Return whether a program exists, looked up as execvpe does."""
    places = [program] if "/" in program else [f"{place}/{program}" for place in os.get_exec_path(dict(env))]
    return any(map(os.path.exists, places))


def _start(entry: Entry) -> Report:
    syscalls.setns(entry.pids, syscalls.CLONE_NEWPID)
    told, tell = os.pipe()
    waits, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os.close(go)
        _become(entry, tell, waits)
    os.close(tell)
    os.close(waits)
    failed: dict[str, Any] = {}
    with os.fdopen(told, "rb") as file:
        for line in file:
            word, value = json.loads(line)
            if word == "unmapped":  # its user namespace was made
                _map_one(child, entry.user)
                os.write(go, b"g")
            else:
                failed = value
    return Report(pid=child, **failed)


def _tell(tell: int, word: str, value: object = None) -> None:
    os.write(tell, json.dumps([word, value]).encode() + b"\n")


def _become(entry: Entry, tell: int, waits: int) -> NoReturn:
    """Exec the program; or report the error, and end."""
    step, found, switching = "enter the root", False, False
    nested = not entry.mapped and entry.user.uid != 0
    try:
        syscalls.setns(entry.view, syscalls.CLONE_NEWNS)
        if place_of("/") != entry.root:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.setsid()  # no controlling terminal, against TIOCSTI
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        reset_signals()
        step, switching = f"switch to {entry.user.uid}:{entry.user.gid}", True
        if nested:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            _tell(tell, "unmapped")
            os.read(waits, 1)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # its memory is still that of chrootbuild
        confine_calls()  # while CAP_SYS_ADMIN is there
        cut_capabilities()
        if nested:
            os.setresuid(entry.user.uid, entry.user.uid, entry.user.uid)
            syscalls.capset(0, 0)
        else:
            switch_user(entry.user, groups=entry.mapped)
        os.closerange(3, min(tell, waits))
        os.closerange(min(tell, waits) + 1, max(tell, waits))
        os.closerange(max(tell, waits) + 1, 1 << 20)
        step, switching = f"run {entry.argv[0]}", False
        found = os.access(MARK, os.F_OK)
        os.execvpe(entry.argv[0], list(entry.argv), dict(entry.env))  # noqa: S606
    except OSError as error:
        found = is_there(entry.argv[0], entry.env)
        failed = {"step": step, "errno": error.errno or errno.EIO, "found": found, "switching": switching}
        _tell(tell, "failed", failed)
    finally:
        os._exit(127)


def _map_one(pid: int, user: User) -> None:
    """Map the only id that exists, 0, to the user's: user_namespaces(7)."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user.uid} 0 1"),
        ("gid_map", f"{user.gid} 0 1"),
    ):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(text)


def trace_failure(program: str, output: str) -> Failure:
    """Return the error of a program that strace(1) did not start; ``output`` is the file of its words."""
    with open(output, encoding="utf-8", errors="replace") as file:
        said = file.read(2000).strip()
    return Failure(f"cannot trace {program}: {said or 'strace did not start it'}")
