"""What check, audit and verify have to say about a root: one fact each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from chrootbuild.console import table
from chrootbuild.text import printable

__all__ = ["Finding", "Severity", "as_json", "as_text", "failed"]

# How bad it is; only an error makes a command fail.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about a root.

    ``rule`` is the name of what found it ("probe", "setuid-file"), ``path`` a path in the root
    or empty. The first line of ``message`` is the fact, further lines are what is behind it.
    """

    severity: Severity
    rule: str
    path: str
    message: str


def failed(findings: Iterable[Finding]) -> bool:
    """Tell whether there is an error among them."""
    return any(finding.severity == "error" for finding in findings)


def as_text(target: str, findings: Iterable[Finding]) -> str:
    """Return the text for people, errors first, without a newline at its end."""
    order = get_args(Severity)
    ranked = sorted(findings, key=lambda finding: order.index(finding.severity))
    texts = [finding.message.split("\n") for finding in ranked]
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

    Bytes of a path that are no UTF-8 stay lone surrogates, as os.fsdecode gives them.
    """
    return {
        "target": target,
        "findings": [
            {
                "severity": finding.severity,
                "rule": finding.rule,
                "path": finding.path,
                "message": finding.message,
            }
            for finding in findings
        ],
    }
