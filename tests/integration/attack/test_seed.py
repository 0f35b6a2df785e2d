"""State that is copied once, and a hostile sysroot: nothing is overwritten, nothing outside is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chrootbuild.build.job import begin, run
from chrootbuild.errors import Failure
from chrootbuild.publish.publish import publish
from tests.support.sandbox import Sandbox, make_sandbox, state_of
from tests.support.trees import tree

pytestmark = pytest.mark.root

SEED = 'os = "linux"\nseed = ["/var/lib/db/"]\n'


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    made = make_sandbox(tmp_path, SEED)
    (made.sysroot / "var/lib/db/deep").mkdir(parents=True)
    (made.sysroot / "var/lib/db/data").write_text("from the host")
    (made.sysroot / "var/lib/db/deep/more").write_text("from the host")
    (made.sysroot / "var/lib/db/out").symlink_to(made.victim / "file")
    os.chown(made.sysroot / "var/lib/db", 4242, 4343)
    (made.sysroot / "var/lib/db").chmod(0o2750)
    return made


def test_a_seed_is_planted_once(box: Sandbox) -> None:
    before = state_of(box.victim)
    box.build()
    assert tree(box.root)["/var/lib/db"] == "dir 2750 4242:4343"
    assert os.readlink(box.root / "var/lib/db/out") == str(box.victim / "file")
    (box.root / "var/lib/db/data").write_text("the daemon's")
    (box.sysroot / "var/lib/db/data").write_text("changed")
    box.build()
    box.clean()
    box.build()
    assert (box.root / "var/lib/db/data").read_text() == "the daemon's"
    assert box.verify() == []
    assert state_of(box.victim) == before


@pytest.mark.parametrize("where", ["var", "var/lib", "var/lib/db"])
def test_a_link_in_the_place_of_a_seed_or_above_it(box: Sandbox, where: str) -> None:
    box.root.mkdir(parents=True)
    (box.root / where).parent.mkdir(parents=True, exist_ok=True)
    (box.root / where).symlink_to(box.victim / "dir")
    before = state_of(box.victim)
    box.build()
    assert state_of(box.victim) == before
    # A link at the seed's own place is something that is there: it stays the daemon's.
    assert (box.root / "var/lib/db").is_symlink() == (where == "var/lib/db")


def test_what_the_daemon_was_quicker_to_make_stays(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    job = begin(box.project, box.target())
    from chrootbuild.build import job as build

    def planted(*arguments: object, **more: object) -> object:
        (box.root / "var/lib").mkdir(parents=True)
        (box.root / "var/lib/db").write_text("the daemon's")
        return real(*arguments, **more)  # type: ignore[arg-type]

    real = publish
    monkeypatch.setattr(build, "publish", planted)
    with job:
        run(job)
    assert (box.root / "var/lib/db").read_text() == "the daemon's"


def _files(box: Sandbox, *paths: str) -> None:
    box.write_target(f'os = "linux"\nfiles = {json.dumps(paths)}\n')


def test_links_of_the_sysroot_lead_nowhere_out_of_it(box: Sandbox) -> None:
    for name, text in {
        "abs": f"{box.victim}/file",
        "rel": "../" * 20 + f"{box.victim}/file",
        "dir": str(box.victim),
    }.items():
        (box.sysroot / "etc/app" / name).symlink_to(text)
    _files(box, "/etc/app/")
    before = state_of(box.victim)
    box.build()
    files = [path for path in box.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {path.name for path in files} == {"a.conf", "b.conf"}
    assert state_of(box.victim) == before


def test_the_same_names_inside_the_sysroot_are_taken(box: Sandbox) -> None:
    inside = Path(f"{box.sysroot}{box.victim}")
    inside.mkdir(parents=True)
    (inside / "file").write_text("the sysroot's own")
    (box.sysroot / "etc/app/abs").symlink_to(box.victim / "file")
    _files(box, "/etc/app/")
    box.build()
    assert Path(f"{box.root}{box.victim}/file").read_text() == "the sysroot's own"


@pytest.mark.parametrize("form", ["fifo", "zero", "huge", "vanishes", "becomes-a-link"])
def test_sources_that_are_no_files(box: Sandbox, form: str) -> None:
    source = box.sysroot / "etc/app/a.conf"
    _files(box, "/etc/app/b.conf")
    box.build()
    before, inside = state_of(box.victim), tree(box.root)
    _files(box, "/etc/app/b.conf", "/etc/app/a.conf")
    (box.sysroot / "etc/app/b.conf").write_text("newer")
    if form in ("fifo", "zero"):
        source.unlink()
        os.mknod(source, 0o010644 if form == "fifo" else 0o020666, os.makedev(1, 5))
        box.build()
        assert [item.path for item in box.plan().plan.skipped] == ["/etc/app/a.conf"]
        (box.sysroot / "etc/app/b.conf").unlink()
        inside = tree(box.root)
        assert set(inside) == {"/etc", "/etc/app", "/etc/app/b.conf"}
    elif form == "huge":
        os.truncate(source, 100 << 30)
        with pytest.raises(Failure, match="larger than"):
            box.build()
    else:
        with begin(box.project, box.target()) as job:
            source.unlink()
            if form == "becomes-a-link":
                source.symlink_to(box.victim / "file")
            (changed,) = [change.artifact for path, change in job.stale.items() if path == "/etc/app/a.conf"]
            assert changed is not None
            with pytest.raises(Failure, match=r"cannot copy .*a\.conf"):
                job.make(changed)
            with pytest.raises(Failure, match="was not staged"):
                run(job, lambda _: None)
    assert state_of(box.victim) == before
    assert tree(box.root) == inside


def test_holes_are_kept(box: Sandbox) -> None:
    with open(box.sysroot / "etc/app/a.conf", "r+b") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"in the middle")
    _files(box, "/etc/app/a.conf")
    box.build()
    made = box.root / "etc/app/a.conf"
    assert made.read_bytes() == (box.sysroot / "etc/app/a.conf").read_bytes()
    assert made.stat().st_blocks * 512 < 1 << 20
