"""The two views of the file system in a sandbox, each a mount namespace of its own.

The *host view* is for prepare, ready and probe: this machine, read-only. /run, /tmp and
/var/tmp are writable, as throw-away overlays; an overlay also cuts off the sockets in it, so
that no daemon of the host is reached by mistake. The overlay of the root is at ``View.root``, and at
the root's own path; what each command sees of all that is narrowed by outside.py. The *inside
view* is for the confined programs: that overlay alone, by pivot_root(2), with the mounts they need.

All upper layers are on one tmpfs without a name on the host: nothing has to be cleaned up.
Sources: mount_namespaces(7), pivot_root(2), Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chrootbuild.artifact import Device
from chrootbuild.errors import Failure
from chrootbuild.root.stage import INSIDE
from chrootbuild.sandbox.bounds.limits import bound_shared_memory, room
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.view.overlay import (
    below,
    doing,
    mount_overlay,
    mount_tree,
    open_directory,
    open_tree,
)
from chrootbuild.sandbox.view.own_root import place_of
from chrootbuild.system import syscalls
from chrootbuild.target.model import Limits

_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV
_QUIET = _FLAGS | syscalls.MS_NOEXEC
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - the sandbox's own, none is shared
_THROW_AWAY = ("/run", "/var/tmp")  # noqa: S108 - and /tmp, which holds the scratch space as well
# Mounts of the sandbox's own: type, flags, options.
_OWN = {
    "/dev": ("tmpfs", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "mode=0755,size=64k,nr_inodes=4096"),
    "/dev/mqueue": ("mqueue", _QUIET, ""),
    "/dev/pts": ("devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
    _SHM: ("tmpfs", _FLAGS, "mode=1777"),
    "/proc": ("proc", _QUIET | syscalls.MS_RDONLY, ""),
    "/sys": ("sysfs", _QUIET | syscalls.MS_RDONLY, ""),
}
# The kernel interfaces of a whole system.
SYSTEM_MOUNTS = ("/dev", "/dev/pts", _SHM, "/proc", "/sys")
HARMLESS = ("null", "zero", "full", "random", "urandom", "tty")
DEV_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}


@dataclass(frozen=True, slots=True)
class View:
    """Paths of the host view."""

    scratch: str
    root: str  # / of the confined programs
    work: str  # the working directory of prepare and probes
    uppers: tuple[tuple[str, str], ...]  # a directory of the root ("" for /), and its upper directory
    privileged: bool  # else in a user namespace
    notes: tuple[str, ...] = ()


def host_view(lower: str, *, system: bool, privileged: bool, limits: Limits) -> View:
    """Make the host view around the directory ``lower``; raises Failure.

    To be called in a new mount and pid namespace. ``system``: ``lower`` is a whole system, with
    its mounts and kernel interfaces. Not ``privileged``: in a user namespace.
    """
    hint = "" if privileged else "run as root: this system restricts user namespaces"
    with doing("make the mounts private and read-only", hint):
        syscalls.mount_setattr("/", syscalls.AT_RECURSIVE, syscalls.MOUNT_ATTR_RDONLY, syscalls.MS_PRIVATE)
    with doing(f"open {lower}", "build the root first"):
        tree = open_tree(lower, privileged=privileged)
    with doing("mount a throw-away overlay", hint):
        scratch = _scratch(privileged, limits)
        for path in _THROW_AWAY:
            _throw_away(path, scratch, privileged)
        if os.path.isdir(_SHM):  # POSIX shared memory of the sandbox alone
            syscalls.mount("tmpfs", _SHM, "tmpfs", _FLAGS, f"mode=1777,{room(limits.files)}")
    with doing("mount /proc", hint):
        syscalls.mount("proc", "/proc", "proc", _QUIET)
    bound_shared_memory(limits)
    root, work = f"{scratch}/root", f"{scratch}/work"
    for path in (root, work, f"{scratch}/log"):
        os.mkdir(path)
    uppers, refused = mount_tree(
        tree,
        root,
        scratch,
        privileged=privileged,
        copy=not system,
        room=limits.files,
        hidden="" if system else INSIDE,  # what a publish exchanges, or left there when it was killed
    )
    notes = (f"the overlay was refused ({refused}): this ran on a copy",) if refused else ()
    if lower != "/" and os.path.isdir(lower):
        with doing(f"mount over {lower}"):
            syscalls.mount(root, lower, "", syscalls.MS_BIND | syscalls.MS_REC)
    return View(scratch, root, work, tuple(uppers), privileged, notes)


def inside_view(
    root: str,
    mounts: tuple[str, ...],
    devices: Mapping[str, Device],
    host_directory: Callable[[str], int],
    limits: Limits | None = None,
) -> None:
    """Leave the host view for good: ``root``, a mount point, becomes /; raises Failure.

    To be called by pid 1 of a new pid namespace, which /proc then shows, in a mount
    namespace of its own. ``devices`` are shown as the host's nodes. ``host_directory`` returns a
    mount (as clone_mount does) for a path among ``mounts`` that is no kernel interface. A /dev
    among them gets the harmless standard devices. ``limits`` bound /dev/shm.
    """
    if "/dev" in mounts:
        devices = {f"/dev/{name}": _numbers(f"/dev/{name}") for name in HARMLESS} | dict(devices)
    hint = "build the root: the directory is part of it"
    # Before pivot_root: a user namespace may mount proc and sysfs only while the host's are visible.
    for path in sorted(mounts):
        if path in _OWN:
            with doing(f"mount {path} in the root", hint):
                mount_own(root, path, limits)
    shown = {path: host_directory(path) for path in sorted(mounts) if path not in _OWN}
    shown |= {path: _host_node(path, device) for path, device in sorted(devices.items())}
    with doing(f"enter {root} by pivot_root"):
        wanted = place_of(root)
        os.chdir(root)
        syscalls.pivot_root(".", ".")
        syscalls.umount2(".", syscalls.MNT_DETACH)
        os.chdir("/")
        if place_of("/") != wanted:
            raise Failure(f"cannot enter {root}: / is another directory; nothing was run in it")
    for path, mount in shown.items():
        with doing(f"show the host's {path} in the root", hint):
            if path in devices:
                _make_place(path)
            syscalls.attach_mount(mount, path)
    if "/dev" in mounts:
        for name, text in DEV_LINKS.items():
            os.symlink(text, f"/dev/{name}")


# -- the overlays --------------------------------------------------------------------------


def _scratch(privileged: bool, limits: Limits) -> str:
    """Mount an overlay of /tmp over itself; return a directory there that is a tmpfs of its own."""
    host = open_directory(_TMP)
    syscalls.mount("tmpfs", _TMP, "tmpfs", 0, f"mode=0755,{room(limits.files + limits.trace)}")
    space = open_directory(_TMP)
    try:
        mount_overlay(host, _TMP, f"{_TMP}/.tmp", privileged=privileged)
    except OSError:
        os.chmod(_TMP, 0o1777)  # noqa: S103  # the empty tmpfs does as well
    scratch = f"{_TMP}/chrootbuild-box-{os.urandom(4).hex()}"
    os.mkdir(scratch)
    syscalls.mount(f"/proc/self/fd/{space}", scratch, "", syscalls.MS_BIND)
    return scratch


def _throw_away(path: str, scratch: str, privileged: bool) -> None:
    """Mount an overlay of a directory of the host over itself; where that fails it stays read-only."""
    with contextlib.suppress(OSError, Failure):
        store = f"{scratch}/.{path.replace('/', '.')}"
        os.mkdir(store)
        tree = open_tree(path, privileged=privileged)
        mount_tree(tree, path, store, privileged=privileged, copy=False, room=0)


# -- the mounts inside ---------------------------------------------------------------------


def mount_own(root: str, path: str, limits: Limits | None = None) -> None:
    """Mount a kernel interface of the sandbox below ``root``, no link followed out of it; raises OSError."""
    kind, flags, options = _OWN[path]
    if path == _SHM and limits is not None:
        options += f",{room(limits.files)}"
    target = below(root, path)
    if path == "/dev/pts":
        try:
            syscalls.mount(kind, target, kind, flags, f"{options},gid=5")
            return
        except OSError:
            pass  # group 5 is not mapped in this user namespace
    syscalls.mount(kind, target, kind, flags, options)
    if path == "/dev":
        for name in ("pts", "shm"):
            os.mkdir(f"{below(root, path)}/{name}")


def overlay_of(view: View, path: str) -> int:
    """Return a detached overlay of a directory of the host; raises Failure."""
    place = f"{view.scratch}/.host.{path.replace('/', '.')}"
    with doing(f"show the host's {path} in the root", "leave it out of mounts"):
        os.mkdir(place)
        mount_overlay(open_directory(path), place, f"{place}.layer", privileged=view.privileged)
        return syscalls.clone_mount(place)


def _host_node(path: str, device: Device) -> int:
    """Return a detached bind mount of the host's node with these numbers; raises Failure."""
    found = path if path.startswith("/dev/") and _is(path, device) else ""
    if not found:
        names = (f"{where}/{name}" for where, _, files in os.walk("/dev") for name in files)
        found = next((name for name in names if _is(name, device)), "")
    if not found:
        raise Failure(f"cannot show {path} in the root: the host has no node {device}")
    with doing(f"show the host's {found} in the root"):
        return syscalls.clone_mount(found)


def _is(path: str, device: Device) -> bool:
    try:
        return _numbers(path) == device
    except (OSError, Failure):
        return False


def is_node(root: str, path: str, device: Device) -> bool:
    """Return whether a path of a root is a node with these numbers, links resolved in the root."""
    try:
        return _numbers(below(root, path), follow=True) == device
    except (OSError, Failure):
        return False


def _numbers(path: str, *, follow: bool = False) -> Device:
    info = os.stat(path, follow_symlinks=follow)
    if not stat.S_ISCHR(info.st_mode):
        raise Failure(f"cannot show {path} in the root: it is no character device")
    return Device(True, os.major(info.st_rdev), os.minor(info.st_rdev))


def _make_place(path: str) -> None:
    """Make the file to mount a node over, where the root has none."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


def shows_shm(confinement: Confinement) -> bool:
    """Return whether the inside view has a /dev/shm of its own."""
    return confinement.system or _SHM in confinement.mounts
