"""Sockets of processes outside, whatever their name is in the root."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule
from chrootbuild.audit.listeners import Listener
from chrootbuild.findings import Finding

SOCKET = Rule(
    "socket",
    "error where it commands the host (docker, containerd, podman, libvirt, D-Bus, systemd, snapd, lxd), by its name, "
    "the name it was bound to or who listens; warning for another daemon of the host's; "
    "note where it is not in a declared directory",
    "Whoever connects talks to a process outside, with the rights that it gives.",
    "let the host's daemon listen elsewhere; the log socket (/dev/log, /var/run/log) is meant to be here",
)

_LOGS = {"/dev/log", "/run/log", "/var/run/log", "/var/run/logpriv", "/run/systemd/journal/dev-log"}
_COMMANDING = (
    *"docker.sock dockerd.sock containerd.sock crio.sock podman.sock buildkitd.sock kubelet.sock".split(),
    *"libvirt-sock virtqemud-sock system_bus_socket snapd.socket /udev/control".split(),
    *"/systemd/private /systemd/notify /lxd/unix.socket /incus/unix.socket /lxc/unix.socket".split(),
)
_COMMANDERS = {
    *"dockerd containerd crio podman buildkitd kubelet libvirtd virtqemud dbus-daemon dbus-broker".split(),
    *"dbus-broker-lau snapd lxd incusd polkitd ssh-agent gpg-agent tmux screen Xorg".split(),
}


def unix_socket(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge a socket by its listener, found by the file's inode, and by its names: unix(7)."""
    if not stat.S_ISSOCK(entry.info.st_mode) or entry.path in _LOGS:
        return
    real = facts.root.real(entry.path)
    listener = facts.listeners.of(real, entry.info)
    who = () if listener is None else _outside(listener, facts)
    bound = listener is not None and (bool(who) or listener.name == real)
    commands = entry.path.endswith(_COMMANDING) or (bound and _commands(listener, who))
    if commands and (bound or not entry.free):
        yield SOCKET.error(entry.path, f"a socket by which the host is commanded{_by(listener, real)}")
    elif bound:
        yield SOCKET.warning(
            entry.path, f"a socket on which a process outside the root listens{_by(listener, real)}"
        )
    elif not entry.free:
        yield SOCKET.note(entry.path, "a socket that is not in a declared directory")


def _outside(listener: Listener, facts: Facts) -> tuple[str, ...]:
    inside = {process.pid for process in facts.processes}
    return tuple(name for pid, name in facts.listeners.holders(listener) if pid not in inside)


def _commands(listener: Listener | None, who: tuple[str, ...]) -> bool:
    return listener is not None and (listener.name.endswith(_COMMANDING) or bool(_COMMANDERS & set(who)))


def _by(listener: Listener | None, real: str) -> str:
    return f", bound as {listener.name}" if listener is not None and listener.name != real else ""
