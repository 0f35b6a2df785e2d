"""Names of doit tasks: TARGET:PATH, with what doit would take for a pattern as %XX."""

from __future__ import annotations

from urllib.parse import unquote

_UNSAFE = "%=*?[]"  # doit refuses = in a task's name and takes * ? [ as a pattern


def quoted(text: str) -> str:
    """Return a text as a part of a task's name: % = * ? [ ] as %XX."""
    return "".join(f"%{ord(char):02X}" if char in _UNSAFE else char for char in text)


def task_name(target: str, path: str) -> str:
    """Return the task of a path: NAME:/path, quoted."""
    return f"{target}:{quoted(path)}"


def path_of(name: str) -> tuple[str, str]:
    """Return target and path of a task's name; the path is empty for a target's own task."""
    target, _, path = name.partition(":")
    return target, unquote(path, errors="surrogateescape")
