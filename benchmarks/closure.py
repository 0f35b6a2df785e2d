"""The closures of all programs of this machine: ours, cold and with the memo warm, beside libtree and lddtree.

    python benchmarks/closure.py [--runs N] [--lddtree]

Whole processes, interleaved, output thrown away; prints medians in seconds
and ratios to libtree, which lists all libraries here (-vv), as we do.
lddtree takes a hundred times as long, so it runs once, and only if asked for.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot

# Without garbage collection, as the commands run.
_OURS = """
import gc, sys
gc.disable()
from chrootbuild.elf.memo import Memo
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.sysroot.reader import Sysroot
memo = Memo.load(sys.argv[1]) if len(sys.argv) > 1 else Memo()
resolver = Resolver(Sysroot("/"), memo)
edges = sum(len(resolver.program(path).loads) for path in sys.stdin.read().splitlines())
memo.save()
print(edges)
"""


def programs() -> list[str]:
    """Return every ELF program of the usual directories."""
    resolver = Resolver(Sysroot("/"))
    return [
        path
        for directory in ("/usr/bin", "/usr/sbin")
        for name in sorted(os.listdir(directory))
        if resolver.classify(path := f"{directory}/{name}") == "program"
    ]


def seconds(argv: Sequence[str], stdin: str, env: dict[str, str]) -> tuple[float, float]:
    """Run one process; return its time on the clock and on the processors."""
    with tempfile.TemporaryFile() as file:
        file.write(stdin.encode(errors="surrogateescape"))
        file.seek(0)
        quiet = subprocess.DEVNULL
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(argv, check=False, stdin=file, stdout=quiet, stderr=quiet, env=env)
        clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="runs of each method")
    parser.add_argument("--lddtree", action="store_true", help="lddtree as well, once")
    options = parser.parse_args()
    paths = programs()
    with tempfile.TemporaryDirectory() as scratch:
        memo = os.path.join(scratch, "memo")
        # As an installed package: its bytecode is there.
        env = dict(os.environ, PYTHONPYCACHEPREFIX=os.path.join(scratch, "bytecode"))
        env["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        stdin = "\n".join(paths)
        methods = {
            "ours, cold": [sys.executable, "-c", _OURS],
            "ours, memo warm": [sys.executable, "-c", _OURS, memo],
        }
        if shutil.which("libtree"):
            methods["libtree"] = ["libtree", "-p", "-vv", *paths]
        for argv in methods.values():  # files into the page cache, bytecode and memo written
            seconds(argv, stdin, env)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for _ in range(options.runs):
            for name, argv in methods.items():
                times[name].append(seconds(argv, stdin, env))
        if options.lddtree and shutil.which("lddtree"):
            script = str(shutil.which("lddtree"))  # in Python, on pyelftools as well
            times["lddtree"] = [seconds([sys.executable, script, *paths], "", env)]
    print(f"{len(paths)} programs, {options.runs} runs, medians: seconds on the clock, on the processors")
    medians = {
        name: (statistics.median(clock for clock, _ in values), statistics.median(cpu for _, cpu in values))
        for name, values in times.items()
    }
    for name, (clock, cpu) in sorted(medians.items(), key=lambda item: item[1]):
        ratio = ""
        if "libtree" in medians:
            ratio = f"{clock / medians['libtree'][0]:7.2f} {cpu / medians['libtree'][1]:7.2f} times libtree"
        print(f"  {name:16} {clock:7.3f} {cpu:7.3f} {ratio}")


if __name__ == "__main__":
    main()
