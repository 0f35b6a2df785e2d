"""What several attacks need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.confine_lab import make_root


@pytest.fixture
def user_root() -> Iterator[Path]:
    """A root that belongs to nobody, in a place that nobody can read."""
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        root = make_root(Path(directory, "root"), "dev", "proc", "srv")
        for where, names, files in os.walk(root):
            for name in (".", *names, *files):
                os.chown(os.path.join(where, name), 65534, 65534)
        yield root
