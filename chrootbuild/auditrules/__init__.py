"""The rules of audit, one idea a module: functions over facts gathered in one walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chrootbuild.auditrules import (
    loads,
    mounts,
    nodes,
    privileged,
    processes,
    secrets,
    tools,
    whole,
    writable,
)
from chrootbuild.auditrules.facts import Entry, Facts, Summary
from chrootbuild.auditrules.rule import Rule
from chrootbuild.findings import Finding

__all__ = ["OF_EACH_PATH", "OF_THE_WHOLE", "RULES"]

# Called for each path of the root; then, after the walk, for the root as a whole.
OF_EACH_PATH: tuple[Callable[[Entry, Facts], Iterator[Finding]], ...] = (
    privileged.setuid_file,
    privileged.setgid_directory,
    writable.program_writable,
    writable.world_writable,
    writable.daemon_writable,
    nodes.device,
    nodes.unix_socket,
    nodes.fifo,
    secrets.passwords,
    secrets.private_key,
    secrets.core_dump,
    secrets.ssh_access,
    tools.left_behind,
    tools.foreign_program,
)
OF_THE_WHOLE: tuple[Callable[[Facts, Summary], Iterator[Finding]], ...] = (
    whole.hard_links,
    whole.owners,
    whole.drift,
    whole.place,
    whole.unreadable,
    loads.missing_libraries,
    mounts.mounted,
    processes.running_as_root,
    processes.capable,
    processes.outside,
    processes.outdated,
    processes.ways_out,
)
# All rules, in the order of the documentation.
RULES: tuple[Rule, ...] = (
    privileged.FILE,
    privileged.DIRECTORY,
    writable.PROGRAM,
    writable.WORLD,
    writable.DAEMON,
    nodes.DEVICE,
    nodes.SOCKET,
    nodes.FIFO,
    secrets.HASH,
    secrets.EMPTY,
    secrets.KEY,
    secrets.CORE,
    secrets.SSH,
    tools.TOOL,
    tools.FOREIGN,
    whole.LINK,
    whole.OWNER,
    whole.DRIFT,
    whole.EXTRA,
    whole.PLACE,
    whole.UNREADABLE,
    loads.MISSING,
    mounts.MOUNT,
    processes.ROOT,
    processes.CAPABLE,
    processes.OUTSIDE,
    processes.OUTDATED,
    processes.WAYS,
)
