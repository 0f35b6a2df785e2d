"""``seed``: state copied whole, once, unchanged."""

from __future__ import annotations

import stat

from chrootbuild.artifact import Artifact, Kind, Reason
from chrootbuild.paths import join
from chrootbuild.plan.builder import PlanBuilder, blame
from chrootbuild.plan.exclude import LeftOut
from chrootbuild.plan.files import SPECIAL, too_long
from chrootbuild.plan.programs import not_there
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.target.model import Target


def seeds(target: Target, builder: PlanBuilder, left: LeftOut) -> dict[str, tuple[Artifact, ...]]:
    """Return for each ``seed`` the artifacts in it, parents first; secrets are state and included."""
    found = {}
    for item in target.seed:
        path = item.value.rstrip("/")
        try:
            top = builder.sysroot.canonical(path)
        except Unreadable as error:
            raise not_there(path, item.origin, error) from None
        reason = Reason(f"seed: {item.value}")
        with blame(item.origin):
            where = builder.place(path, reason)
            found[where] = tuple(_seed(builder, left, top, where))
        builder.note(where, reason)
    return found


def _seed(builder: PlanBuilder, left: LeftOut, top: str, where: str) -> list[Artifact]:
    sysroot = builder.sysroot
    artifacts, stack = [], [top]
    while stack:
        path = stack.pop()
        place = where + path[len(top) :]
        if too_long(sysroot, path):
            builder.skip(place, "its path is longer than a path can be")
            continue
        info = sysroot.lstat(path)
        if info is None or left.excluded(path) or left.excluded(place):
            continue
        mode, real = stat.S_IMODE(info.st_mode), sysroot.real(path)
        owner = (info.st_uid, info.st_gid)
        if stat.S_ISDIR(info.st_mode):
            artifacts.append(Artifact(place, Kind.DIRECTORY, mode, *owner))
            stack.extend(join(path, name) for name in reversed(sysroot.listdir(path)))
        elif stat.S_ISLNK(info.st_mode):
            link = sysroot.readlink(path)
            artifacts.append(Artifact(place, Kind.LINK, 0, *owner, source=real, link=link))
        elif stat.S_ISREG(info.st_mode):
            artifacts.append(Artifact(place, Kind.FILE, mode, *owner, source=real))
        else:
            builder.skip(place, f"it is {SPECIAL[stat.S_IFMT(info.st_mode)]}")
    return artifacts
