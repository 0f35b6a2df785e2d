"""The rules of audit, one idea a module: functions over facts gathered in one walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chrootbuild.audit.facts import Entry, Facts, Rule, Summary
from chrootbuild.audit.rules import mounts, nodes, processes, secrets, tools
from chrootbuild.audit.rules.permissions import (
    DAEMON,
    DIRECTORY,
    FILE,
    PROGRAM,
    WORLD,
    daemon_writable,
    program_writable,
    setgid_directory,
    setuid_file,
    world_writable,
)
from chrootbuild.audit.rules.whole_root import (
    DRIFT,
    EXTRA,
    LINK,
    MISSING,
    OWNER,
    PLACE,
    UNREADABLE,
    drift,
    hard_links,
    missing_libraries,
    owners,
    place,
    unreadable,
)
from chrootbuild.findings import Finding

# Called for each path of the root; then, after the walk, for the root as a whole.
OF_EACH_PATH: tuple[Callable[[Entry, Facts], Iterator[Finding]], ...] = (
    setuid_file,
    setgid_directory,
    program_writable,
    world_writable,
    daemon_writable,
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
    hard_links,
    owners,
    drift,
    place,
    unreadable,
    missing_libraries,
    mounts.mounted,
    processes.running_as_root,
    processes.capable,
    processes.outside,
    processes.outdated,
    processes.ways_out,
)
# All rules, in the order of the documentation.
RULES: tuple[Rule, ...] = (
    FILE,
    DIRECTORY,
    PROGRAM,
    WORLD,
    DAEMON,
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
    LINK,
    OWNER,
    DRIFT,
    EXTRA,
    PLACE,
    UNREADABLE,
    MISSING,
    mounts.MOUNT,
    processes.ROOT,
    processes.CAPABLE,
    processes.OUTSIDE,
    processes.OUTDATED,
    processes.WAYS,
)
