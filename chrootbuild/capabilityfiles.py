"""login.conf.db and termcap.db of a FreeBSD root: made from the text beside them, never copied.

libc reads NAME.db in place of NAME where both exist (getcap(3)), so a
.db older than its text hides it. Where ``files`` bring a .db the text
comes along, and the .db is made from it as by cap_mkdb(1). A .db
without a text hides nothing and is copied.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chrootbuild.accounts import cap_mkdb
from chrootbuild.artifact import Artifact, Kind, Reason
from chrootbuild.draft import DECLARED, Draft
from chrootbuild.gatherfiles import Files
from chrootbuild.paths import split
from chrootbuild.spec import Target

__all__ = ["CapabilityDatabase", "pair_databases"]

_NAMES = ("login.conf.db", "termcap.db")
_FORMAT = 1  # incremented when the same text gives other bytes


@dataclass(frozen=True, slots=True)
class CapabilityDatabase:
    """The recipe of a .db file."""

    text: bytes

    def render(self) -> bytes:
        """Return the file's bytes; raises Failure where a ``tc=`` of the text leads back to itself."""
        return cap_mkdb(self.text)

    def digest(self) -> str:
        """Return a hex digest of the inputs of ``render``."""
        return hashlib.sha256(b"cap_mkdb %d\n" % _FORMAT + self.text).hexdigest()


def pair_databases(target: Target, draft: Draft, files: Files) -> None:
    """Replace each copied .db by a database made from its text, and add the text."""
    copied = [
        artifact
        for artifact in draft.artifacts.values()
        if artifact.kind is Kind.FILE and split(artifact.path)[1] in _NAMES
    ]
    for artifact in copied:
        path = artifact.path.removesuffix(".db")
        why = Reason("is made from it", artifact.path)
        if path not in draft.artifacts:
            if not draft.host.isfile(path) or files.left.excluded(path):
                continue
            files.data(path, why, target.origin)
        text = draft.artifacts.get(draft.where(path))
        if text is None or text.kind not in (Kind.FILE, Kind.TEXT):
            continue
        draft.note(text.path, why)
        content = text.content
        if text.kind is Kind.FILE:
            content = draft.host.read(text.path if draft.host.isfile(text.path) else path)
        made = Artifact(
            artifact.path,
            Kind.DATABASE,
            artifact.mode,
            artifact.uid,
            artifact.gid,
            sources=text.sources,
            recipe=CapabilityDatabase(content),
            after=(text.path,),
        )
        reason = next(iter(draft.reasons[artifact.path]))
        draft.add(made, reason, rank=DECLARED)
