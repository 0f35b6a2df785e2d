"""FreeBSD's host side: devfs rules, rc.conf, fstab and jail.conf, for chroot(8) and for jail(8).

Sources: devfs.rules(5), rc.conf(5), jail.conf(5), rc.subr and rc.d/devfs of
the base system. Printed on any system; nothing of it is run here.
"""

from __future__ import annotations

import os
import re
import zlib

from chrootbuild.errors import Failure
from chrootbuild.hostside.quoting import fstab_field, jail_string, plain, sh, sh_words
from chrootbuild.hostside.snippet import Form, Snippet
from chrootbuild.plan.users import Known, program
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.model import Target

_RULES = "/etc/devfs.rules"
_STOCK = "/etc/defaults/devfs.rules"
# Lower rulesets are the system's or numbered by hand; devfs(8) takes 16 bits.
_FIRST, _COUNT = 1000, 64000


def devfs(target: Target, here: Sysroot) -> tuple[Snippet, ...]:
    """Return devfs rules that unhide only the target's devices, the mount, and its ruleset in rc.conf.

    The ruleset is not named in fstab: fstab is mounted before the rules are
    loaded, and all devices would be visible.
    """
    name, rules = ruleset(target, "chroot", here)
    place = f"{target.root}/dev"
    _no_blanks(place, "devfs_set_rulesets")
    setting = f'devfs_set_rulesets="${{devfs_set_rulesets}} {place}={name}"\n'
    return (
        rules,
        Snippet("/etc/fstab", f"devfs {fstab_field(place)} devfs rw 0 0\n", Form.LINES),
        Snippet(
            "/etc/rc.conf",
            setting,
            Form.LINES,
            note=f"mount {sh(place)} && service devfs restart",
            undo=f"umount {sh(place)}",
        ),
    )


def jail(target: Target, known: Known, sysroot: Sysroot, here: Sysroot) -> tuple[Snippet, ...]:
    """Return a jail (jail.conf(5)) in the root, with the target's devices, that starts its service."""
    service = target.check.service
    rules = _devices(target) and ruleset(target, "jail", here)
    lines = [
        f"path = {jail_string(target.root)};",
        f"host.hostname = {jail_string(target.name)};",
        "ip4 = inherit;",
        "ip6 = inherit;",
    ]
    if rules:
        lines += ["mount.devfs;", f"devfs_ruleset = {_number(rules[1])};"]
    notes = []
    if service is None:
        lines.append("persist;")
    else:
        command = _command((program(target, sysroot, service.start[0]), *service.start[1:]))
        if known.user.uid:
            lines.append(f"exec.jail_user = {jail_string(known.name)};")
        lines.append(f"exec.start = {jail_string(plain(command, 'jail.conf'))};")
        if not _is_simple(command) and all(item.value != "/bin/sh" for item in target.binaries):
            notes.append('add "/bin/sh" to binaries (exec.start needs it for its quotes)')
    # A numeric jail name would be taken for its jid.
    name = f"chroot_{target.name}" if target.name.isdigit() else target.name
    text = f"{jail_string(name)} {{\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"
    # An empty jail_list means all jails: it stays empty.
    settings = f'jail_enable="YES"\njail_list="${{jail_list:+${{jail_list}} {name}}}"\n'
    found = [rules[1]] if rules else []
    found += [
        Snippet("/etc/jail.conf", text, Form.LINES),
        Snippet(
            "/etc/rc.conf",
            settings,
            Form.LINES,
            note="\n".join(
                [*notes, *(["service devfs restart"] if rules else []), f"service jail start {name}"]
            ),
            undo=f"jail -r {name}",
        ),
    ]
    return tuple(found)


def ruleset(target: Target, use: str, here: Sysroot) -> tuple[str, Snippet]:
    """Return the name of a target's ruleset and its lines in devfs.rules(5); raises Failure without devices.

    ``use`` is "chroot" or "jail". The number is a hash of the target's name,
    the same on every run; numbers that the host uses for another name are
    skipped.
    """
    names = _devices(target)
    if not names:
        raise Failure(
            f"cannot write devfs rules for {target.name}: {os.path.basename(target.file)} has no devices",
            hint='add them: devices = ["null", "zero", "random", "urandom"]',
        )
    taken = _taken(here)
    start = zlib.crc32(f"{use} {target.name}".encode()) % _COUNT
    # rc.subr makes a shell variable of the name: no "-"; the number distinguishes a-b from a_b.
    word = target.name.replace("-", "_")
    for step in range(_COUNT):
        number = _FIRST + (start + step) % _COUNT
        name = f"devfsrules_{use}_{word}" if word == target.name else f"devfsrules_{use}_{word}_{number}"
        if taken.get(number, name) == name:
            break
    lines = [f"[{name}={number}]", "add include $devfsrules_hide_all"]
    for device in names:
        lines += [f"add path {sh(parent)} unhide" for parent in _parents(device)]
        lines.append(f"add path {sh(device)} unhide")
    for item in target.devices:
        if item.mode is not None:
            lines.append(f"add path {sh(item.name)} mode {item.mode:04o}")
    return name, Snippet(_RULES, "".join(f"{line}\n" for line in lines), Form.LINES)


def _devices(target: Target) -> list[str]:
    names = [plain(item.name, _RULES) for item in target.devices]
    for name, more in (("fd", ("fd/*", "stdin", "stdout", "stderr")), ("pts", ("pts/*",))):
        if name in names:
            names += [each for each in more if each not in names]
    return names


def _parents(device: str) -> list[str]:
    parts = device.split("/")[:-1]
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]


def _taken(here: Sysroot) -> dict[int, str]:
    """Return the host's rulesets, by number."""
    found: dict[int, str] = {}
    for path in (_STOCK, _RULES):
        text = here.content(path).decode("utf-8", "replace")
        found |= {
            int(number): name for name, number in re.findall(r"^\[(.*)=([0-9]{1,9})\]", text, re.MULTILINE)
        }
    return found


def _number(rules: Snippet) -> str:
    return rules.content.partition("=")[2].partition("]")[0]


def _command(argv: tuple[str, ...]) -> str:
    """Return a command for exec.start, in the background: jail(8) waits for foreground ones.

    Without shell metacharacters it is run directly; with one, by the
    root's /bin/sh.
    """
    return f"{sh_words(argv)} &"


def _is_simple(command: str) -> bool:
    return not any(char in "!\"$&'()*;<>?[\\]`{|}~" for char in command.removesuffix("&"))


def _no_blanks(path: str, where: str) -> None:
    if any(char in " \t\"'\\$`=*?[" for char in path):
        raise Failure(
            f"cannot write {path} into {where}: it is split at blanks, and cannot be quoted",
            hint="give the root another name",
        )
