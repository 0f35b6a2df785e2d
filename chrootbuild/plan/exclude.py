"""``exclude``, and secrets: the paths that trees and globs leave out."""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Iterable

from chrootbuild.paths import split
from chrootbuild.plan.builder import PlanBuilder
from chrootbuild.target.model import Item

# Never added by a tree or glob, only by an exact path.
_SECRETS = re.compile(
    r"(g?shadow-?|master\.passwd|spwd\.db|opasswd|.*\.key|ssh_host_.*_key|id_(rsa|dsa|ecdsa|ed25519)(_sk)?)"
)
_HOW = "name it exactly in files to have it"


class LeftOut:
    """The excluded paths of a sysroot; secrets are noted in the plan."""

    def __init__(self, exclude: Iterable[Item], builder: PlanBuilder) -> None:
        self._draft = builder
        patterns = []
        for item in exclude:
            # As in find -path, * matches a slash, too: "/usr/lib/x/*.a" covers subdirectories.
            pattern = fnmatch.translate(item.value.rstrip("/")).removesuffix(r"\Z")
            patterns.append(f"{pattern}(?:/.*)?" if item.value.endswith("/") else pattern)
        self._excluded = re.compile("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None

    def excluded(self, path: str) -> bool:
        """Return whether ``exclude`` names a path or a directory above it."""
        return self._excluded is not None and self._excluded.fullmatch(path) is not None

    def secret(self, path: str) -> bool:
        """Return whether ``path`` is a secret by its name or mode, and note it."""
        info = self._draft.sysroot.lstat(path)
        if info is None or stat.S_ISLNK(info.st_mode):
            return False
        if stat.S_ISREG(info.st_mode) and _SECRETS.fullmatch(split(path)[1]):
            self._draft.skip(path, f"a secret by its name; {_HOW}")
            return True
        needed = 0o005 if stat.S_ISDIR(info.st_mode) else 0o004
        if info.st_mode & needed != needed and stat.S_IFMT(info.st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            self._draft.skip(path, f"others may not read it; {_HOW}")
            return True
        return False
