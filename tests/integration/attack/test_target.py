"""Hostile target files: exit 3 with the file and the line, or the right code, and nothing is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.limited import run
from tests.support.sandbox import state_of
from tests.support.sysroot import write

pytestmark = pytest.mark.root

COMMANDS = (
    "plan",
    "build",
    "why",
    "clean",
    "verify",
    "audit",
    "check",
    "learn",
    "enter",
    "refresh",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with a target "good" and a sysroot; a victim lies beside it."""
    write(tmp_path, {"sys/etc/passwd": "root:x:0:0::/:/bin/sh\n", "sys/etc/app.conf": "x\n", "sys/bin/": ""})
    write(tmp_path, {"victim/file": "the victim's\n", "victim/x.toml": 'files = ["/etc/app.conf"]\n'})
    made = write(tmp_path / "p", {"targets/common/": ""})
    write(
        made, {"targets/good.toml": f'sysroot = "{tmp_path}/sys"\nos = "linux"\nfiles = ["/etc/app.conf"]\n'}
    )
    return made


def refused(project: Path, *words: str, code: int = 3) -> str:
    """Run a command that has to fail, and see that nothing was written; return its error."""
    places = [project / "targets", project.parent / "victim", project.parent / "sys"]
    names, before = os.listdir(project), [state_of(place) for place in places]
    said = run(project, *words).decent()
    assert said.code == code, said.text
    assert [state_of(place) for place in places] == before
    assert {*os.listdir(project)} - {".chrootbuild"} == {*names} - {".chrootbuild"}
    return said.errors[0]


# -- texts ---------------------------------------------------------------------------------

# The text of targets/x.toml (SYS is its sysroot), and the line that the error has to name.
TEXTS: dict[str, tuple[str, int]] = {
    "dots-in-files": ('files = [\n"/etc/../../victim/file"]', 2),
    "dots-in-binaries": ('\nbinaries = ["../../victim/file"]', 2),
    "dots-in-directories": ('[directories]\n"/a/../../victim" = {}', 2),
    "dots-in-text": ('[text]\n"/../victim/file" = "x"', 2),
    "dots-in-links": ('[links]\n"/a/.." = "x"', 2),
    "dots-in-seed": ('seed = ["/.."]', 1),
    "dots-in-devices": ('devices = ["../../victim/node"]', 1),
    "dots-in-include": ('include = ["../../victim/x"]', 1),
    "dots-in-timezone": ('timezone = "../../../victim/file"', 1),
    "dots-in-mounts": ('mounts = ["/proc/../.."]', 1),
    "dots-in-host-links": ('[host]\nlinks = { "/etc/x" = "/../victim" }', 2),
    "nul-in-files": ('files = ["/etc/a\\u0000b"]', 1),
    "nul-in-text-path": ('[text]\n"/a\\u0000" = "x"', 2),
    "nul-in-links": ('[links]\n"/a" = "x\\u0000"', 2),
    "nul-in-root": ('root = "/srv/x\\u0000/etc"', 1),
    "nul-in-restart": ('[host]\nrestart = "true\\u0000"', 2),
    "nul-in-wrapper": ('[host.wrapper]\n"/usr/sbin/w" = ["/bin/x\\u0000"]', 2),
    "nul-in-run": ('[check]\nrun = [["a", "\\u0000"]]', 2),
    "nul-in-env": ('[check]\nrun = [{ argv = ["a"], env = { A = "\\u0000" } }]', 2),
    "nul-in-extra": ('[accounts]\nextra = ["a:x:1:1::/:/bin/sh\\u0000"]', 2),
    "newline-in-extra": ('[accounts]\nextra = ["a:x:1:1::/:/bin/sh\\nroot2::0:0::/:/bin/sh"]', 2),
    "newline-in-extra-groups": ('[accounts]\nextra_groups = ["a:x:1:\\nroot2:x:0:"]', 2),
    "newline-in-users": ('[accounts]\nusers = ["a\\nb"]', 2),
    "colon-in-users": ('[accounts]\nusers = ["a:b"]', 2),
    "newline-in-summary": ('summary = "a\\n\\u001b[2J"', 1),
    "escape-in-a-key": ('"\\u001b[2Jkey" = 1', 1),
    "escape-in-a-name": ('include = ["\\u001b[2J"]', 1),
    "variable-in-env": ('[check.service]\nstart = ["a"]\nenv = { "LD_PRELOAD=/x A" = "1" }', 3),
    "mode-of-text": ('[text]\n"/a" = { content = "", mode = "99999" }', 2),
    "uid-of-minus-1": ("[accounts]\nmin_uid = -1", 2),
    "endless-time": ('[check.service]\nstart = ["a"]\ntimeout = inf', 3),
    "no-number": ('[check.service]\nstart = ["a"]\ntimeout = nan', 3),
    "thousands-of-keys": ("".join(f"k{number} = 1\n" for number in range(50_000)), 1),
    "thousands-of-tables": ("".join(f"[t{number}]\n" for number in range(50_000)), 1),
    "a-list-of-200000": (f"files = [{'1,' * 200_000}]", 1),
    "dotted": (f"{'a.' * 50}b = 1", 1),
    "root-is-slash": ('\nroot = "/"', 2),
    "root-is-etc": ('\nroot = "/etc"', 2),
    "root-is-below-etc": ('\nroot = "/etc/x"', 2),
    "root-is-usr-by-dots": ('root = "../../../../../../../../../usr"', 1),
    "root-is-project": ('root = "."', 1),
    "root-is-targets": ('root = "targets/x"', 1),
    "root-is-above-project": ('root = ".."', 1),
    "root-is-sysroot": ('root = "SYS"', 1),
    "root-holds-sysroot": ('root = "SYS/.."', 1),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text(project: Path, name: str) -> None:
    text, line = TEXTS[name]
    top = str(project.parent / "sys")
    (project / "targets/x.toml").write_text(text.replace("SYS", top))
    if "sysroot" not in text and "root-" in name:
        (project / "targets/x.toml").write_text(text.replace("SYS", top) + f'\nsysroot = "{top}"\n')
    error = refused(project, "build", "x")
    assert f"targets/x.toml:{line}: " in error or f"targets/x.toml:{line})" in error, error
    assert run(project, "build", "good").decent().code == 0, "it stops no other"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["dots-in-text", "root-is-etc", "escape-in-a-key"])
def test_every_command_says_so(project: Path, name: str, command: str) -> None:
    text, line = TEXTS[name]
    (project / "targets/x.toml").write_text(text)
    words = {"why": ("x", "/etc"), "enter": ("x", "true")}.get(command, ("x",))
    assert f"targets/x.toml:{line}: " in refused(project, command, *words)


def test_roots_in_one_another(project: Path) -> None:
    """Two targets, and a sysroot that lies in a root: the first in the order of names keeps its place."""
    write(project, {"targets/a.toml": 'root = "out/a"\n', "targets/b.toml": 'root = "out/a/usr/../b"\n'})
    assert "targets/b.toml" in refused(project, "build", "b")
    write(project, {"targets/c.toml": 'root = "out/c"\nsysroot = "out/c/sys"\n', "out/c/sys/etc/": ""})
    assert "targets/c.toml:1: root: " in refused(project, "build", "c").replace("cannot use ", "")


# -- what lies where a file belongs --------------------------------------------------------


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _sparse(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 100 << 20)


def _owned(path: Path) -> None:
    path.write_text("")
    os.chown(path, 65534, 65534)


def _writable(path: Path) -> None:
    path.write_text("")
    path.chmod(0o666)


def _others_link(path: Path) -> None:
    path.symlink_to(path.parent.parent.parent / "victim/x.toml")
    os.chown(path, 65534, 65534, follow_symlinks=False)


FILES: dict[str, Callable[[Path], object]] = {
    "100-mb": _sparse,
    "2-mb-of-comment": _bytes(b"#" * (2 << 20)),
    "deep-lists": _bytes(b"a = " + b"[" * 100_000),
    "deep-tables": _bytes(b"a = " + b"{a=" * 100_000),
    "brackets": _bytes(b"[" * 1_000_000),
    "no-utf-8": _bytes(b'files = ["/\xff"]\n'),
    "utf-16": _bytes('files = ["/etc"]\n'.encode("utf-16")),
    "nul": _bytes(b'files = ["/\0"]\n'),
    "control": _bytes(b'files = ["/\x1b[2J"]\n'),
    "endless-string": _bytes(b'a = """' + b"x" * 900_000),
    "huge-number": _bytes(b"a = " + b"9" * 500_000),
    "fifo": os.mkfifo,
    "zero": lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)),
    "directory": Path.mkdir,
    "owned-by-another": _owned,
    "writable-by-others": _writable,
    "link-of-another": _others_link,
    "link-to-zero": lambda path: path.symlink_to("/dev/zero"),
    "link-loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["x.toml", "x.learned.toml", "common/bad.toml"])
def test_a_file(project: Path, place: str, name: str) -> None:
    if place != "x.toml":
        (project / "targets/x.toml").write_text(
            'os = "linux"\ninclude = ["bad"]\n' if "bad" in place else ""
        )
    FILES[name](project / "targets" / place)
    error = refused(project, "build", "x")
    assert f"targets/{place}" in error or name == "link-to-zero"
    assert run(project, "build", "good").decent().code == 0, "it stops no other"


def test_an_include_by_a_link_out(project: Path) -> None:
    """Only names are taken, but a link of root's own in common/ is root's affair, as all it points to."""
    (project / "targets/common/out.toml").symlink_to(project.parent / "victim/x.toml")
    (project / "targets/x.toml").write_text(
        f'os = "linux"\nsysroot = "{project.parent}/sys"\ninclude = ["out"]\n'
    )
    assert run(project, "plan", "x").decent().code == 0
    os.chown(project.parent / "victim/x.toml", 65534, 65534)
    assert "victim/x.toml" in refused(project, "plan", "x")


def test_includes_in_a_loop_and_by_the_thousand(project: Path) -> None:
    files = {f"targets/common/i{number}.toml": f'include = ["i{number + 1}"]\n' for number in range(3000)}
    write(project, {**files, "targets/x.toml": 'include = ["i0"]\n', "targets/common/i3000.toml": ""})
    assert "targets/" in refused(project, "build", "x")
    (project / "targets/common/i2.toml").write_text('include = ["i0", "i1", "i2"]\n')
    assert "include" in refused(project, "build", "x")


def test_includes_that_double(project: Path) -> None:
    """Each includes the next one twice by another way: 2^40 for who does not remember."""
    files = {f"targets/common/i{n}.toml": f'include = ["i{n + 1}", "j{n + 1}"]\n' for n in range(40)}
    files |= {f"targets/common/j{n}.toml": f'include = ["i{n + 1}", "j{n + 1}"]\n' for n in range(40)}
    write(project, {**files, "targets/common/i40.toml": "", "targets/common/j40.toml": ""})
    text = f'os = "linux"\nsysroot = "{project.parent}/sys"\ninclude = ["i0", "j0"]\n'
    (project / "targets/x.toml").write_text(text)
    assert run(project, "plan", "x").decent().code == 0


@pytest.mark.parametrize(
    "name", ["list", "run", "forget", "learn", "-rf", "--help", "a b", "a%b", "../x", "x\n", "\x1b[2J"]
)
def test_a_name(project: Path, name: str) -> None:
    path = project / "targets" / f"{name}.toml"
    path.write_text("")
    if name != "\x1b[2J":
        assert run(project, "list").decent().code == 0
    if name != "../x":
        assert run(project, "build").decent().code in (2, 3)


# -- texts that others run or read ---------------------------------------------------------

ODD = """; touch VICTIM/made #'"`touch VICTIM/made`$(touch VICTIM/made)\\n%n%%$HOME${IFS}|&>VICTIM/file"""
KINDS = ("links", "wrapper", "syslog", "unit", "fstab", "devfs", "jail")


def _toml(text: str) -> str:
    return json.dumps(text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["", "\nExecStart=/bin/touch VICTIM/made\n"], ids=["line", "lines"])
def test_snippets_hold_a_hostile_root_and_wrapper(project: Path, kind: str, end: str) -> None:
    victim = project.parent / "victim"
    odd = (ODD + end).replace("VICTIM", str(victim).replace("/", "_") if kind else "")
    lines = [
        f'os = "linux"\nsysroot = "{project.parent}/sys"',
        f"root = {_toml(f'{project.parent}/r {odd}')}",
    ]
    lines += ["[syslog]\nsocket = true", "[host]", f"restart = {_toml(odd)}"]
    lines += [f'links = {{ {_toml("/srv/a " + odd.replace("/", "_"))} = "/etc" }}']
    lines += [f'[host.wrapper]\n"/usr/local/sbin/w" = ["/bin/sh", {_toml(odd)}]']
    lines += [
        f'[check.service]\nstart = ["/bin/sh", {_toml(odd)}]\nuser = "root"\nenv = {{ A = {_toml(odd)} }}'
    ]
    (project / "targets/x.toml").write_text("\n".join(lines) + "\n")
    before = state_of(project.parent)
    said = run(project, "host", "x", kind)
    assert "Traceback" not in said.text
    assert state_of(project.parent) == before
    if said.code == 0:
        assert not re.search(r"^\s*ExecStart=/bin/touch", said.text, re.MULTILINE)
        assert said.text.isprintable() or set(said.text) - set("\n\t") == {
            c for c in said.text if c.isprintable()
        }
        scripts = [part for part in said.text.split("#!/bin/sh\n")[1:] if kind == "wrapper"]
        for script in scripts:
            assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0
    else:
        said.decent()


def test_a_hostile_restart_is_one_command_of_the_shell(project: Path) -> None:
    """It is root's own text, run as it stands; a hostile root beside it adds nothing."""
    root = project.parent / "r$(touch made)`touch made`;touch made'\""
    marker = project.parent / "restarted"
    (project / "targets/x.toml").write_text(
        f'os = "linux"\nsysroot = "{project.parent}/sys"\nroot = {_toml(str(root))}\nfiles = ["/etc/app.conf"]\n'
        f"[host]\nrestart = {_toml(f'echo once >>{shlex.quote(str(marker))}')}\n"
    )
    said = run(project, "refresh", "--no-check", "x").decent()
    assert said.code == 0, said.text
    assert marker.read_text() == "once\n"
    assert not list(project.parent.rglob("made"))
