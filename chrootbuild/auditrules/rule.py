"""A rule of audit: its name, its reason, and the remedy of its findings."""

from __future__ import annotations

from dataclasses import dataclass

from chrootbuild.findings import Finding, Severity

__all__ = ["Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; ``severities`` describes when a finding has which severity: as in docs/audit.md."""

    id: str
    severities: str
    reason: str
    remedy: str

    def error(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding that makes audit fail."""
        return self._finding("error", path, fact, more)

    def warning(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding that somebody should examine."""
        return self._finding("warning", path, fact, more)

    def note(self, path: str, fact: str, *more: str) -> Finding:
        """Return a finding for information; it needs no remedy."""
        return Finding("note", self.id, path, "\n".join((fact, *more)))

    def _finding(self, severity: Severity, path: str, fact: str, more: tuple[str, ...]) -> Finding:
        return Finding(severity, self.id, path, "\n".join((fact, *more, f"remedy: {self.remedy}")))
