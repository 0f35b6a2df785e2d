"""The C library by ctypes: its functions, and system calls that it has none for."""

from __future__ import annotations

import errno
import functools
import os
from typing import Any

_NUMBERS = {"open_tree": 428, "move_mount": 429, "openat2": 437, "mount_setattr": 442}


def encoded(path: str) -> bytes:
    """Return a path as the C library takes it; raises ValueError for a NUL in it."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte")  # as os.open says
    return name


@functools.cache
def libc() -> Any:  # a ctypes library has no better type
    """Return the C library."""
    import ctypes  # it takes 10 ms, and most commands call nothing here

    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def function(name: str) -> Any:
    """Return a function of the C library; where it is missing, one that raises ENOSYS."""
    import ctypes

    try:
        function = getattr(libc(), name)
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name) from None
    c_int, text, word = ctypes.c_int, ctypes.c_char_p, ctypes.c_ulong
    function.argtypes = {
        "renameat2": [c_int, text, c_int, text, ctypes.c_uint],
        "syncfs": [c_int],
        "unshare": [c_int],
        "setns": [c_int, c_int],
        "mount": [text, text, text, word, text],
        "umount2": [text, c_int],
        "pivot_root": [text, text],
        "prctl": [c_int, word, word, word, word],
        "capset": [text, text],
        "statx": [c_int, text, c_int, ctypes.c_uint, ctypes.c_void_p],
    }[name]
    return function


def syscall(name: str, *arguments: int | bytes | None) -> int:
    """Return the result of a system call by its name; -1 for an error."""
    return call_by_number(_NUMBERS[name], *arguments)


def errno_of_thread() -> int:
    """Return the errno of the call that has just failed."""
    import ctypes

    return ctypes.get_errno()


def error(path: str | None = None, other: str | None = None) -> OSError:
    """Return the OSError of the call that has just failed."""
    number = errno_of_thread()
    if other is not None:
        return OSError(number, os.strerror(number), path, None, other)
    return OSError(number, os.strerror(number), path)


def call_by_number(number: int, *arguments: int | bytes | None) -> int:
    """Return the result of a system call by its number; -1 for an error."""
    import ctypes

    function = libc().syscall
    function.restype = ctypes.c_long
    # Each argument is widened by hand: a variadic call would pass an int as 32 bits.
    words = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments]
    return int(function(ctypes.c_long(number), *words))
