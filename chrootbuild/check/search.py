"""The search for a pattern in a program's output, bounded: both may be such that re.search takes years.

A child process does it, for nothing ends re.search from within. The same pattern on the same text is then the
same answer, unless the bound is hit; that is an answer of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
from typing import NoReturn

_SECONDS = 10  # of processor time, however busy the machine is
_MEMORY = 1 << 30  # bytes of address space, beyond what there is: what was tried is remembered
_FOUND, _NOT_FOUND, _NO_MEMORY = 0, 1, 2


def search(pattern: str, output: bytes) -> str:
    """Return why ``pattern`` is not known to be in ``output``; empty when it is.

    Raises re.error for what is no pattern, too deep or too large a one included.
    """
    try:
        compiled = re.compile(pattern)
    except (OverflowError, RecursionError, MemoryError) as error:
        raise re.error(f"{type(error).__name__} while it was read") from None
    child = os.fork()
    if child == 0:
        _search(compiled, output)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == _FOUND:
        return ""
    if status == _NOT_FOUND:
        return f"did not print {pattern!r}"
    what = f"more than {_SECONDS} seconds of processor time" if status < 0 else "too much memory"
    return (
        f"whether it printed {pattern!r} is not known: to search the {len(output):,} bytes of its output takes"
        f" {what}; begin the pattern with (?m)^, and repeat nothing that repeats"
    )


def _search(compiled: re.Pattern[str], output: bytes) -> NoReturn:
    """Be the child: search, and end with the answer, or by SIGXCPU."""
    status = _NO_MEMORY
    try:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit(resource.RLIMIT_CPU, _SECONDS)
        _limit(resource.RLIMIT_AS, _size() + _MEMORY)
        with contextlib.suppress(MemoryError, RecursionError):
            text = output.decode("utf-8", "surrogateescape")
            status = _FOUND if compiled.search(text) else _NOT_FOUND
    finally:
        os._exit(status)


def _limit(kind: int, most: int) -> None:
    """Set a soft limit, unless it is lower already."""
    soft, hard = resource.getrlimit(kind)
    lower = [number for number in (soft, hard) if number != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min([most, *lower]), hard))


def _size() -> int:
    """Return the bytes of address space of this process: proc_pid_statm(5)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
