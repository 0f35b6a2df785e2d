"""The log socket in a root, made by the host's syslog daemon; and logrotate for its other logs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from chrootbuild.errors import Failure
from chrootbuild.hostside.quoting import c_string, glob_string, plain, sh, unit_name, unit_path
from chrootbuild.hostside.snippet import Form, Snippet
from chrootbuild.plan.users import Known
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target

_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")
# The file that syslogd's start script reads with the shell, and its variable.
_OPTIONS = (
    ("/etc/sysconfig/syslog", "SYSLOGD_OPTIONS"),
    ("/etc/default/inetutils-syslogd", "SYSLOGD_OPTS"),
    ("/etc/default/syslogd", "SYSLOGD"),
)


def syslog(target: Target, known: Known, sysroot: Sysroot, here: Sysroot) -> tuple[Snippet, ...]:
    """Return the configuration of a root's log socket, for the daemon of ``here``, and logrotate.conf(5).

    Raises Failure where the target asks for no socket and has no log
    directory, and where no syslog daemon is found.
    """
    found: list[Snippet] = []
    own_log = ""
    if target.syslog:
        if known.system == "freebsd":
            return _freebsd(target)
        daemon = daemon_of(here)
        if daemon == "syslog-ng":
            own_log = f"/var/log/chroot-{target.name}.log"
        found += _LINUX[daemon](target, here)
    rotated = _logrotate(target, sysroot, own_log)
    if not found and not rotated:
        raise Failure(
            f"cannot write syslog for {target.name}: {os.path.basename(target.file)} has neither"
            " [syslog] socket nor a directory in /var/log",
            hint="add it: [syslog] socket = true",
        )
    return (*found, *rotated)


def daemon_of(here: Sysroot) -> str:
    """Return the syslog daemon of a host: rsyslog, syslog-ng, journald or syslogd; raises Failure.

    Under systemd /dev/log is journald's, which forwards to any other
    daemon: it is chosen where neither of the first two is installed.
    """
    for name, program in (("rsyslog", "rsyslogd"), ("syslog-ng", "syslog-ng")):
        if any(here.isfile(f"{directory}/{program}") for directory in _SBIN):
            return name
    if here.isdir("/run/systemd/system"):
        return "journald"
    if any(here.isfile(path) for path, _ in _OPTIONS):
        return "syslogd"
    if here.isfile("/usr/lib/systemd/systemd-journald"):
        return "journald"
    options = ", ".join(path for path, _ in _OPTIONS)
    raise Failure(
        "cannot find a syslog daemon on this host that can make a socket in a root",
        details=(
            f"looked for rsyslogd and syslog-ng in {', '.join(_SBIN)},",
            f"for systemd-journald, and for the options of syslogd in {options}",
        ),
        hint="install rsyslog or syslog-ng",
    )


def _rsyslog(target: Target, here: Sysroot) -> tuple[Snippet, ...]:
    del here
    socket = c_string(f"{target.root}/dev/log")
    return (
        Snippet(
            f"/etc/rsyslog.d/chroot-{target.name}.conf",
            f'input(type="imuxsock" Socket={socket} CreatePath="on")\n',
            note="systemctl restart rsyslog",
            undo="systemctl restart rsyslog",
        ),
    )


def _syslog_ng(target: Target, here: Sysroot) -> tuple[Snippet, ...]:
    # Names in the main configuration differ from host to host: hence a log of its own.
    # Without create-dirs a missing root would keep syslog-ng from starting.
    del here
    name = "".join(char if char.isalnum() else "_" for char in target.name)
    socket, log = c_string(f"{target.root}/dev/log"), c_string(f"/var/log/chroot-{target.name}.log")
    text = (
        f"source s_chroot_{name} {{ unix-dgram({socket} create-dirs(yes) dir-perm(0755)); }};\n"
        f"destination d_chroot_{name} {{ file({log}); }};\n"
        f"log {{ source(s_chroot_{name}); destination(d_chroot_{name}); }};\n"
    )
    path = f"/etc/syslog-ng/conf.d/chroot-{target.name}.conf"
    return (Snippet(path, text, note="systemctl restart syslog-ng", undo="systemctl restart syslog-ng"),)


def _journald(target: Target, here: Sysroot) -> tuple[Snippet, ...]:
    """Return a mount unit: journald opens no second socket, so its own is bind-mounted into the root."""
    del here
    place = unit_path(f"{target.root}/dev/log")
    name = f"{unit_name(f'{target.root}/dev/log')}.mount"
    mount = (
        f"[Unit]\nDescription=The log socket of the root {target.name}\n"
        "Requires=systemd-journald-dev-log.socket\n"
        "After=systemd-journald-dev-log.socket systemd-tmpfiles-setup.service\n\n"
        f"[Mount]\nWhat=/run/systemd/journal/dev-log\nWhere={place}\nType=none\nOptions=bind\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    quoted = c_string(place)
    return (
        Snippet(f"/etc/tmpfiles.d/chroot-{target.name}-log.conf", f"f {quoted} 0644 root root -\n"),
        Snippet(
            f"/etc/systemd/system/{name}",
            mount,
            note=f"systemd-tmpfiles --create chroot-{target.name}-log.conf && systemctl daemon-reload"
            f" && systemctl enable --now {sh(name)}",
            undo=f"systemctl disable --now {sh(name)}; systemctl daemon-reload",
        ),
    )


def _syslogd(target: Target, here: Sysroot) -> tuple[Snippet, ...]:
    path, variable = next((path, name) for path, name in _OPTIONS if here.isfile(path))
    value = f"${{{variable}}} -a {target.root}/dev/log"
    return (
        Snippet(
            path,
            f'{variable}="{_words(value, target)}"\n',
            Form.LINES,
            note="restart syslogd: /etc/init.d/syslog restart",
            undo="restart syslogd",
        ),
    )


_LINUX = {"rsyslog": _rsyslog, "syslog-ng": _syslog_ng, "journald": _journald, "syslogd": _syslogd}


def _freebsd(target: Target) -> tuple[Snippet, ...]:
    """Return rc.conf(5) lines that append a socket to the flags of syslogd(8)."""
    value = f"${{syslogd_flags}} -l {target.root}/var/run/log"
    return (
        Snippet(
            "/etc/rc.conf",
            f'syslogd_flags="{_words(value, target)}"\n',
            Form.LINES,
            note="service syslogd restart",
            undo="service syslogd restart",
        ),
    )


def _words(value: str, target: Target) -> str:
    """Return a value for the shell within double quotes, later split at blanks; raises Failure."""
    if any(char in " \t\"'\\$`*?[" for char in target.root):
        raise Failure(
            f"cannot write {target.root} into syslogd's options: they are split at blanks and quotes",
            hint="give the root another name",
        )
    return value


# -- logs that the daemon writes itself -------------------------------------------------------


def _logrotate(target: Target, sysroot: Sysroot, own_log: str) -> tuple[Snippet, ...]:
    """Return rules for *.log in the root's directories in /var/log, and for a log of our own.

    logrotate runs as the directory's owner (su), who could plant links there.
    The daemon keeps its file open: hence copytruncate.
    """
    rules = [_rule(own_log, [])] if own_log else []
    for path, item in sorted(target.directories.items()):
        if not f"{path}/".startswith("/var/log/"):
            continue
        info = sysroot.stat(path)
        user = item.owner or (str(info.st_uid) if info is not None else "root")
        group = item.group or (str(info.st_gid) if info is not None else "root")
        su = [] if user in ("root", "0") and group in ("root", "0") else [f"su {user} {group}"]
        rules.append(_rule(f"{target.root}{plain(path, 'a rule')}/*.log", [*su, "copytruncate"]))
    if not rules:
        return ()
    return (Snippet(f"/etc/logrotate.d/chroot-{target.name}", "\n".join(rules)),)


def _rule(path: str, lines: Sequence[str]) -> str:
    directory, name = os.path.split(path)
    common = ("weekly", "rotate 4", "compress", "delaycompress", "missingok", "notifempty")
    body = "".join(f"\t{line}\n" for line in (*lines, *common))
    return f'"{glob_string(directory)}/{name}" {{\n{body}}}\n'
