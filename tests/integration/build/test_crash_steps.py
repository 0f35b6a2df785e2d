"""Each system call of a build that changes something, one after the other: killed there, or made to fail.

strace(1) does both, to the whole program. Before the publish nothing in the
root changes; what is killed or fails in it is completed by the next build.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, make_sandbox
from tests.support.trees import tree

pytestmark = [pytest.mark.root, pytest.mark.strace, pytest.mark.slow]

# Enough for a soname bump: a directory that is exchanged, links, orphans, directories that come and go.
TARGET = """\
os = "linux"
files = ["/etc/app/", "/usr/share/app/", "/etc/passwd"]
[links]
"/usr/bin/editor" = "{link}"
"""
KILLED = (
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdirat",
    "linkat",
    "symlinkat",
    "fchown",
)
FAILING = {
    "write": "ENOSPC",
    "ftruncate": "EIO",
    "mkdirat": "EDQUOT",
    "fchown": "EDQUOT",
    "fchmod": "EROFS",
    "symlinkat": "ENOSPC",
    "linkat": "EMLINK",
    "syncfs": "EIO",
    "fsync": "EIO",
    "pread64": "EIO",
    "getdents64": "EIO",
    "lseek": "EIO",
    "rename": "EIO",
    "renameat2": "EIO",
    "unlinkat": "EIO",
}


# Calls that every program makes at its start: only those that meet this path count.
PATHS = {"pread64": "sys/etc/app/a.conf", "getdents64": "p/build/t/etc/app", "lseek": "sys/etc/app/a.conf"}


def _upgrade(box: Sandbox, number: int) -> None:
    """Change every source, the link, and one name in each directory."""
    for name in ("etc/app", "usr/share/app"):
        for old in (box.sysroot / name).glob("version-*"):
            old.unlink()
        (box.sysroot / name / f"version-{number}").write_text("")
    box.edit(str(number))
    box.write_target(TARGET.format(link=f"vi-{number}"))


def _run(box: Sandbox, call: str, what: str, when: int) -> subprocess.CompletedProcess[str]:
    """Build under strace; ``call`` gets ``what`` the ``when``-th time."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    if what.startswith("error"):
        strace.append("--seccomp-bpf")  # faster; with it no signal is injected
    if call in PATHS:
        strace += ["-P", str(box.top / PATHS[call])]
    return box.run("build", "--jobs", "1", "t", before=(*strace, "-e", f"inject={call}:{what}:when={when}"))


def _versions(box: Sandbox, directory: str) -> set[str]:
    """Return the versions that are to be seen in a directory of the root: in the files and in a name."""
    found = set()
    for path in (box.root / directory).iterdir():
        if path.is_file():
            found.add(path.name[8:] if path.name.startswith("version-") else path.read_text().split()[-1])
    return found


def _assert_completed(box: Sandbox, number: int, tmp_path: Path) -> None:
    box.build()
    assert _versions(box, "etc/app") == _versions(box, "usr/share/app") == {str(number)}
    assert box.verify() == []
    assert box.build() == 0
    assert not box.stage.exists()
    assert [path.name for path in box.state.iterdir() if re.search(r"journal|\.new$", path.name)] == []
    assert not (tmp_path / "p/build/t/.chrootbuild").exists()


@pytest.mark.parametrize("call", KILLED)
def test_killed_at_every_call(tmp_path: Path, call: str) -> None:
    box = make_sandbox(tmp_path, TARGET.format(link="vi-0"))
    _upgrade(box, 0)
    box.build()
    for number in range(1, 60):
        old = tree(box.root)
        _upgrade(box, number)
        result = _run(box, call, "signal=SIGKILL", number)
        assert "Traceback" not in result.stderr
        # Each directory is exchanged as a whole: never a mixture of two versions.
        for directory in ("etc/app", "usr/share/app"):
            assert len(_versions(box, directory)) == 1, (number, _versions(box, directory))
        if not (box.state / "t.journal").exists() and _versions(box, "etc/app") != {str(number)}:
            assert tree(box.root) == old
        if result.returncode == 0:
            break
        _assert_completed(box, number, tmp_path)
    assert result.returncode == 0, "it does not end"


@pytest.mark.parametrize("call", FAILING)
def test_each_call_fails_once(tmp_path: Path, call: str) -> None:
    box = make_sandbox(tmp_path, TARGET.format(link="vi-0"))
    _upgrade(box, 0)
    box.build()
    ended = 0
    for number in range(1, 40):
        old = tree(box.root)
        _upgrade(box, number)
        result = _run(box, call, f"error={FAILING[call]}", number)
        assert "Traceback" not in result.stderr, result.stderr
        if result.returncode == 0:  # a call whose failure does no harm, or none was left
            ended += 1
            assert _versions(box, "etc/app") == {str(number)}
            if ended > 2:
                break
        else:
            assert result.returncode in (1, 3), result
            assert (
                result.stderr.startswith(("error: cannot ", "strace: ")) or "error: cannot " in result.stderr
            )
            if not (box.state / "t.journal").exists() and _versions(box, "etc/app") != {str(number)}:
                assert tree(box.root) == old
        _assert_completed(box, number, tmp_path)


def test_what_the_daemon_makes_after_a_kill_stays_when_the_journal_is_repeated(tmp_path: Path) -> None:
    kept = '[text]\n"/usr/bin/kept" = ""\n'
    box = make_sandbox(tmp_path, TARGET.format(link="vi") + kept)
    # At one of them all steps are done, and the record is not written yet; which one it is
    # depends on what else is worth writing down.
    for when in [*range(2, 6)] * 3:
        box.write_target(TARGET.format(link="vi") + kept)
        box.build()
        box.write_target(TARGET.partition("[links]")[0] + kept)
        _run(box, "rename", "signal=SIGKILL", when)
        if (box.state / "t.journal").exists() and not (box.root / "usr/bin/editor").is_symlink():
            break
    assert '"unlink", "/usr/bin/editor"' in (box.state / "t.journal").read_text()
    (box.root / "usr/bin/editor").symlink_to("the-daemons-own")
    box.build()
    assert (box.root / "usr/bin/editor").is_symlink()
    assert [finding.path for finding in box.verify()] == ["/usr/bin/editor"]
    assert not (box.state / "t.journal").exists()
