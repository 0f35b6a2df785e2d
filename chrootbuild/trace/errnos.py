"""Names for FreeBSD's error numbers (errno.h, intro(2)); those above 34 are not Linux's."""

from __future__ import annotations

from chrootbuild.trace.calls import words

__all__ = ["freebsd"]

_FREEBSD = dict(
    enumerate(
        words(
            "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EDEADLK ENOMEM EACCES EFAULT ENOTBLK"
            " EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE"
            " EROFS EMLINK EPIPE EDOM ERANGE EAGAIN EINPROGRESS EALREADY ENOTSOCK EDESTADDRREQ EMSGSIZE"
            " EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT"
            " EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN"
            " ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED ELOOP ENAMETOOLONG EHOSTDOWN EHOSTUNREACH"
            " ENOTEMPTY EPROCLIM EUSERS EDQUOT ESTALE"
        ),
        start=1,
    )
) | {78: "ENOSYS", 87: "ENOATTR", 93: "ENOTCAPABLE", 94: "ECAPMODE"}


def freebsd(number: int) -> str:
    """Return the name of an error number, "E" and the number where it has none here."""
    return _FREEBSD.get(number, f"E{number}")
