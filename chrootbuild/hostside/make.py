"""The host's side of a root: links into it, start scripts, syslog, units and mounts, as text to install.

Pure functions from a target (and facts of its sysroot) to snippets; nothing
is written here. No snippet runs a program of the root outside the root.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from chrootbuild.errors import Failure
from chrootbuild.hostside import freebsd as hostside_freebsd
from chrootbuild.hostside import syslog, systemd_unit
from chrootbuild.hostside.quoting import fstab_field, plain, sh, sh_words
from chrootbuild.hostside.snippet import Form, Owner, Snippet
from chrootbuild.plan.users import Known, look, program
from chrootbuild.state.project import Project
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target

KINDS = ("links", "wrapper", "syslog", "unit", "fstab", "devfs", "jail")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # in a root; as `check` sets it
_OF = {"unit": "linux", "devfs": "freebsd", "jail": "freebsd"}


def owner(project: Project, name: str, kind: str) -> Owner:
    """Return the owner of a target's snippets."""
    return Owner(f"host {name} {kind}", f"{project.targets}/{name}.toml")


def snippets(kind: str, target: Target, project: Project, prefix: str = "") -> tuple[Snippet, ...]:
    """Return the snippets of a kind for the host.

    Of the tree ``prefix`` ("" for /) only the syslog daemon and the devfs
    rules are read. Raises Failure where the target asks for nothing of
    this kind, TargetError where a user or program is unknown.
    """
    plain(target.root, "the host's files")
    sysroot, here = Sysroot(target.sysroot), Sysroot(prefix or "/")
    known = look(target, sysroot)
    if _OF.get(kind, known.system) != known.system:
        names = {"linux": "Linux", "freebsd": "FreeBSD"}
        raise Failure(
            f"cannot write {kind} for {target.name}: it is {names[_OF[kind]]}'s,"
            f" and this root is for {names[known.system]}",
            hint="for FreeBSD there are devfs and jail" if kind == "unit" else "for Linux there is unit",
        )
    functions: dict[str, Callable[[], tuple[Snippet, ...]]] = {
        "links": lambda: links(target),
        "wrapper": lambda: wrapper(target, known, sysroot, project),
        "syslog": lambda: syslog.syslog(target, known, sysroot, here),
        "unit": lambda: systemd_unit.unit(target, known, sysroot),
        "fstab": lambda: fstab(target, known),
        "devfs": lambda: hostside_freebsd.devfs(target, here),
        "jail": lambda: hostside_freebsd.jail(target, known, sysroot, here),
    }
    return functions[kind]()


def links(target: Target) -> tuple[Snippet, ...]:
    """Return the symlinks of ``host.links``, from the host into the root."""
    if not target.host.links:
        raise _nothing(target, "links", "host.links", '"/usr/local/apache" = "/usr/local/apache"')
    return tuple(
        Snippet(plain(path, "a command"), target.root + plain(item.value, "a command"), Form.LINK)
        for path, item in target.host.links.items()
    )


# -- start scripts ----------------------------------------------------------------------------

# The program's parents may be links valid only inside: the first component alone is tested,
# execve(2) inside reports the rest.
_WRAPPER = """\
#!/bin/sh
# {program} inside {root}, as {who}, with nothing of the caller's environment.
PATH={host_path}
root={root}
if ! [ -e "$root"/{top} ] && ! [ -L "$root"/{top} ]; then
	printf '%s: cannot start %s: %s was not built\\n' "$0" {shown} "$root" >&2
	printf '%s\\n' {hint} >&2
	exit 127
fi
umask 022
chroot=$(command -v chroot) || exit 127
if [ -t 0 ] || [ -t 1 ] || [ -t 2 ]; then
	# On a terminal of its own: into the caller's it could type (TIOCSTI, ioctl_tty(2)).
	{terminal}
fi
if (: </dev/tty) 2>/dev/null; then
	exec {session}env -i PATH={path} {env}"$chroot" {switch}"$root" {argv} "$@"
fi
exec env -i PATH={path} {env}"$chroot" {switch}"$root" {argv} "$@"
"""
# script(1) of util-linux takes a text for a shell, FreeBSD's the words themselves.
_TERMINAL_LINUX = """\
words=
	for word do
		word=$(printf '%s.' "$word" | sed "s/'/'\\\\\\\\''/g")
		words="$words '${{word%.}}'"
	done
	exec env -i PATH="$PATH" SHELL=/bin/sh script -q -e -c {start}"$chroot"{rest}"$words" /dev/null"""
_TERMINAL_FREEBSD = """\
exec script -q /dev/null env -i PATH={path} {env}"$chroot" {switch}"$root" {argv} "$@\""""


def wrapper(target: Target, known: Known, sysroot: Sysroot, project: Project) -> tuple[Snippet, ...]:
    """Return the start scripts of ``host.wrapper``: POSIX sh, user and group by number.

    Groups are given explicitly: without them GNU chroot looks names up on the
    host or inside, and FreeBSD's keeps the caller's.
    """
    if not target.host.wrapper:
        raise _nothing(
            target, "a wrapper", "host.wrapper", '"/usr/local/sbin/httpd" = ["/usr/sbin/apache2"]'
        )
    service = target.check.service
    env = dict(service.env) if service is not None else {}
    path = env.pop("PATH", PATH)
    directory = plain(project.directory, "a start script")
    found = []
    for script, command in target.host.wrapper.items():
        argv = (program(target, sysroot, command[0]), *command[1:])
        words = {
            "path": sh(path),
            "env": "".join(f"{name}={sh(value)} " for name, value in env.items()),
            "switch": _switch(known),
            "argv": sh_words(argv),
        }
        start, rest = "exec env -i PATH={path} {env}", " {switch}{root} {argv}"
        terminal = _TERMINAL_FREEBSD if known.system == "freebsd" else _TERMINAL_LINUX
        text = _WRAPPER.format(
            program=plain(argv[0], "a comment"),
            root=sh(target.root),
            who=_who(known),
            host_path=PATH,
            top=sh(argv[0].split("/")[1]),
            shown=sh(argv[0]),
            hint=sh(f"hint: chrootbuild -C {sh(directory)} build {target.name}"),
            terminal=terminal.format(
                start=sh(start.format(**words)), rest=sh(rest.format(**words, root=sh(target.root))), **words
            ),
            session="" if known.system == "freebsd" else "setsid --wait ",
            **words,
        )
        found.append(Snippet(plain(script, "a command"), text, mode=0o755))
    return tuple(found)


def _who(known: Known) -> str:
    user = known.user
    others = [str(gid) for gid in user.groups if gid != user.gid]
    words = f"{known.name} ({user.uid}:{user.gid})"
    return f"{words} and the groups {', '.join(others)}" if others else words


def _switch(known: Known) -> str:
    user = known.user
    if known.system == "freebsd":
        groups = ",".join(map(str, dict.fromkeys((user.gid, *user.groups))))
        return f"-u {user.uid} -g {user.gid} -G {groups} "
    if user.uid == 0 and user.gid == 0:
        return ""  # any chroot(8) can do that, busybox's too
    # The + keeps GNU chroot from asking the name service for a user whose name is a number.
    return f"--userspec=+{user.uid}:+{user.gid} --groups={','.join(f'+{gid}' for gid in user.groups)} "


# -- mounts -----------------------------------------------------------------------------------

# source, type, options: as `check` mounts them, /proc read-only because of /proc/sys.
_LINUX = {
    "/proc": ("proc", "proc", "ro,nosuid,nodev,noexec"),
    "/sys": ("sysfs", "sysfs", "ro,nosuid,nodev,noexec"),
    "/dev/pts": ("devpts", "devpts", "nosuid,noexec,gid=5,mode=620,ptmxmode=666"),
    "/dev/shm": ("tmpfs", "tmpfs", "nosuid,nodev,mode=1777"),  # noqa: S108
    "/dev/mqueue": ("mqueue", "mqueue", "nosuid,nodev,noexec"),
}
_FREEBSD = {
    "/proc": ("proc", "procfs", "rw,nosuid,noexec"),
    "/dev/fd": ("fdesc", "fdescfs", "rw"),
}


def fstab(target: Target, known: Known) -> tuple[Snippet, ...]:
    """Return an fstab line for each of ``mounts``; a path of no known filesystem binds the host's tree.

    On Linux a missing root does not stop the boot (nofail).
    """
    freebsd = known.system == "freebsd"
    mounts = [item.value for item in target.mounts if not (freebsd and item.value == "/dev")]
    if not mounts:
        raise _nothing(target, "fstab", "mounts", '["/proc"]')
    if "/dev" in mounts:
        raise Failure(
            f"cannot write fstab for {target.name}: a mount on /dev would show it every device of the host",
            hint="name what it needs in devices, or use the unit, which mounts a few: chrootbuild host"
            f" {target.name} unit",
        )
    lines = []
    for path in sorted(mounts):
        table, bind = (
            (_FREEBSD, ("nullfs", "rw,nosuid")) if freebsd else (_LINUX, ("none", "bind,nosuid,nodev"))
        )
        what, kind, options = table.get(path, (path, *bind))
        where = fstab_field(plain(target.root + path, "/etc/fstab"))
        options = options if freebsd else f"{options},nofail"
        lines.append(f"{fstab_field(what)} {where} {kind} {options} 0 0\n")
    places = [target.root + path for path in sorted(mounts)]
    mount = " && ".join(sh_words(["mount", place]) for place in places)
    return (
        Snippet(
            "/etc/fstab",
            "".join(lines),
            Form.LINES,
            note=mount if freebsd else f"systemctl daemon-reload (with systemd), {mount}",
            undo=sh_words(["umount", *reversed(places)]),
        ),
    )


def _nothing(target: Target, what: str, key: str, example: str) -> Failure:
    return Failure(
        f"cannot write {what} for {target.name}: {os.path.basename(target.file)} has no {key}",
        hint=f"add it: {key.rpartition('.')[2]} = {example if example[0] == '[' else f'{{ {example} }}'}",
    )
