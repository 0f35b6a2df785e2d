"""The roots in targets/ as doit tasks: one task an artifact, cvs:/etc/passwd."""

import sys

from doit import get_var

from chrootbuild.commands import DOIT_COMMANDS
from chrootbuild.tasks import DOIT_CONFIG, tasks_of_dodo  # noqa: F401


def task_roots():  # type: ignore[no-untyped-def]
    """Build the roots."""
    yield from tasks_of_dodo(sys.argv[1:], DOIT_COMMANDS, get_var("out"))
