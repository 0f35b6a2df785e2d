"""Where the usual way is not to be had: strange file systems, no overlay, no namespaces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.confine_lab import make_root

pytestmark = [pytest.mark.root, pytest.mark.cc, pytest.mark.namespaces]

_START = """
import os, subprocess, sys
from chrootbuild.sandbox.confinement import Confinement
from chrootbuild.sandbox.create import confine
from chrootbuild.errors import Failure
root = sys.argv[1]
def sh(text):
    subprocess.run(["sh", "-ec", text], check=True)
def does(box, *words):
    process = box.inside(("does", *words), name="x")
    assert box.wait(process, 20) is not None
    return box.output("x").decode()
"""


def apart(script: str, root: Path, *prefix: str) -> str:
    """Run a script in a mount namespace of its own, where it may mount what it likes."""
    argv = ["unshare", "--mount", *prefix, sys.executable, "-c", _START + script, str(root)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


_WRITES = """
with confine(Confinement(root)) as box:
    print(does(box, "write", "/bin/new", "cat", "/bin/new"), end="")
    print(*box.notes, sep="\\n")
print(os.path.exists(f"{root}/bin/new"))
"""


def test_a_root_on_tmpfs(tmp_path: Path) -> None:
    script = 'sh(f"mkdir {root}/t; mount -t tmpfs t {root}/t; cp -a {root}/bin {root}/tmp {root}/t")\nroot += "/t"\n'
    assert apart(script + _WRITES, make_root(tmp_path)) == "written\n\nFalse\n"


def overlays(times: int) -> str:
    """Return the text that puts so many overlays over the root, one on the other."""
    lines = []
    for number in range(times):
        lines.append(
            f'sh(f"mkdir -p {{root}}-{number}/s {{root}}-{number}/m; mount -t tmpfs t {{root}}-{number}/s")'
        )
        lines.append(f'sh(f"mkdir {{root}}-{number}/s/u {{root}}-{number}/s/w")')
        lower = "{root}" if number == 0 else f"{{root}}-{number - 1}/m"
        options = f"lowerdir={lower},upperdir={{root}}-{number}/s/u,workdir={{root}}-{number}/s/w"
        lines.append(f'sh(f"mount -t overlay o -o {options} {{root}}-{number}/m")')
    lines.append(f'root = f"{{root}}-{times - 1}/m"')
    return "\n".join(lines) + "\n"


def test_a_root_on_overlayfs(tmp_path: Path) -> None:
    assert apart(overlays(1) + _WRITES, make_root(tmp_path / "root")) == "written\n\nFalse\n"


def test_a_root_on_overlays_too_deep_for_another_is_copied(tmp_path: Path) -> None:
    said = apart(overlays(2) + _WRITES, make_root(tmp_path / "root"))
    assert said == "written\nthe overlay was refused (Invalid argument): this ran on a copy\nFalse\n"


def test_a_whole_system_is_not_copied(tmp_path: Path) -> None:
    script = """
try:
    with confine(Confinement(root, system=True)):
        pass
except Failure as failure:
    print(failure)
"""
    root = make_root(tmp_path / "root", "dev", "proc", "sys")
    assert apart(overlays(2) + script, root) == "cannot mount an overlay of the root: Invalid argument\n"


def test_a_copy_is_as_the_root_was(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", "etc", "dev", "var/x")
    script = """
sh(f"chown 12:34 {root}/var/x; chmod 2751 {root}/var/x; ln -s /etc/a {root}/etc/link; echo a >{root}/etc/a")
sh(f"ln {root}/etc/a {root}/etc/b; chmod 4711 {root}/bin/does; mkfifo {root}/var/fifo")
sh(f"truncate -s 100M {root}/var/hole; touch -d 2001-02-03 {root}/var/old")
sh(f"mknod {root}/dev/null c 1 3; cp {root}/bin/does {root}/bin/can; setcap cap_net_raw+ep {root}/bin/can")
from tests.support.trees import tree
with confine(Confinement(root)) as box:
    assert box.notes
    at = box.proc(f"../proc/1/root{box.root}")
    ours, theirs = tree(root), tree(at)
    assert ours == theirs, ours.items() ^ theirs.items()
    assert os.stat(f"{at}/etc/a").st_ino == os.stat(f"{at}/etc/b").st_ino
    assert os.stat(f"{at}/var/hole").st_blocks == 0
    assert os.stat(f"{at}/var/old").st_mtime == os.stat(f"{root}/var/old").st_mtime
    assert os.listxattr(f"{at}/bin/can") == os.listxattr(f"{root}/bin/can") != []
print("passed")
"""
    assert apart(overlays(2) + script, root) == "passed\n"


_REFUSED = """
try:
    with confine(Confinement(root)) as box:
        print(does(box, "say", "ran"))
except Failure as failure:
    print(failure)
"""


def test_no_namespaces_left(tmp_path: Path) -> None:
    script = """
for name in ("user", "mnt"):
    open(f"/proc/sys/user/max_{name}_namespaces", "w").write("0")
"""
    # In a user namespace of its own the limits are its own.
    assert apart(script + _REFUSED, make_root(tmp_path), "--user", "--map-root-user") == (
        "cannot make namespaces: No space left on device\n"
        "hint: run as root, or allow user namespaces (sysctl user.max_user_namespaces)\n"
    )


@pytest.mark.parametrize("flag", ["nodev", "nosuid", "noexec"])
def test_flags_of_the_roots_file_system(tmp_path: Path, flag: str) -> None:
    root = make_root(tmp_path, "dev")
    script = f"""
sh(f"mkdir {{root}}/t; mount -t tmpfs -o {flag} t {{root}}/t; cp -a {{root}}/bin {{root}}/tmp {{root}}/dev {{root}}/t")
root += "/t"
sh(f"mknod -m 666 {{root}}/dev/null c 1 3")
with confine(Confinement(root)) as box:
    print(does(box, "write", "/dev/null", "say", "works"), end="")
"""
    assert apart(script, root) == "works\n"
