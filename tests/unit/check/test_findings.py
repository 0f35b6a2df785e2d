from __future__ import annotations

import json

from chrootbuild.findings import Finding, as_json, as_text, failed

FINDINGS = (
    Finding("note", "unproven", "", "nobody knows"),
    Finding("error", "probe", "/usr/sbin/x", "it failed", ("/usr/sbin/x printed:", "  \x1b[2Jno")),
    Finding("warning", "mode", "/a\nb", "it is wide open"),
)


def test_text_has_errors_first_and_nothing_that_a_terminal_obeys() -> None:
    assert as_text("web", FINDINGS).splitlines() == [
        "web",
        "  error    /usr/sbin/x  it failed  [probe]",
        "           /usr/sbin/x printed:",
        "             \\x1b[2Jno",
        "  warning  /a\\nb        it is wide open  [mode]",
        "  note                  nobody knows  [unproven]",
    ]


def test_json_is_as_the_contract_says_also_for_bytes_that_are_no_text() -> None:
    finding = Finding("error", "drift", "/\udcff", "content differs")
    data = json.loads(json.dumps(as_json("web", (finding,))))
    assert data == {
        "target": "web",
        "findings": [
            {"severity": "error", "rule": "drift", "path": "/\udcff", "message": "content differs"}
        ],
    }


def test_only_an_error_fails() -> None:
    assert failed(FINDINGS)
    assert not failed(finding for finding in FINDINGS if finding.severity != "error")
