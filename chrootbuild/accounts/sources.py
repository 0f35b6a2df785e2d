"""Input and output of the account file renderer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rendered", "Sources"]


@dataclass(frozen=True, slots=True)
class Sources:
    """A sysroot's account files as bytes; None where absent or unreadable.

    The paths are for messages only.
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

    ``master`` is FreeBSD's. ``shadow`` is Linux's, None unless ``passwords`` names
    a kept user. ``warnings`` give file, line and name of skipped sysroot lines,
    never more of their content.
    """

    passwd: bytes
    group: bytes
    master: bytes | None = None
    shadow: bytes | None = None
    warnings: tuple[str, ...] = ()
