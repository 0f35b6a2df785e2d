"""What a program meets that is started while libraries are replaced: ``python -m benchmarks.window [UPGRADES]``.

A root with a loader, a libc and eight libraries is upgraded 50 times, all of them at once, while a program that
needs all of them is started without rest. It says by their build ids which it met: all of the old ones, all of
the new ones, or a mixture. Once the directory is wholly ours and exchanged as a whole, once something
foreign is in it, so that each file is renamed; and once rsync(1) copies.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.starting import UPGRADED, compile_starter, make_upgraded, starting, upgrade
from tests.support.workshop import Workshop

REST = 0.1  # seconds between two upgrades: starts that meet one version alone


@dataclass(slots=True)
class Counted:
    """The starts of one way to copy."""

    name: str
    counts: Counter[str]
    failed: int
    milliseconds: list[float] = field(default_factory=list)  # of each upgrade


def count(
    name: str,
    root: Path,
    starter: Path,
    upgrades: int,
    next_one: Callable[[int], None],
    follow: Callable[[], float],
) -> Counted:
    """Upgrade and follow, with starts all the time; ``follow`` returns the milliseconds that it took."""
    with starting(root, "/usr/bin/met", starter) as started:
        started.rest("old")
        milliseconds = []
        for number in range(1, upgrades + 1):
            next_one(number)
            milliseconds.append(follow())
            if number == 1:
                started.rest("new")
            time.sleep(REST)
    failed = len(re.findall("^(?:ended|cannot)", started.failed(), re.MULTILINE))
    return Counted(name, started.counts(), failed, milliseconds)


def by_rename(shop: Workshop) -> float:
    """Refresh, and return how long the publish says that it took."""
    said = shop.run("refresh", "x")
    found = re.search(r"published in ([0-9.]+) ms", said)
    if found is None:
        raise SystemExit(said)
    return float(found[1])


def by_rsync(top: Path, root: Path) -> float:
    began = time.perf_counter()
    subprocess.run(["rsync", "-aR", "--modify-window=-1", f"{top}/./usr/lib", f"{root}/"], check=True)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    upgrades = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / "sysroot"
        builds = make_upgraded(top)
        starter = compile_starter(Path(folder))
        shop = Workshop(Path(folder), top)
        shop.write_targets({"x.toml": UPGRADED.format(top=top)})
        shop.settle()
        copy = Path(folder) / "rsync"
        shutil.copytree(shop.root, copy, symlinks=True)
        found = []

        def measured(name: str, root: Path, follow: Callable[[], float]) -> None:
            upgrade(builds, 0)
            follow()
            found.append(count(name, root, starter, upgrades, lambda n: upgrade(builds, n), follow))

        measured("the directory exchanged", shop.root, lambda: by_rename(shop))
        (next(shop.root.glob("usr/lib/*/libc.so.6")).parent / "foreign").touch()
        measured("each file renamed", shop.root, lambda: by_rename(shop))
        if shutil.which("rsync"):
            measured("rsync -aR", copy, lambda: by_rsync(top, copy))
    print(
        f"{upgrades} upgrades of {len(builds)} libraries at once; milliseconds: from the first rename to the last"
    )
    print("(rsync: of the whole run)")
    print("  starts  all old  all new    mixed   failed   median      max")
    for way in found:
        counts, ms = way.counts, sorted(way.milliseconds)
        numbers = (counts.total(), counts["old"], counts["new"], counts["mixed"], way.failed)
        text = "".join(f"{number:8d} " for number in numbers)
        print(f"{text}{statistics.median(ms):8.1f} {ms[-1]:8.1f}  {way.name}")


if __name__ == "__main__":
    main()
