"""Operation of a system call on its file, by call and flags."""

from __future__ import annotations

from chrootbuild.trace.access import Deed
from chrootbuild.trace.calls import Call, number, words

__all__ = ["deed_of"]

_DEEDS = {
    **dict.fromkeys(words("execve execveat fexecve"), Deed.EXEC),
    **dict.fromkeys(words("access eaccess faccessat faccessat2"), Deed.ACCESS),
    **dict.fromkeys(words("readlink readlinkat"), Deed.READLINK),
    **dict.fromkeys(
        words("getdents getdents64 getdirentries freebsd11_getdirentries freebsd11_getdents"), Deed.LIST
    ),
    **dict.fromkeys(words("chdir fchdir"), Deed.ENTER),
    "chroot": Deed.CHROOT,
    "pivot_root": Deed.CHROOT,
    "connect": Deed.CONNECT,
    "bind": Deed.BIND,
    **dict.fromkeys(words("mkdir mkdirat"), Deed.MKDIR),
    **dict.fromkeys(
        words(
            "mknod mknodat mkfifo mkfifoat symlink symlinkat freebsd11_mknod freebsd12_mknod freebsd11_mknodat"
            " link linkat"
        ),
        Deed.MAKE,
    ),
    **dict.fromkeys(words("unlink unlinkat funlinkat rmdir revoke undelete"), Deed.REMOVE),
    **dict.fromkeys(words("rename renameat renameat2"), Deed.RENAME_TO),
    **dict.fromkeys(
        words(
            "chown lchown chown32 lchown32 fchownat chmod lchmod fchmodat fchmodat2 fchmod fchown fchown32"
            " truncate truncate64 ftruncate utime utimes lutimes utimensat futimesat setxattr lsetxattr"
            " removexattr lremovexattr chflags lchflags chflagsat"
        ),
        Deed.CHANGE,
    ),
}
_FLAG_INDEX = {"open": 1, "openat": 2, "openat2": 2}
_MODE_INDEX = {"access": 1, "eaccess": 1, "faccessat": 2, "faccessat2": 2}


def deed_of(call: Call) -> tuple[Deed, bool]:
    """Return a call's operation, and whether it may create the file."""
    if call.name in _FLAG_INDEX:
        index = _FLAG_INDEX[call.name]
        return _opening(call.args[index] if index < len(call.args) else "")
    if call.name == "creat":
        return Deed.WRITE, True
    deed = _DEEDS.get(call.name, Deed.STAT)
    if deed is Deed.ACCESS:
        index = _MODE_INDEX[call.name]
        mode = call.args[index] if index < len(call.args) else ""
        if "X_OK" in mode or ("_OK" not in mode and (number(mode) or 0) & 1):
            deed = Deed.ACCESS_EXEC
    return deed, False


def _opening(flags: str) -> tuple[Deed, bool]:
    if "O_" in flags:
        creates = "O_CREAT" in flags
        empties = "O_TRUNC" in flags
        writes, both = "O_WRONLY" in flags, "O_RDWR" in flags
        directory, hold = "O_DIRECTORY" in flags, "O_PATH" in flags
    else:  # kdump of FreeBSD 5 and 6, and -n: fcntl.h of FreeBSD
        bits = number(flags) or 0
        writes, both = bits & 3 == 1, bits & 3 == 2
        creates, empties = bool(bits & 0x200), bool(bits & 0x400)
        directory, hold = bool(bits & 0x20000), bool(bits & 0x400000)
    if hold:
        return Deed.HOLD, False
    if directory:
        return Deed.OPENDIR, False
    if writes or (both and empties):
        return Deed.WRITE, creates
    return (Deed.UPDATE if both else Deed.READ), creates
