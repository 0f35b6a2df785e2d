"""check and learn with a service that takes all it can: it is ended, and the finding names the limit that it hit.

The program itself stops at some thousands of processes, and after a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.target.model import Limits
from tests.support.confine_lab import make_root
from tests.support.hostile_lab import calm, make_shop, nothing_left, service
from tests.support.hungry import MOST, bring_hungry
from tests.support.limited import Said, run
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

_nothing_left = pytest.fixture(nothing_left, autouse=True)
SMALL = 8 << 20  # bytes
LITTLE = Limits(processes=100, memory=8 * SMALL, files=2 * SMALL, trace=SMALL)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr("chrootbuild.check.service._STOP_SECONDS", 0.5)
    made = make_shop(tmp_path)
    bring_hungry(made.top)
    return made


def _check(
    shop: Workshop,
    *words: str,
    limits: str = "",
    command: str = "check",
    more: str = "",
    probe: str = "false",
) -> Said:
    """Run a command whose service takes what these words say, with these limits, until a probe succeeds."""
    start = ["/bin/takes", *words]
    service(shop, start, binaries='"takes"', ready="true", probe=[probe], timeout=4, more=more)
    file = shop.folder / "targets/x.toml"
    file.write_text(file.read_text() + (f"[check.limits]\n{limits}\n" if limits else ""))
    shop.build()
    return calm(run(shop.folder, command, "x"))


def test_a_swarm_is_ended_at_the_limit_and_the_finding_names_it(shop: Workshop) -> None:
    said = _check(shop, "swarm", str(MOST))
    assert said.code == 1
    assert "the check made more than 1,024 processes and threads: raise limits.processes" in said.text
    assert "taking swarm" in said.text
    assert "strace" not in said.text  # it is not run once more, to hit it again


def test_json_has_the_rule(shop: Workshop) -> None:
    _check(shop, "swarm", "500", limits="processes = 50")
    said = run(shop.folder, "check", "--json", "x")
    [finding] = json.loads(said.text)["findings"]
    assert (finding["severity"], finding["rule"]) == ("error", "limits")


def test_the_limit_is_what_the_target_says(shop: Workshop) -> None:
    said = _check(shop, "swarm", "1200", limits="processes = 2000", probe="sleep 0.5")
    assert said.code == 0, said.text


LIMITS = {
    "threads": (["threads", "1500"], "", "processes and threads: raise limits.processes"),
    "memory": (["memory", "300"], 'memory = "200M"', "took more than 200M of memory: raise limits.memory"),
    "memfd": (["memfd", "300"], 'memory = "200M"', "took more than 200M of memory: raise limits.memory"),
    "the root": (["file", "80", "/var/lib/x/big"], 'files = "64M"', "64M of files: raise limits.files"),
    "names": (["names", "90000", "/tmp"], 'files = "8M"', "8M of files: raise limits.files"),
    "/dev/shm": (["file", "80", "/dev/shm/big"], 'files = "64M"', "64M of files: raise limits.files"),
}


@pytest.mark.parametrize(("words", "limits", "fact"), LIMITS.values(), ids=LIMITS)
def test_what_it_takes_is_bounded(shop: Workshop, words: list[str], limits: str, fact: str) -> None:
    (shop.top / "dev/shm").mkdir(exist_ok=True)
    more = 'mounts = ["/dev", "/dev/shm"]' if "/dev/shm/big" in words else ""
    said = _check(shop, *words, limits=limits, more=more)
    assert said.code == 1
    assert f"{fact} in [check]" in said.text, said.text


@pytest.mark.strace
@pytest.mark.parametrize("command", ["check", "learn"])
def test_a_trace_is_bounded(shop: Workshop, command: str) -> None:
    """The check fails without a limit being hit; what is too much is its trace."""
    said = _check(shop, "calls", "60000", limits='trace = "2M"', command=command)
    assert said.code == 1
    assert "the check's trace grew beyond 2M: raise limits.trace in [check]" in said.text, said.text


# -- the box itself ------------------------------------------------------------------------


def _hit(tmp_path: Path, *words: str, limits: Limits = LITTLE) -> str:
    root = make_root(tmp_path / "root", "dev/shm")
    bring_hungry(root)
    with confine(Confinement(str(root), ("/dev/shm",), limits=limits)) as box:
        box.wait(box.inside(["takes", *words], name="it"), 30)
        box.end()
        return box.exceeded


def test_the_warden_alone_ends_a_swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 6.14 have one pid_max for the whole machine."""
    monkeypatch.setattr("chrootbuild.sandbox.holder.bound_pids", lambda _: None)
    assert _hit(tmp_path, "swarm", str(MOST), limits=Limits(processes=100)) == "processes"


def test_the_kernel_alone_stops_a_swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this kernel has a pid_max for each pid namespace."""
    monkeypatch.setattr("chrootbuild.sandbox.init.start_warden", lambda *_: os.pipe2(os.O_NONBLOCK)[0])
    root = make_root(tmp_path / "root", "proc")
    bring_hungry(root)
    with confine(Confinement(str(root), ("/proc",), limits=LITTLE)) as box:
        box.wait(box.inside(["does", "cat", "/proc/sys/kernel/pid_max"], name="most"), 30)
        if int(box.output("most")) > 100_000:
            pytest.skip("this kernel has one pid_max for all")
        box.wait(box.inside(["takes", "swarm", str(MOST)], name="it"), 1)
        assert len(box.running()) <= LITTLE.processes + 302


def test_what_is_shared_counts_once(tmp_path: Path) -> None:
    assert _hit(tmp_path, "shared", "40") == ""


def test_what_many_small_takers_take_counts_together(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    bring_hungry(root)
    with confine(Confinement(str(root), limits=LITTLE)) as box:
        first = box.inside(["takes", "memory", "20"], name="it")
        with contextlib.suppress(Failure):  # from where it is too much nothing is started any more
            for number in range(3):
                box.inside(["takes", "memory", "20"], name=f"it-{number}")
        assert box.wait(first, 30) == -9
        assert box.exceeded == "memory"


def test_system_v_shared_memory_is_bounded(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    bring_hungry(root)
    with confine(Confinement(str(root), limits=LITTLE)) as box:
        for size, fact in (("8", "got it"), ("80", "No space left on device")):
            box.wait(box.inside(["takes", "sysv", size], name=f"it-{size}"), 30)
            assert fact in box.output(f"it-{size}").decode()


def test_nothing_runs_on_after_a_limit_was_hit(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    bring_hungry(root)
    with confine(Confinement(str(root), limits=LITTLE)) as box:
        box.wait(box.inside(["takes", "memory", "90"], name="it"), 30)
        assert box.exceeded == "memory"
        time.sleep(0.3)  # nobody is left to be killed, and the warden has to go on all the same
        for start in (box.inside, box.outside):
            with contextlib.suppress(Failure):
                assert box.wait(start(["/bin/sleep", "60"], name="more"), 10) is not None
        assert box.running() == ()


def test_a_box_of_a_thousand_deaf_processes_ends_at_once(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    bring_hungry(root)
    with confine(Confinement(str(root))) as box:
        box.wait(box.inside(["takes", "swarm", "1000"], name="it"), 2)
        assert len(box.running()) > 500
        box.end()
        assert box.running() == ()
    assert box.exceeded == ""
