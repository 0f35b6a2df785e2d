"""learn --minimize: what a passing check inside the root does not use leaves the learned file.

Never what may be there to forbid something: a check passes without it, and a door is open.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from chrootbuild.check.trial import trial
from chrootbuild.console import Progress
from chrootbuild.errors import Failure
from chrootbuild.findings import failed
from chrootbuild.learn.learned_file import Entry, entries
from chrootbuild.learn.learned_store import LearnedFile
from chrootbuild.learn.rounds import LearnResult
from chrootbuild.learn.session import LearnContext, build, proved, tracer
from chrootbuild.propose.propose import touched
from chrootbuild.propose.rules import is_policy
from chrootbuild.state.lock import alone
from chrootbuild.state.project import Project
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.target.reader import read_target
from chrootbuild.trace.events import Access
from chrootbuild.trace.open import events_of

_PATHS = ("binaries", "libraries", "files", "links")
_TREES = ("directories", "seed")  # used by what is used below them


def minimize(project: Project, name: str, bar: Progress) -> LearnResult:
    """Drop from a target's learned file what its check does not use, and prove that it still passes.

    Where it does not, the half that does no harm is dropped, down to single entries. Raises
    Failure where the check does not pass at first.
    """
    target = read_target(project, name)
    strace = tracer(target)
    file = LearnedFile(project, name)
    with alone(project, name, "learn"):
        before = file.read()
        if not before:
            return LearnResult(file.shown, findings=proved(project, build(project, name), bar))
        context = build(project, name)
        bar.stage("tracing in the root")
        unused = _unused(context, strace, entries(before, file.shown), bar)
        try:
            dropped = _drop(file, [], unused, bar, len(unused))
            findings = proved(project, build(project, name), bar)
        except BaseException:
            file.write(before)
            raise
        if failed(findings):  # it was proven before: somebody changes the host meanwhile
            file.write(before)
            build(project, name)
            dropped = []
        pairs = tuple((entry.key, entry.name) for entry in dropped)
        return LearnResult(file.shown, findings=findings, dropped=pairs)


def _unused(context: LearnContext, strace: str, learned: tuple[Entry, ...], bar: Progress) -> list[Entry]:
    """Return the entries that a run of the check does not use; raises Failure where the run fails."""
    target = context.target
    privileges = bool(target.setuid)
    run = trial(
        context.confinement, target.check, context.users, strace=strace, privileges=privileges, bar=bar
    )
    inside = Sysroot(target.root)
    used: set[str] = set()
    kernel = False
    for _, trace in run.traces:
        with trace:
            path = f"/proc/self/fd/{trace.fileno()}"
            used |= touched(events_of(path), inside)
            kernel = kernel or any(_reads_proc(event) for event in events_of(path))
    if failed(run.findings):
        raise Failure(
            f"cannot minimize {target.name}: its check does not pass as it is",
            details=tuple(line for found in run.findings for line in (found.fact, *found.details)),
            hint=f"chrootbuild learn {target.name} finds what is missing",
        )
    above = {parent for path in used for parent in _parents(path)}
    return [entry for entry in learned if not _is_used(entry, used, above, kernel=kernel)]


def _reads_proc(event: object) -> bool:
    return isinstance(event, Access) and not event.errno and event.path.startswith("/proc/")


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts))]


def _is_used(entry: Entry, used: AbstractSet[str], above: AbstractSet[str], *, kernel: bool) -> bool:
    """Tell whether an entry has to stay. Accounts do: no trace shows which line was read."""
    path = entry.name.rstrip("/")
    if is_policy(path):
        return True
    if entry.key == "mounts":
        return kernel or path != "/proc"
    if entry.key == "timezone":
        return "/etc/localtime" in used
    if entry.key == "devices":
        return f"/dev/{path}" in used
    if entry.key in _TREES or entry.name.endswith("/"):
        return path in used or path in above
    return entry.key not in _PATHS or path in used


def _drop(
    file: LearnedFile, dropped: list[Entry], more: list[Entry], bar: Progress, whole: int
) -> list[Entry]:
    """Return ``dropped`` and what of ``more`` the check passes without; the file is written so."""
    if not more:
        return dropped
    before = file.read()
    file.drop({(entry.key, entry.name) for entry in more})
    bar.stage(f"minimize, without {len(dropped) + len(more)} of {whole}")
    if not failed(proved(file.project, build(file.project, file.name), bar)):
        return [*dropped, *more]
    file.write(before)
    if len(more) == 1:
        return dropped
    half = len(more) // 2
    return _drop(file, _drop(file, dropped, more[:half], bar, whole), more[half:], bar, whole)
