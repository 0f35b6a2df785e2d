"""A hardened systemd service that runs a target's daemon in its root: systemd.exec(5)."""

from __future__ import annotations

import os
import pwd

from chrootbuild.errors import Failure
from chrootbuild.hostside.quoting import plain, unit_exec, unit_path, unit_word
from chrootbuild.hostside.snippet import Snippet
from chrootbuild.plan.users import Known, program
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.rights.user import KEPT
from chrootbuild.target.model import Service, Target

# Allowed by DevicePolicy=closed: systemd.resource-control(5).
_STANDARD = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}


def unit(target: Target, known: Known, sysroot: Sysroot) -> tuple[Snippet, ...]:
    """Return chroot-NAME.service, which starts the command of ``check.service``; raises Failure without one."""
    service = target.check.service
    if service is None:
        raise Failure(
            f"cannot write a unit for {target.name}: {os.path.basename(target.file)} has no [check.service]",
            hint='add it: [check.service] start = ["/usr/sbin/nginx", "-g", "daemon off;"]',
        )
    argv = (program(target, sysroot, service.start[0]), *service.start[1:])
    root = unit_path(target.root)
    sections = (
        ("Unit", _unit(target, root, argv)),
        ("Service", [*_service(service, root, argv, known), *_places(target), *_hardening(target, known)]),
        ("Install", ["WantedBy=multi-user.target"]),
    )
    name = f"chroot-{target.name}.service"
    notes = [f"systemctl daemon-reload && systemctl enable --now {name}"]
    if known.user.uid and not _on_host(known.user.uid):
        notes.insert(
            0, f"useradd --system --uid {known.user.uid} {known.name} (systemd asks the host for the user)"
        )
    if not target.host.restart:
        notes.append(f'in the target: [host] restart = "systemctl restart {name}"')
    return (
        Snippet(
            f"/etc/systemd/system/{name}",
            "\n".join(f"[{title}]\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections),
            note="\n".join(notes),
            undo=f"systemctl disable --now {name}; systemctl daemon-reload",
        ),
    )


def _unit(target: Target, root: str, argv: tuple[str, ...]) -> list[str]:
    top = argv[0].split("/")[1]
    what = plain(target.summary, "a unit").replace("%", "%%") or target.name
    return [
        f"Description={what} (in its root)",
        "After=network.target",
        f"RequiresMountsFor={unit_word(target.root)}",
        f"AssertPathExists={root}/{unit_path(top)}",  # the root was built
    ]


def _service(service: Service, root: str, argv: tuple[str, ...], known: Known) -> list[str]:
    lines = ["Type=exec", f"RootDirectory={root}", "MountAPIVFS=no"]
    if known.user.uid:
        lines.append(f"User={known.user.uid}")
        if ":" in service.user:
            lines.append(f"Group={known.user.gid}")
    lines += [
        f"Environment={unit_word(plain(f'{name}={value}', 'a unit'))}" for name, value in service.env.items()
    ]
    return [
        *lines,
        f"ExecStart={unit_exec(argv)}",
        f"KillSignal=SIG{service.stop_signal.removeprefix('SIG')}",
        "Restart=on-failure",
        "RestartSec=1",
    ]


def _places(target: Target) -> list[str]:
    """Return the host's parts visible inside: the log socket, the mounts, devices beyond the usual."""
    lines = ["BindReadOnlyPaths=-/dev/log"] if target.syslog else []
    for path in sorted(item.value for item in target.mounts):
        if path in ("/dev/shm", "/run", "/tmp"):  # noqa: S108 (mounted empty)
            lines.append(f"TemporaryFileSystem={path}:nosuid,nodev,mode=1777")
        else:
            key = "BindReadOnlyPaths" if path in ("/proc", "/sys") else "BindPaths"
            lines.append("PrivateDevices=yes" if path == "/dev" else f"{key}={unit_word(path)}")
    lines.append("DevicePolicy=closed")
    names = [item.name for item in target.devices if item.name not in _STANDARD]
    return [*lines, *(f"DeviceAllow={unit_path(f'/dev/{name}')} rw" for name in names)]


def _hardening(target: Target, known: Known) -> list[str]:
    """Return the settings that close root's ways out of a chroot.

    RootDirectory= with a bind mount makes a mount namespace in which the root
    is /: fchdir(2) and a second chroot(2) lead nowhere. mknod(2), mount(2),
    ptrace(2), modules, raw disks and open_by_handle_at(2) are denied with the
    capabilities and system calls. A program of ``setuid`` needs the
    capabilities, and cannot run with no_new_privs, which a filter implies
    for any user but root.
    """
    root = known.user.uid == 0
    kept = " ".join(KEPT) if root or target.setuid else ""
    lines = [f"CapabilityBoundingSet={kept}", "PrivateMounts=yes"]
    if not target.setuid:
        lines += ["NoNewPrivileges=yes", "RestrictSUIDSGID=yes"]
    if root or not target.setuid:
        calls = "@system-service chroot" if root else "@system-service"
        lines += [
            f"SystemCallFilter={calls}",
            "SystemCallErrorNumber=EPERM",
            "RestrictNamespaces=yes",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "RestrictRealtime=yes",
            "LockPersonality=yes",
            "ProtectClock=yes",
            "ProtectHostname=yes",
            "ProtectKernelLogs=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelTunables=yes",
        ]
    return [*lines, "ProtectControlGroups=yes", "KeyringMode=private"]


def _on_host(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
