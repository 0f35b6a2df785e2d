"""Findings of check, audit and verify: one fact about a root each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from chrootbuild.console import table
from chrootbuild.text import printable

# Only an error makes a command fail.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a root.

    ``rule`` is its check's name ("probe", "setuid-file"), ``path`` a path in the root or empty.
    The first line of ``message`` is the fact, further lines give details; ``remedy`` is what to do.
    """

    severity: Severity
    rule: str
    path: str
    message: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """The message, and the remedy as its last line."""
        return f"{self.message}\nremedy: {self.remedy}" if self.remedy else self.message


def failed(findings: Iterable[Finding]) -> bool:
    """Return whether a finding is an error."""
    return any(finding.severity == "error" for finding in findings)


def as_text(target: str, findings: Iterable[Finding]) -> str:
    """Return the findings as text, errors first, without a trailing newline."""
    order = get_args(Severity)
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    texts = [finding.text.split("\n") for finding in ranked]
    rows = [
        (finding.severity, finding.path, f"{first}  [{finding.rule}]")
        for finding, (first, *_) in zip(ranked, texts, strict=True)
    ]
    lines = [target]
    for line, (_, *more) in zip(table(rows), texts, strict=True):
        lines += [line, *(f"           {printable(text)}" for text in more)]
    return "\n".join(lines)


def as_json(target: str, findings: Iterable[Finding]) -> dict[str, object]:
    """Return {"target", "findings": [{"severity", "rule", "path", "message"}]} for json.dumps.

    Non-UTF-8 bytes of a path stay lone surrogates, as os.fsdecode gives them.
    """
    return {
        "target": target,
        "findings": [
            {
                "severity": finding.severity,
                "rule": finding.rule,
                "path": finding.path,
                "message": finding.text,
            }
            for finding in findings
        ],
    }
