"""Any edits of sources, target and root, then one build: the root is what a first build would make elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.support.sysroot import write
from tests.support.trees import tree
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMES = ("/srv/a", "/srv/b", "/srv/d/a", "/srv/d/b", "/etc/one", "/etc/two")
SOURCES = {
    "/bin/sh": "a shell",
    "/bin/awk": "an interpreter",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
    "/etc/group": "root:x:0:\nann:x:1000:\n",
    "/etc/one": "1",
    "/etc/two": "2",
    "/srv/a": "a",
    "/srv/d/a": "da",
}
ENTRIES = (
    '"/srv/"',
    '"/srv/d/"',
    '"/etc/on[e]"',
    '"/etc/*"',
    '{ path = "/srv/d/", mode = "0640" }',
    '"/etc"',
)
CONTENTS = (
    "x",
    "y",
    "x longer text",
    "#!/bin/sh\n",
    "#!/bin/awk\n",
    "-> one",
    "-> ../etc/two",
    "-> /srv/d",
    "-> none",
)
MODES = (0o644, 0o600, 0o755, 0o4711)


class Rebuilding(RuleBasedStateMachine):
    """One project that is edited and built again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="chrootbuild-model-"))
        top = write(self.folder / "sysroot", SOURCES)
        for name in ("bin/sh", "bin/awk"):
            (top / name).chmod(0o755)
        self.shop = Workshop(self.folder / "project", top)
        self.elsewhere = Workshop(self.folder / "elsewhere", top)
        self.entries = {ENTRIES[0]}
        self.text = "hello"
        self.mode = 0o700
        self.touched: set[str] = set()
        self.describe()
        self.build()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # -- sources and target ----------------------------------------------------------------

    @rule(path=st.sampled_from(NAMES), content=st.sampled_from(CONTENTS))
    def write_source(self, path: str, content: str) -> None:
        self.remove(self.shop.top / path[1:])
        write(self.shop.top, {path: content})

    @rule(path=st.sampled_from(NAMES), content=st.sampled_from(("q", "r")))
    def write_source_in_place(self, path: str, content: str) -> None:
        """Other content of the same size and with the same mtime."""
        real = self.shop.top / path[1:]
        if real.is_file() and not real.is_symlink():
            info = real.stat()
            real.write_text(content * info.st_size)
            os.utime(real, ns=(info.st_atime_ns, info.st_mtime_ns))

    @rule(path=st.sampled_from(NAMES), mode=st.sampled_from(MODES))
    def chmod_source(self, path: str, mode: int) -> None:
        real = self.shop.top / path[1:]
        if real.is_file() and not real.is_symlink():
            real.chmod(mode)

    @rule(path=st.sampled_from(NAMES))
    def remove_source(self, path: str) -> None:
        self.remove(self.shop.top / path[1:])

    @rule(mode=st.sampled_from((0o755, 0o2775, 0o1777)))
    def chmod_source_directory(self, mode: int) -> None:
        (self.shop.top / "srv/d").chmod(mode)

    @rule(shell=st.sampled_from(("/bin/sh", "/bin/ksh")), uid=st.sampled_from((1000, 1001)))
    def write_passwd(self, shell: str, uid: int) -> None:
        text = f"root:x:0:0::/root:{shell}\nann:x:{uid}:1000::/home/ann:{shell}\n"
        (self.shop.top / "etc/passwd").write_text(text)

    @rule(entry=st.sampled_from(ENTRIES))
    def toggle_entry(self, entry: str) -> None:
        # Two entries for one path are an error, and tested elsewhere.
        self.entries = {*self.entries, entry} if entry not in self.entries else self.entries - {entry}
        if {ENTRIES[1], ENTRIES[4]} <= self.entries:
            self.entries -= {ENTRIES[1]}
        self.describe()

    @rule(text=st.sampled_from(("hello", "olleh", "longer text")), mode=st.sampled_from((0o700, 0o1777)))
    def edit_target(self, text: str, mode: int) -> None:
        self.text, self.mode = text, mode
        self.describe()

    # -- the root --------------------------------------------------------------------------

    @precondition(lambda self: self.ours())
    @rule(data=st.data(), how=st.sampled_from(("edit", "chmod", "chown", "remove", "link", "directory")))
    def damage(self, data: st.DataObject, how: str) -> None:
        path = data.draw(st.sampled_from(self.ours()))
        self.touched.add(path)
        real = self.shop.root / path[1:]
        if how == "chown":
            os.chown(real, 7, 7, follow_symlinks=False)
        elif how == "chmod" and not real.is_symlink():
            real.chmod(0o4777)
        elif how == "edit" and real.is_file() and not real.is_symlink():
            real.write_text("damaged")
        else:
            self.touched.update(name for name in self.ours() if name.startswith(path + "/"))
            self.remove(real)
            if how == "link":
                real.symlink_to("/etc/passwd")
            elif how == "directory":
                real.mkdir()

    # -- the question ----------------------------------------------------------------------

    @rule()
    def build(self) -> None:
        changes = self.shop.changes()
        made = sorted(path for path, (action, _) in changes.items() if action in ("install", "replace"))
        self.shop.build()
        assert self.shop.staged == made
        first = self.elsewhere.folder
        for folder in ("build", ".chrootbuild"):
            shutil.rmtree(first / folder, ignore_errors=True)
        self.elsewhere.build()
        here, there = tree(self.shop.root), tree(self.elsewhere.root)
        # What was changed in the root and is no longer wanted is not ours to remove.
        for path in sorted(set(here) - set(there), reverse=True):
            assert any(path == name or name.startswith(path + "/") for name in self.touched), path
            self.remove(self.shop.root / path[1:])
            del here[path]
        assert here == there
        self.touched.clear()
        assert self.shop.changes() == {}

    # -- helpers ---------------------------------------------------------------------------

    def describe(self) -> None:
        text = f"""
        sysroot = "{self.shop.top}"
        os = "linux"
        files = [{", ".join(sorted(self.entries))}]
        [accounts]
        min_uid = 1000
        [directories]
        "/var/spool" = {{ mode = "{self.mode:04o}", owner = "ann" }}
        [text]
        "/etc/motd" = "{self.text}"
        """
        for shop in (self.shop, self.elsewhere):
            shop.write_targets({"x.toml": text})

    def ours(self) -> list[str]:
        return sorted(tree(self.shop.root)) if self.shop.root.exists() else []

    @staticmethod
    def remove(path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


_MANY = "CHROOTBUILD_MODEL_EXAMPLES" in os.environ
Rebuilding.TestCase.settings = settings(
    max_examples=int(os.environ.get("CHROOTBUILD_MODEL_EXAMPLES", "10")),
    stateful_step_count=15,
    deadline=None,
    derandomize=not _MANY,
    # To shrink what fails takes minutes: for whoever looks for the reason.
    phases=(Phase.generate, Phase.shrink) if _MANY else (Phase.generate,),
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestRebuilding = Rebuilding.TestCase
