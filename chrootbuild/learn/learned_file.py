"""targets/NAME.learned.toml on disk: written in one step, and never so that the target cannot be planned."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chrootbuild.compare.assessment import make_plan
from chrootbuild.errors import Failure, TargetError
from chrootbuild.learn.render import entries, merge, without
from chrootbuild.propose.model import Proposal
from chrootbuild.state.project import Project
from chrootbuild.system.files import write_atomically
from chrootbuild.system.rights.trust import refuse_untrusted
from chrootbuild.target.reader import read_target

_LIMIT = 16 << 20  # bytes


@dataclass(frozen=True, slots=True)
class LearnedFile:
    """The learned file of one target."""

    project: Project
    name: str

    @property
    def path(self) -> str:
        """Its real path."""
        return f"{self.project.targets}/{self.name}.learned.toml"

    @property
    def shown(self) -> str:
        """It as people are shown it."""
        return f"targets/{self.name}.learned.toml"

    def exists(self) -> bool:
        """Tell whether anything was learned before."""
        return os.path.lexists(self.path)

    def read(self) -> str:
        """Return its text, "" where there is none; raises Failure."""
        try:
            refuse_untrusted([self.path], what="the learned file")
            with open(self.path, encoding="utf-8") as file:
                return file.read(_LIMIT)
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            fact = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise Failure(f"cannot read {self.path}: {fact}") from None

    def write(self, text: str) -> None:
        """Put a text in its place; "" removes it, and one that is there already is not touched. Raises Failure."""
        if text == self.read():
            return
        try:
            if text:
                # A link, for whoever keeps the file elsewhere, stays one.
                write_atomically(os.path.realpath(self.path), text.encode(), 0o644)
            else:
                os.unlink(self.path)
        except (Failure, OSError) as error:
            fact = (
                error.message
                if isinstance(error, Failure)
                else f"cannot write {self.path}: {error.strerror}"
            )
            raise Failure(fact, hint="the folder targets/ has to be writable") from None

    def add(self, proposals: Sequence[Proposal]) -> tuple[list[Proposal], list[tuple[Proposal, str]]]:
        """Add what is new; return it, and what no plan can be made with, and why.

        Raises TargetError and Failure where the target cannot be planned as it is. Then, and when
        it is interrupted, the file is as before.
        """
        before = self.read()
        known = {(entry.key, entry.name) for entry in entries(before, self.shown)}
        new = [one for one in proposals if (one.key, one.value) not in known]
        if not new:
            return [], []
        unfit: list[tuple[Proposal, str]] = []
        try:
            kept = self._fitting(before, [], new, unfit)
            if unfit:
                self.write(merge(before, kept, self.shown) if kept else before)
                self._plan()
        except BaseException:
            self.write(before)
            raise
        return kept, unfit

    def drop(self, gone: Collection[tuple[str, str]]) -> None:
        """Take out entries, each by key and value; a file that says nothing any more goes. Raises Failure."""
        text = without(self.read(), lambda entry: (entry.key, entry.name) in gone, self.shown)
        self.write(text if entries(text) else "")

    def _fitting(
        self, before: str, kept: list[Proposal], more: list[Proposal], unfit: list[tuple[Proposal, str]]
    ) -> list[Proposal]:
        """Return ``kept`` and of ``more`` what a plan can be made with: halved until what is wrong stands alone."""
        self.write(merge(before, [*kept, *more], self.shown))
        try:
            self._plan()
        except TargetError as error:
            if len(more) == 1:
                unfit.append((more[0], f"it cannot be in the root: {error.message}"))
                return kept
            half = len(more) // 2
            kept = self._fitting(before, kept, more[:half], unfit)
            return self._fitting(before, kept, more[half:], unfit)
        return [*kept, *more]

    def _plan(self) -> None:
        make_plan(self.project, read_target(self.project, self.name))
