"""Small sysroots for tests, written as a map from path to content, and what a plan makes of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from chrootbuild.artifact import Artifact, Kind, Plan
from chrootbuild.plan.make import plan
from chrootbuild.sysroot.reader import Sysroot
from tests.support.target_project import target


def write(top: Path, files: Mapping[str, str]) -> Path:
    """Write each of ``files``: "-> text" is a link, a path with a slash at the end a directory.

    Scripts (#!) are 0755, all other files 0644, directories 0755.
    """
    for name, content in files.items():
        path = top / name.strip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        elif content.startswith("-> "):
            path.unlink(missing_ok=True)
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
            path.chmod(0o755 if content.startswith("#!") else 0o644)
    return top


def planned(top: Path, text: str, **others: str) -> Plan:
    """Plan ``text`` as targets/x.toml, with ``top`` as its sysroot; ``others`` are includes by name."""
    project = top.parent / "project"
    project.mkdir(exist_ok=True)
    read = target(project, f'sysroot = "{top}"\nos = "linux"\n{text}', **others)
    return plan(read, Sysroot(str(top)))


def shown(made: Plan, *, implied: bool = False) -> dict[str, str]:
    """Return every path of a plan with what is put there, implied directories only if asked for.

    The tester's own uid and gid are "me".
    """
    return {
        path: show(artifact) for path, artifact in made.artifacts.items() if implied or not artifact.implied
    }


def show(artifact: Artifact) -> str:
    """Say what an artifact is: "link -> dash", "file 0644 me", "directory 1777 root", "text 0644 root: ..."."""
    if artifact.kind is Kind.LINK:
        return f"link -> {artifact.link}"
    owners = {(0, 0): "root", (os.getuid(), os.getgid()): "root" if os.getuid() == 0 else "me"}
    owner = owners.get((artifact.uid, artifact.gid), f"{artifact.uid}:{artifact.gid}")
    text = f"{artifact.kind} {artifact.mode:04o} {owner}"
    if artifact.kind is Kind.TEXT:
        text += f": {artifact.content.decode()}"
    return text if artifact.device is None else f"{text} {artifact.device}"


def words(made: Plan, path: str) -> list[str]:
    """Return the words of every reason of a path."""
    return [reason.words for reason in made.reasons.get(path, ())]


ME = "root" if os.getuid() == 0 else "me"


def mode(path: Path) -> int:
    """Return the permission bits of a path."""
    return stat.S_IMODE(path.lstat().st_mode)
