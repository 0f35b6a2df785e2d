"""From the rename of a library to the new file in a root: ``python -m benchmarks.watch [ARTIFACTS [RENAMES]]``.

One root with 5,000 artifacts and a library of 700 kB that is renamed into place 200 times, for
chrootbuild watch and, in the same run and turn about, for lsyncd(1) and for a loop of inotifywait(1) and
rsync(1) over the same directories. The quiet time is taken off. A reader polls the new file every 0.1 ms.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chrootbuild.state.project import find_project
from chrootbuild.target.reader import read_target
from tests.support.watch_lab import watching
from tests.support.workshop import bring_host_programs, compile_c, program

QUIET = 0.05  # seconds
REST = 0.25  # seconds between two renames: what is done behind the new file's back has to end
LSYNCD_QUIET = 1  # seconds
BLOCK = 20  # renames, before it is another one's turn
LIBRARY = "usr/lib/libbig.so.1"
# What people write: wait for events, let them settle, copy the tree. Without --modify-window=-1 rsync
# would miss a change within one second.
LOOP = """
inotifywait -q -m -e moved_to,create,close_write,delete -r {top}/usr/lib {top}/srv | while read -r line; do
  while read -r -t {quiet} line; do :; done
  rsync -aR --delete --modify-window=-1 {top}/./usr/lib {top}/./srv {root}/
done
"""

# The same two trees, by rsync too; it counts the quiet time in whole seconds.
LSYNCD = """
settings {{ nodaemon = true, insist = true }}
for _, part in ipairs({{ "usr/lib", "srv" }}) do
  sync {{
    default.rsync, source = "{top}/" .. part, target = "{root}/" .. part, delay = {quiet}, delete = true,
    rsync = {{ archive = true, _extra = {{ "--modify-window=-1" }} }},
  }}
end
"""


def make(top: Path, artifacts: int) -> None:
    """Make a sysroot: a shell, a program with a large library, and as many small files."""
    top.mkdir(parents=True)
    bring_host_programs(top, "/bin/sh")
    for number in range(artifacts):
        path = top / f"srv/www/{number // 100}/{number % 100}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    (top / "usr/lib").mkdir(exist_ok=True)
    for word in ("a", "b"):
        code = "static const char pad[700000] = {1}; const char *padding(void) { return pad; }"
        code += f'const char *big(void) {{ return "{word}"; }}'
        compile_c(top.parent / word, code, "-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libbig.so.1")
    shutil.copyfile(top.parent / "a", top / LIBRARY)
    program(top / "usr/bin/app", {"big": top / LIBRARY})


def rename(top: Path, number: int) -> tuple[bytes, float]:
    """Replace the library as a package manager does; return its content and when that was."""
    new = (top / LIBRARY).with_suffix(".new")
    content = (top.parent / "ab"[number % 2]).read_bytes() + b"%d" % number
    new.write_bytes(content)
    new.rename(top / LIBRARY)
    return content, time.perf_counter()


def latency(top: Path, there: Path, number: int, quiet: float) -> float:
    """Return the seconds from a rename to the whole new file, less the quiet time."""
    before = there.stat().st_ino
    content, began = rename(top, number)
    while True:
        with contextlib.suppress(OSError):
            info = there.stat()
            if info.st_ino != before and info.st_size == len(content) and there.read_bytes() == content:
                return time.perf_counter() - began - quiet
        if time.perf_counter() - began > 30:
            raise SystemExit(f"it never came: {there}")
        time.sleep(0.0001)


def told(name: str, seconds: list[float]) -> None:
    ms = sorted(1000 * second for second in seconds)
    p99 = ms[min(len(ms) - 1, round(0.99 * len(ms)))]
    print(f"{statistics.median(ms):8.1f} {p99:8.1f} {ms[-1]:8.1f}  {name}")


@dataclass
class Rival:
    """Something that follows the sysroot, in a process group or process of its own."""

    name: str
    there: Path  # the library's copy
    send: Callable[[int], None]  # a signal
    quiet: float = QUIET
    seconds: list[float] = field(default_factory=list)


@contextlib.contextmanager
def loop(top: Path, root: Path) -> Iterator[Rival]:
    """Run the loop of inotifywait and rsync."""
    root.mkdir(parents=True)
    text = LOOP.format(top=top, root=root, quiet=QUIET)
    process = subprocess.Popen(["bash", "-c", text], start_new_session=True)
    (top / "srv/first").touch()  # all is copied before it counts
    time.sleep(2)
    (top / "srv/first").unlink()
    try:
        name = "inotifywait and rsync -aR --delete"
        yield Rival(name, root / LIBRARY, lambda number: os.killpg(process.pid, number))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def lsyncd(top: Path, root: Path) -> Iterator[Rival]:
    """Run lsyncd."""
    (root / "usr").mkdir(parents=True)
    config = root.with_suffix(".lua")
    config.write_text(LSYNCD.format(top=top, root=root, quiet=LSYNCD_QUIET))
    argv = ["lsyncd", "-nodaemon", "-log", "Error", str(config)]
    process = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not (root / LIBRARY).exists():
            time.sleep(0.1)
        time.sleep(2)
        name = f"lsyncd, rsync -a --delete, delay = {LSYNCD_QUIET}"
        yield Rival(name, root / LIBRARY, lambda number: os.killpg(process.pid, number), LSYNCD_QUIET)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure(top: Path, rivals: list[Rival], renames: int) -> None:
    """Measure the rivals turn about, in blocks; those whose turn it is not are stopped."""
    for block in range(0, renames * len(rivals), BLOCK):
        chosen = rivals[block // BLOCK % len(rivals)]
        for rival in rivals:
            rival.send(signal.SIGCONT if rival is chosen else signal.SIGSTOP)
        time.sleep(1)
        rename(top, block)  # what it missed is made up for
        time.sleep(2)  # and what watch leaves for a second of rest is done
        for number in range(block, block + BLOCK):
            chosen.seconds.append(latency(top, chosen.there, number, chosen.quiet))
            time.sleep(REST)
    for rival in rivals:
        rival.send(signal.SIGCONT)


def main() -> None:
    artifacts = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    renames = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        top, project = Path(folder) / "sysroot", Path(folder) / "project"
        make(top, artifacts)
        (project / "targets").mkdir(parents=True)
        text = f'sysroot = "{top}"\nos = "linux"\nbinaries = ["/bin/sh", "app"]\nfiles = ["/srv/www/"]\n'
        (project / "targets/x.toml").write_text(text)
        root = Path(read_target(find_project(str(project)), "x").root)
        watch = stack.enter_context(watching(project, quiet=QUIET))
        rivals = [Rival("chrootbuild watch", root / LIBRARY, watch.send)]
        if shutil.which("inotifywait") and shutil.which("rsync"):
            rivals.append(stack.enter_context(loop(top, Path(folder) / "rsync")))
        if shutil.which("lsyncd") and shutil.which("rsync"):
            rivals.append(stack.enter_context(lsyncd(top, Path(folder) / "lsyncd")))
        measure(top, rivals, renames)
        print(f"{artifacts} artifacts, {renames} renames each, {watch.threads()} threads of watch")
        print("milliseconds beyond the quiet time\n  median      p99      max")
        for rival in rivals:
            told(rival.name, rival.seconds)
        time.sleep(5)
        before = watch.ticks()
        time.sleep(10)
        print(f"{watch.ticks() - before} clock ticks of CPU in 10 idle seconds of watch")
        watch.stop()


if __name__ == "__main__":
    main()
