"""The names that a dodo.py and pyproject.toml know."""

from __future__ import annotations

from chrootbuild.build.doit_settings import DOIT_CONFIG, Backend, tasks_of_dodo
from chrootbuild.output import protect_to_the_end

protect_to_the_end()

__all__ = ["DOIT_CONFIG", "Backend", "tasks_of_dodo"]
