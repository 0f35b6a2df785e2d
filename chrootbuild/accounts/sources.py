"""What account files are rendered from, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rendered", "Sources"]


@dataclass(frozen=True, slots=True)
class Sources:
    """A sysroot's account files as bytes; None where there is none, or it cannot be read.

    The paths are only shown in messages.
    """

    passwd: bytes
    group: bytes
    master: bytes | None = None
    shadow: bytes | None = None
    passwd_path: str = "/etc/passwd"  # noqa: S105 -- a path
    group_path: str = "/etc/group"
    master_path: str = "/etc/master.passwd"
    shadow_path: str = "/etc/shadow"


@dataclass(frozen=True, slots=True)
class Rendered:
    """The account files of a root.

    ``master`` is FreeBSD's. ``shadow`` is Linux's, and None unless ``passwords``
    names somebody who is kept. ``warnings`` tell of lines of the sysroot that were
    skipped, with file and line, never their content beyond the name.
    """

    passwd: bytes
    group: bytes
    master: bytes | None = None
    shadow: bytes | None = None
    warnings: tuple[str, ...] = ()
