"""What learning costs a service, side by side with the bare run: ``python -m benchmarks.learn [RUNS]``.

A service answers in a box, with and without strace(1); then all of `learn` against one check.
Needs root, strace, redis-server (redis-benchmark) and nginx with curl.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chrootbuild.learn.rounds import learn
from chrootbuild.learn.session import build, proved
from chrootbuild.sandbox.box import Box
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.state.project import Project
from chrootbuild.system.rights.user import ROOT

_REDIS = ("/usr/bin/redis-server", "--port", "24991", "--save", "", "--daemonize", "no")
_LOAD = "redis-benchmark -p 24991 -n {count} -c 20 -t set,get -q"
_COUNT = 60000  # requests of each kind


@dataclass(frozen=True, slots=True)
class Way:
    """How a service is run: the name, strace's path or none, and whether every call stops it."""

    name: str
    strace: str
    privileges: bool = False


def _requests(way: Way) -> float:
    """Return the seconds that the load takes."""
    with confine(Confinement("/", system=True)) as box:
        box.inside(_REDIS, name="service", user=ROOT, strace=way.strace, privileges=way.privileges)
        _wait(box, "redis-cli -p 24991 ping")
        start = time.perf_counter()
        status = box.wait(box.outside(_LOAD.format(count=_COUNT), name="load"), 600)
        assert status == 0, box.output("load").decode()
        return time.perf_counter() - start


def _wait(box: Box, probe: str) -> None:
    for _ in range(200):
        if box.wait(box.outside(probe, name="ready"), 10) == 0:
            return
        time.sleep(0.05)
    raise SystemExit(f"the service does not answer: {box.output('service').decode()}")


_TARGETS = {
    "redis": """
binaries = ["/usr/bin/redis-server"]
[check.service]
start = ["/usr/bin/redis-server", "--port", "24992", "--save", ""]
user = "redis:redis"
ready = "tcp:127.0.0.1:24992"
probe = ["test $(redis-cli -p 24992 set k v) = OK"]
""",
    "nginx": """
binaries = ["/usr/sbin/nginx"]
[text]
"/srv/n/nginx.conf" = "daemon off; events {} http { server { listen 127.0.0.1:24993; root /srv/n; } }"
"/srv/n/index.html" = "hello"
[check.service]
start = ["/usr/sbin/nginx", "-c", "/srv/n/nginx.conf"]
ready = "tcp:127.0.0.1:24993"
probe = ["curl -sf http://127.0.0.1:24993/ | grep -q hello"]
""",
}


def _projects(targets: Mapping[str, str]) -> None:
    for name, text in targets.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "targets").mkdir()
            Path(folder, f"targets/{name}.toml").write_text(text)
            project = Project(folder, f"{folder}/.chrootbuild", f"{folder}/build")
            start = time.perf_counter()
            lesson = learn(project, name)
            learned = time.perf_counter() - start
            context = build(project, name)
            start = time.perf_counter()
            assert proved(project, context) == ()
            checked = time.perf_counter() - start
            rounds = f"{lesson.rounds} round" + ("s" if lesson.rounds > 1 else "")
            times = f"learned in {learned:5.2f} s ({rounds}), checked in {checked:5.2f} s"
            print(f"{name:8} {times}, {learned / checked:4.1f} times")


def main() -> None:
    strace = shutil.which("strace")
    if strace is None:
        raise SystemExit("strace is not installed")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ways = (
        Way("bare", ""),
        Way("traced, as learn does", strace),
        Way("traced, for setuid programs (every call stops)", strace, privileges=True),
    )
    # In turn, so that what else the machine does hits all of them.
    best = {way.name: float("inf") for way in ways}
    for _ in range(runs):
        for way in ways:
            best[way.name] = min(best[way.name], _requests(way))
    for way in ways:
        rate, times = 2 * _COUNT / best[way.name] / 1000, best[way.name] / best["bare"]
        print(f"redis    {rate:6.1f} thousand requests a second, {times:4.2f} times the time  {way.name}")
    _projects(_TARGETS)


if __name__ == "__main__":
    main()
