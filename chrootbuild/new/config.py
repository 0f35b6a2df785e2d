"""Configuration of a package below /etc, and the port and user names in it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.packages import files_of, named
from chrootbuild.sysroot.reader import Sysroot

# Of the host's side, from any package.
_NOT_OURS = frozenset(
    """
    X11 alternatives apm apparmor apparmor.d apport apt bash_completion.d binfmt.d ca-certificates
    cron.d cron.daily cron.hourly cron.monthly cron.weekly dbus-1 default dhcp dpkg emacs environment.d fonts
    init init.d initramfs-tools insserv.conf.d kernel ld.so.conf.d logcheck logrotate.d menu modprobe.d
    modules-load.d monit munin network polkit-1 ppp profile.d rc0.d rc1.d rc2.d rc3.d rc4.d rc5.d rc6.d rcS.d
    resolvconf rsyslog.d runit skel ssl sudoers.d sv sysctl.d systemd tmpfiles.d udev ufw update-motd.d
    vim xdg
    """.split()
)
_SHARED = frozenset(("pam.d", "security"))  # of these only the package's own files
_LIMIT = 1 << 20  # bytes of one file
_MANY = 200  # files that are read
_DIGITS = 5  # of a port
_SIGN = rb"(?:[ \t]*[=:][ \t]*|[ \t]+)"  # one way to match any blanks: linear on a line of a million
_PORT = re.compile(
    rb"(?im)^[ \t]*(?:(?:[\w.-]*[._-])?(?:listen)?port|listen|bind|agentaddress)%b[\"']?"
    rb"(?:(\*|\[[0-9a-f:]*\]|\d{1,3}(?:\.\d{1,3}){3}):)?(\d{1,5})(?![\w.:])" % _SIGN
)
_USER = re.compile(
    rb"(?im)^[ \t]*(?:export[ \t]+)?[\w.-]*(?:user|owner)(?:name)?%b[\"']?([a-z_][\w.-]*)" % _SIGN
)


@dataclass(frozen=True, slots=True)
class Config:
    """Configuration: ``entries`` are for ``files``, ``closed`` their paths that others may not read."""

    entries: tuple[str, ...]
    read: tuple[str, ...]  # every file, by importance
    closed: tuple[str, ...]


def configuration(sysroot: Sysroot, packages: Iterable[str], argv: Iterable[str]) -> Config:
    """Return the configuration of packages, and the files that a command line names.

    A directory that is theirs alone is taken whole, so that later files in it count too.
    """
    packages = [package for package in dict.fromkeys(packages) if package]
    listed = sorted(
        {path for package in packages for path in files_of(sysroot, package) if path.startswith("/etc/")}
    )
    tops = sorted({path.split("/")[2] for path in listed} - _NOT_OURS)
    entries: list[str] = []
    for top in tops:
        path = f"/etc/{top}"
        own = [file for file in listed if file.startswith(f"{path}/") and sysroot.isfile(file)]
        if sysroot.isfile(path):
            entries.append(path)
        elif top not in _SHARED and sysroot.isdir(path) and _belongs(sysroot, path, packages):
            entries.append(f"{path}/")
        else:
            entries += own
    given = [word for word in argv if word.startswith("/") and sysroot.isfile(word)]
    given = [path for path in given if not path.startswith(("/usr/", "/bin/", "/sbin/", "/lib"))]
    files = list(dict.fromkeys((*given, *_files(sysroot, entries))))
    closed = [path for path in files if not _public(sysroot, path)]
    extra = [path for path in given if path in closed or not path.startswith(tuple(entries))]
    return Config(
        tuple(dict.fromkeys((*sorted(entries), *extra))),
        tuple(files[:_MANY]),
        tuple(path for path in closed if path not in given),
    )


def named_port(sysroot: Sysroot, config: Config) -> tuple[str, int]:
    """Return the first address and port in a configuration; ("", 0) for none.

    The address "" means any.
    """
    for path in config.read:
        for match in _PORT.finditer(sysroot.content(path, _LIMIT)):
            address, port = (match[1] or b"").decode("ascii"), int(match[2])
            if 0 < port < 65536:
                return ("" if address in ("*", "0.0.0.0", "[::]") else address), port  # noqa: S104 -- nothing is bound
    return "", 0


def well_known_port(sysroot: Sysroot, names: Iterable[str]) -> tuple[str, int]:
    """Return protocol and port of the first name that services(5) has for one protocol; ("", 0) for none."""
    known: dict[str, dict[str, int]] = {}
    for line in sysroot.content("/etc/services", _LIMIT).decode("ascii", "replace").splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1:
            port, _, protocol = words[1].partition("/")
            for name in (words[0], *words[2:]):
                if port.isdigit() and len(port) <= _DIGITS and protocol in ("tcp", "udp"):
                    known.setdefault(name, {}).setdefault(protocol, int(port))
    single = {name: next(iter(ports.items())) for name, ports in known.items() if len(ports) == 1}
    return next((single[name] for name in names if name in single), ("", 0))


def names_in(sysroot: Sysroot, config: Config) -> Iterator[str]:
    """Yield the words in a user name's place in a configuration."""
    for path in config.read:
        for match in _USER.finditer(sysroot.content(path, _LIMIT)):
            yield match[1].decode("utf-8", "surrogateescape")


def _belongs(sysroot: Sysroot, path: str, packages: Iterable[str]) -> bool:
    """Return whether a directory is of these packages alone, or part of its packages' names."""
    name = os.path.basename(path)
    if any(name in package for package in packages):
        return True
    owners = {one.package.partition(":")[0] for one in named(sysroot, name) if one.path == path}
    return all(owner in packages or name in owner for owner in owners)


def _files(sysroot: Sysroot, entries: Iterable[str]) -> Iterator[str]:
    """Yield the files of entries, sorted by depth, ``.conf`` and ``.cfg`` first."""
    found: list[str] = []
    for entry in entries:
        if not entry.endswith("/"):
            found.append(entry)
            continue
        try:
            found += [
                path for path, info in sysroot.walk(entry.rstrip("/")) if not stat.S_ISDIR(info.st_mode)
            ]
        except Unreadable:
            continue
    yield from sorted(
        found, key=lambda path: (path.count("/"), not path.endswith((".conf", ".cfg", "_config")), path)
    )


def _public(sysroot: Sysroot, path: str) -> bool:
    info = sysroot.stat(path)
    return info is None or bool(info.st_mode & 0o004)
