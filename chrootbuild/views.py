"""The two views of the file system that a box has; both run in a mount namespace of their own.

The *host view* is for prepare, ready and probe: this machine, read-only. /run, /tmp and
/var/tmp can be written, as overlays that vanish; an overlay also cuts off the sockets in it, so
that no daemon of the host is reached by mistake. The overlay of the root is at ``View.root``, and at
the root's own path. The *inside view* is for the confined programs: that overlay alone, by
pivot_root(2), with the mounts they need.

All that is written goes to one tmpfs without a name on the host: nothing has to be cleaned up.
Sources: mount_namespaces(7), pivot_root(2), Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chrootbuild import syscalls
from chrootbuild.artifact import Device
from chrootbuild.copytree import copy_tree
from chrootbuild.errors import Failure

__all__ = ["View", "doing", "host_view", "inside_view"]

_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV
_QUIET = _FLAGS | syscalls.MS_NOEXEC
_BELOW = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - the box's own, none is shared
_THROW_AWAY = ("/run", "/var/tmp")  # noqa: S108 - and /tmp, which holds the scratch space as well
# Kernel interfaces, not files: an overlay of one is refused or means nothing.
_KERNEL_KINDS = (
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs "
    "mqueue nsfs proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs"
)
_KERNEL = frozenset(_KERNEL_KINDS.split())
# What a box mounts of its own: the kind, the flags, the options.
_OWN = {
    "/dev": ("tmpfs", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "mode=0755,size=64k"),
    "/dev/mqueue": ("mqueue", _QUIET, ""),
    "/dev/pts": ("devpts", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
    _SHM: ("tmpfs", _FLAGS, "mode=1777"),
    "/proc": ("proc", _QUIET | syscalls.MS_RDONLY, ""),
    "/sys": ("sysfs", _QUIET | syscalls.MS_RDONLY, ""),
}
_SYSTEM_MOUNTS = ("/dev", "/dev/pts", _SHM, "/proc", "/sys")
_SYSTEM_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}


@dataclass(frozen=True, slots=True)
class View:
    """Where things are in the host view."""

    scratch: str
    root: str  # what the confined programs see as /
    work: str  # prepare and probes work here
    uppers: tuple[tuple[str, str], ...]  # a directory of the root ("" for /), and what was written below it
    privileged: bool  # else in a user namespace
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def doing(what: str, hint: str = "") -> Iterator[None]:
    """Turn an OSError into the Failure "cannot WHAT: its reason"."""
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot {what}: {error.strerror}", hint=hint) from error


def host_view(lower: str, *, system: bool, privileged: bool) -> View:
    """Make the host view around the directory ``lower``; raises Failure.

    To be called in a new mount and pid namespace. ``system``: ``lower`` is a whole system, its
    own file systems and kernel interfaces belong to it. Not ``privileged``: in a user namespace.
    """
    hint = "" if privileged else "run as root: this system restricts user namespaces"
    with doing("make the mounts private and read-only (needs Linux 5.12)", hint):
        syscalls.mount_setattr("/", syscalls.AT_RECURSIVE, syscalls.MOUNT_ATTR_RDONLY, syscalls.MS_PRIVATE)
    with doing(f"open {lower}", "build the root first"):
        layers = [("", _open_directory(lower))]
        layers += [(path[len(lower.rstrip("/")) :], _open(path)) for path in _mounts_below(lower)]
    with doing("mount a throw-away overlay", hint):
        scratch = _scratch(privileged)
        for path in _THROW_AWAY:
            _throw_away(path, scratch, privileged)
        if os.path.isdir(_SHM):  # POSIX shared memory of the box alone
            syscalls.mount("tmpfs", _SHM, "tmpfs", _FLAGS, "mode=1777")
    with doing("mount /proc", hint):
        syscalls.mount("proc", "/proc", "proc", _QUIET)
    root, work = f"{scratch}/root", f"{scratch}/work"
    for path in (root, work, f"{scratch}/log"):
        os.mkdir(path)
    uppers, notes = _layers(layers, root, scratch, system=system, privileged=privileged)
    if lower != "/" and os.path.isdir(lower):
        with doing(f"mount over {lower}"):
            syscalls.mount(root, lower, "", syscalls.MS_BIND | syscalls.MS_REC)
    return View(scratch, root, work, tuple(uppers), privileged, tuple(notes))


def inside_view(view: View, mounts: tuple[str, ...], devices: Mapping[str, Device], *, system: bool) -> None:
    """Leave the host view for good: ``view.root`` becomes /, with its mounts; raises Failure.

    To be called in a mount namespace that is a copy of the host view's, by the first process
    of a new pid namespace: /proc shows that one. ``devices`` are shown as the host's nodes.
    A directory of the host among ``mounts`` is shown as an overlay of it.
    """
    if system:
        mounts = (*_SYSTEM_MOUNTS, *(path for path in mounts if path not in _SYSTEM_MOUNTS))
        devices = {f"/dev/{name}": _numbers(f"/dev/{name}") for name in _SYSTEM_DEVICES} | dict(devices)
    ours = sorted(path for path in mounts if path in _OWN)
    shown = {path: _host_directory(view, path) for path in sorted(mounts) if path not in _OWN}
    shown |= {path: _host_node(path, device) for path, device in sorted(devices.items())}
    with doing(f"enter {view.root} by pivot_root"):
        os.chdir(view.root)
        syscalls.pivot_root(".", ".")
        syscalls.umount2(".", syscalls.MNT_DETACH)
        os.chdir("/")
    hint = "build the root: the directory is part of it"
    for path in ours:
        with doing(f"mount {path} in the root", hint):
            _mount_own(path)
    for path, mount in shown.items():
        with doing(f"show the host's {path} in the root", hint):
            if path in devices:
                _make_place(path)
            syscalls.attach_mount(mount, path)
    if system:
        for name, text in _DEV_LINKS.items():
            os.symlink(text, f"/dev/{name}")


# -- the overlays --------------------------------------------------------------------------


def _scratch(privileged: bool) -> str:
    """Cover /tmp with an overlay of itself; return a directory there that is a tmpfs of its own."""
    below = _open_directory(_TMP)
    syscalls.mount("tmpfs", _TMP, "tmpfs", 0, "mode=0755,size=50%")
    space = _open_directory(_TMP)
    try:
        _overlay(below, _TMP, f"{_TMP}/.tmp", privileged)
    except OSError:
        os.chmod(_TMP, 0o1777)  # the empty tmpfs does as well
    scratch = f"{_TMP}/chrootbuild-{secrets.token_hex(6)}"
    os.mkdir(scratch)
    syscalls.mount(f"/proc/self/fd/{space}", scratch, "", syscalls.MS_BIND)
    return scratch


def _throw_away(path: str, scratch: str, privileged: bool) -> None:
    if not os.path.isdir(path):
        return
    with contextlib.suppress(OSError):  # then it stays read-only
        _overlay(_open_directory(path), path, f"{scratch}/.{path.replace('/', '.')}", privileged, _FLAGS)


def _layers(
    layers: list[tuple[str, int]], root: str, scratch: str, *, system: bool, privileged: bool
) -> tuple[list[tuple[str, str]], list[str]]:
    """Put the overlay of each file system of the root in its place; return what was written where."""
    uppers: list[tuple[str, str]] = []
    notes: list[str] = []
    for number, (path, below) in enumerate(layers):
        store = f"{scratch}/.layer{number}"
        target = root
        if path:
            top = _open_directory(root)
            target = f"/proc/self/fd/{syscalls.openat2(top, path[1:], os.O_PATH, _BELOW)}"
        with doing(f"mount an overlay of {path or 'the root'}"):
            if not stat.S_ISDIR(os.fstat(below).st_mode):
                syscalls.mount(f"/proc/self/fd/{below}", target, "", syscalls.MS_BIND)
                syscalls.mount("", target, "", syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY)
                continue
            try:
                _overlay(below, target, store, privileged)
            except OSError as error:
                if system:
                    raise
                syscalls.mount("tmpfs", target, "tmpfs", 0, "mode=0755,size=50%")
                notes.append(f"the overlay was refused ({error.strerror}): it ran on a copy")
                copy_tree(below, target)
                continue
        uppers.append((path, f"{store}/upper"))
    return uppers, notes


def _overlay(below: int, target: str, store: str, privileged: bool, flags: int = 0) -> None:
    """Mount an overlay of the directory ``below`` at ``target``; what is written goes to ``store``.

    Directories of the root can be renamed where the kernel allows it (redirect_dir).
    """
    info = os.fstat(below)
    for name in (store, f"{store}/upper", f"{store}/work"):
        os.mkdir(name)
    with contextlib.suppress(OSError):  # an id that this user namespace does not know
        os.chown(f"{store}/upper", info.st_uid, info.st_gid)
    os.chmod(f"{store}/upper", stat.S_IMODE(info.st_mode))
    # Numbers and names of ours alone: nothing in the options has to be quoted.
    options = f"lowerdir=/proc/self/fd/{below},upperdir={store}/upper,workdir={store}/work"
    more = (",redirect_dir=on,index=off,metacopy=off", "") if privileged else (",userxattr", "")
    try:
        syscalls.mount("overlay", target, "overlay", flags, options + more[0])
    except OSError:
        syscalls.mount("overlay", target, "overlay", flags, options + more[1])


# -- what is mounted inside ----------------------------------------------------------------


def _mount_own(path: str) -> None:
    """Mount a kernel interface of the box; no link on the way leads out, for there is no outside."""
    kind, flags, options = _OWN[path]
    if path == "/dev/pts":
        try:
            syscalls.mount(kind, path, kind, flags, f"{options},gid=5")
            return
        except OSError:
            pass  # a user namespace that knows no group 5
    syscalls.mount(kind, path, kind, flags, options)
    if path == "/dev":
        for name in ("pts", "shm"):
            os.mkdir(f"/dev/{name}")


def _host_directory(view: View, path: str) -> int:
    """Return an overlay of a directory of the host, not yet mounted anywhere; raises Failure."""
    place = f"{view.scratch}/.host.{path.replace('/', '.')}"
    with doing(f"show the host's {path} in the root", "leave it out of mounts"):
        os.mkdir(place)
        _overlay(_open_directory(path), place, f"{place}.layer", view.privileged)
        return syscalls.clone_mount(place)


def _host_node(path: str, device: Device) -> int:
    """Return a copy of the mount of the host's node with these numbers; raises Failure."""
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


def _numbers(path: str) -> Device:
    info = os.lstat(path)
    if not stat.S_ISCHR(info.st_mode):
        raise Failure(f"cannot show {path} in the root: it is no character device")
    return Device(True, os.major(info.st_rdev), os.minor(info.st_rdev))


def _make_place(path: str) -> None:
    """Make the file that a node is mounted over, where the root has none."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


# -- looking -------------------------------------------------------------------------------


def _open(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)


def _mounts_below(directory: str) -> list[str]:
    """Return where file systems are mounted below a directory, those of the kernel left out."""
    prefix = directory.rstrip("/") + "/"
    found: dict[str, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split(" ")
            path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
            found[path] = words[words.index("-") + 1]
    kernel = tuple(f"{path}/" for path, kind in found.items() if kind in _KERNEL)
    return sorted(
        path
        for path, kind in found.items()
        if path.startswith(prefix) and kind not in _KERNEL and not path.startswith(kernel)
    )
