"""What watch takes by the number of directories: ``python -m benchmarks.watch_size [DIRECTORIES]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.watch_lab import watching


def measure(directories: int) -> None:
    """Print the threads, inotify descriptors and memory of a watch over so many directories of one file each."""
    with tempfile.TemporaryDirectory() as folder:
        top, project = Path(folder, "sysroot"), Path(folder, "project")
        for number in range(directories):
            path = top / f"srv/{number // 100}/{number % 100}/x"
            path.parent.mkdir(parents=True)
            path.write_text("x\n")
        (project / "targets").mkdir(parents=True)
        (project / "targets/x.toml").write_text(f'sysroot = "{top}"\nos = "linux"\nfiles = ["/srv/"]\n')
        with watching(project) as watch:
            place = Path(f"/proc/{watch.process.pid}")
            status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
            descriptors = sum(str(fd.readlink()) == "anon_inode:inotify" for fd in (place / "fd").iterdir())
            memory = int(status["VmRSS"].split()[0]) / 1024
            print(
                f"{directories} directories: {watch.threads()} threads, {descriptors} inotify, {memory:.0f} MB"
            )
            watch.stop()


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
