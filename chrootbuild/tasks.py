"""The names that a dodo.py and pyproject.toml know."""

from __future__ import annotations

from chrootbuild.build.doit_settings import DOIT_CONFIG, Backend, tasks_of_dodo

__all__ = ["DOIT_CONFIG", "Backend", "tasks_of_dodo"]
