"""The bounds of a box: which kernels are trusted with them, and what is said when one is hit."""

from __future__ import annotations

import resource
from types import SimpleNamespace

import pytest

from chrootbuild.sandbox.bounds import limits
from chrootbuild.target.model import Limits


@pytest.mark.parametrize(
    ("release", "names"),
    [
        ("5.10.0-30-amd64", []),
        ("6.1.0-25-amd64", []),
        ("6.12.48+deb13-amd64", []),
        ("6.6+", []),
        ("strange", []),
        ("6.14.0-rc1", ["pid_max"]),
        ("6.18.44", ["pid_max"]),
        ("7.0", ["pid_max"]),
    ],
)
def test_the_pid_max_of_the_whole_machine_is_never_set(
    monkeypatch: pytest.MonkeyPatch, release: str, names: list[str]
) -> None:
    """Before Linux 6.14 a write within a pid namespace would have changed it for everybody."""
    written: list[str] = []
    monkeypatch.setattr(limits, "_set", lambda name, _: written.append(name))
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(release=release))
    limits.bound_pids(Limits())
    assert written == names


@pytest.mark.parametrize(
    ("release", "hard", "most"),
    [
        ("5.13.0", 4000, None),
        ("5.14.0", resource.RLIM_INFINITY, 1040),
        ("6.1.0", 4000, 1040),
        ("6.1.0", 500, None),
    ],
)
def test_the_users_own_limit_is_only_lowered(
    monkeypatch: pytest.MonkeyPatch, release: str, hard: int, most: int | None
) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(release=release))
    monkeypatch.setattr("resource.getrlimit", lambda _: (hard, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _, pair: said.append(pair))
    limits.bound_user(Limits())
    assert said == ([] if most is None else [(most, most)])


@pytest.mark.parametrize(
    ("key", "value", "fact"),
    [
        ("processes", 1024, "the check made more than 1,024 processes and threads"),
        ("memory", 2 << 30, "the check took more than 2G of memory"),
        ("files", 1536 << 20, "the check wrote more than 1536M of files"),
        ("files", 1_000_000, "the check wrote more than 1,000,000 bytes of files"),
        ("trace", 1 << 40, "the check's trace grew beyond 1T"),
        ("trace", 1 << 60, "the check's trace grew beyond 1048576T"),
    ],
)
def test_the_finding_names_the_key(key: str, value: int, fact: str) -> None:
    assert limits.hit(Limits(**{key: value}), key) == f"{fact}: raise limits.{key} in [check]"
