"""``stdout = PATTERN`` on an output that makes the search endless: it ends, and says what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.artifact import Origin
from chrootbuild.check import search as searching
from chrootbuild.check.search import search
from chrootbuild.check.trial import check
from chrootbuild.errors import TargetError
from chrootbuild.findings import Finding
from chrootbuild.system.rights.user import ROOT
from chrootbuild.target.model import Check, Command, Target
from tests.support.confine_lab import make_root

ORIGIN = Origin("targets/t.toml", "check")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_SECONDS", 1)


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("ready.*serving", b"ready " * 700_000),
        ("(a+)+$", b"a" * 64 + b"!"),
        (r"(\w+\s?)*;", b"word " * 40),
        ("(?s)ready.*serving", b"ready\n" * 700_000),
    ],
)
def test_a_search_without_end_ends(pattern: str, output: bytes) -> None:
    said = search(pattern, output)
    assert said.startswith(
        f"whether it printed {pattern!r} is not known: to search the {len(output):,} bytes"
    )
    assert "more than 1 seconds of processor time" in said


def test_a_search_without_bounds_of_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_SECONDS", 20)
    monkeypatch.setattr(searching, "_MEMORY", 64 << 20)
    assert "takes too much memory" in search("(?:a|b|(c))*d", b"ab" * 2_000_000)


def test_it_is_re_search() -> None:
    assert search("JST", b"now JST\n") == ""
    assert search("^JST$", b"now\nJST\n") == "did not print '^JST$'"
    assert search("(?m)^JST$", b"now\nJST\n") == ""
    assert search("ready.*serving", b"ready " * 7 + b"serving") == ""
    assert search("\udcff", b"\xff") == ""
    assert search("end$", b"x" * (4 << 20) + b"end\n") == ""
    assert search("", b"") == ""


@pytest.mark.root
@pytest.mark.cc
@pytest.mark.namespaces
def test_a_check_says_so(tmp_path: Path) -> None:
    def run(pattern: str, *words: str) -> tuple[Finding, ...]:
        checks = Check(run=(Command(("does", *words), ORIGIN, stdout=pattern),))
        target = Target("t", "", ORIGIN, str(tmp_path), check=checks)
        return check(target, str(tmp_path), users=lambda _: ROOT)

    make_root(tmp_path)
    assert run("x{9}", "spam", "4000000") == ()
    [finding] = run("x.*x.*x.*y", "spam", "4000000")
    assert (finding.severity, finding.rule) == ("error", "run")
    assert "is not known" in finding.message
    for pattern in ("(", "((" * 5000 + "))" * 5000, "a{99999999999}"):
        with pytest.raises(TargetError, match=r"cannot use stdout = "):
            run(pattern, "say", "x")
