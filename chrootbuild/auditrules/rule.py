"""What a rule of audit is called, why it is one, and what to do about a finding."""

from __future__ import annotations

from dataclasses import dataclass

from chrootbuild.findings import Finding, Severity

__all__ = ["Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """``severities`` says when a finding is what: as docs/audit.md has it."""

    id: str
    severities: str
    reason: str
    remedy: str

    def error(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding that makes audit fail."""
        return self._finding("error", path, fact, more)

    def warning(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding that somebody should look at."""
        return self._finding("warning", path, fact, more)

    def note(self, path: str, fact: str, *more: str) -> Finding:
        """Return what is good to know; it needs no remedy."""
        return Finding("note", self.id, path, "\n".join((fact, *more)))

    def _finding(self, severity: Severity, path: str, fact: str, more: tuple[str, ...]) -> Finding:
        return Finding(severity, self.id, path, "\n".join((fact, *more, f"remedy: {self.remedy}")))
