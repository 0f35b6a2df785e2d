"""Whole processes, timed in turn: A B C, A B C, ...; medians and ratios, for these machines are noisy."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One command; ``before`` puts everything back before each run and is not timed."""

    name: str
    argv: Sequence[str]
    cwd: str = "/"
    before: Callable[[], object] = lambda: None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timed:
    """What one case took: seconds on the clock, on the processors, and the largest process in kB."""

    clock: list[float]
    cpu: list[float]
    memory: int

    @property
    def median(self) -> float:
        return statistics.median(self.clock)


def program() -> str:
    """Return the installed chrootbuild, beside this interpreter; its start is part of the figures."""
    beside = Path(sys.executable).parent / "chrootbuild"
    found = str(beside) if beside.exists() else shutil.which("chrootbuild")
    if found is None:
        sys.exit("error: cannot find the program chrootbuild: install the package first")
    return found


def once(case: Case) -> tuple[float, float, int]:
    """Run a case; return seconds on the clock, on the processors, and kB."""
    case.before()
    env = {**os.environ, **case.env}
    start = time.perf_counter()
    process = subprocess.Popen(
        case.argv,
        cwd=case.cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    clock = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(
            f"error: {case.name} ended with {process.returncode}: {said.decode(errors='replace')[-2000:]}"
        )
    return clock, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def measure(cases: Sequence[Case], runs: int) -> dict[str, Timed]:
    """Run all cases in turn ``runs`` times, after one round that does not count."""
    for case in cases:
        once(case)
    found: dict[str, list[tuple[float, float, int]]] = {case.name: [] for case in cases}
    for _ in range(runs):
        for case in cases:
            found[case.name].append(once(case))
    return {
        name: Timed([row[0] for row in rows], [row[1] for row in rows], max(row[2] for row in rows))
        for name, rows in found.items()
    }


def table(timed: Mapping[str, Timed], against: str) -> str:
    """Return a Markdown table: median, spread, processor time, memory, and the ratio to one of them."""
    base = timed[against].median
    lines = [f"| | median s | min-max | cpu s | MB | ratio to {against} |", "|---|---|---|---|---|---|"]
    for name, row in timed.items():
        spread = f"{min(row.clock):.3f}-{max(row.clock):.3f}"
        cpu = statistics.median(row.cpu)
        lines.append(
            f"| {name} | {row.median:.3f} | {spread} | {cpu:.3f} | {row.memory / 1024:.0f} | {row.median / base:.2f} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Return the machine's facts as one line."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return f"{os.cpu_count()} x {model}, {release}, Linux {platform.release()}, Python {platform.python_version()}"


def settle() -> None:
    """Let what was written before reach the disk, so that no case pays for another."""
    os.sync()
    resource.getrusage(resource.RUSAGE_SELF)
