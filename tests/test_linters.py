"""ruff and mypy are tests; shell scripts are parsed by sh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


def run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", ".")


def test_code_is_formatted() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_mypy_finds_nothing() -> None:
    run(sys.executable, "-m", "mypy")


@pytest.mark.parametrize("script", [".ci/run", ".ci/venv", "tests/run.sh"])
def test_shell_scripts_parse(script: str) -> None:
    run("sh" if script != ".ci/run" else "bash", "-n", script)
