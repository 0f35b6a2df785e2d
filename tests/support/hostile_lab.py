"""A project whose target x has a tree, state, a temporary tool and a check, with a victim beside it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support.confine_lab import leftovers, make_root, running
from tests.support.limited import Said
from tests.support.sandbox import state_of
from tests.support.workshop import Workshop, bring_host_programs

MARK = f"mark-{uuid.uuid4().hex}"  # an argument of every service, to find what is left of it
PORT = "24900"
PROBE = f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && grep -q hello <&3"
PROGRAMS = ("sh", "ln", "mkdir", "mkfifo", "mv", "rm", "rmdir", "setsid", "sleep")
ALL = ", ".join(f'"{name}"' for name in ("does", *PROGRAMS))


def nothing_left(tmp_path: Path) -> Iterator[None]:
    """See that no mount, no process and no name is left."""
    before = leftovers()
    yield
    assert leftovers() == before
    assert f" {tmp_path}/" not in Path("/proc/self/mountinfo").read_text()
    assert running(MARK) == []


def make_shop(folder: Path, *, shell: bool = False) -> Workshop:
    """Make the project, its sysroot (with PROGRAMS where there is to be a shell), and the victim."""
    (folder / "sysroot").mkdir()
    if shell:
        bring_host_programs(folder / "sysroot", *PROGRAMS)
    top = make_root(folder / "sysroot", "dev", "etc/app", "proc", "sys", "var/lib/x")
    (top / "sbin").mkdir(exist_ok=True)
    (top / "etc/app/a.conf").write_text("a\n")
    (top / "etc/greeting").write_text("hello\n")
    (top / "sbin/tool").write_bytes((top / "bin/does").read_bytes())
    (top / "sbin/tool").chmod(0o755)
    for name in ("victim/dir/app", "victim/dir/x", "victim/dir/lib/x"):
        (folder / name).mkdir(parents=True)
    for name in ("file", "dir/a.conf", "dir/greeting", "dir/does", "dir/tool", "dir/x/data", "dir/pid"):
        (folder / "victim" / name).write_text("the victim's\n")
        (folder / "victim" / name).chmod(0o750)
    made = Workshop(folder / "project", top)
    target(made, "need", "/etc/greeting", "write", "/var/lib/x/data")
    return made


def unmount_all(folder: Path) -> None:
    """Take away what an attack mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split()[4].startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", line.split()[4]], check=True)


def target(shop: Workshop, *words: str, **settings: object) -> None:
    """Write target x, whose service does these words and then answers."""
    start = ["/bin/does", "say", MARK, *words, "tcp", "127.0.0.1", PORT]
    service(shop, start, **settings)  # type: ignore[arg-type]


def service(shop: Workshop, start: list[str], *, binaries: str = '"does"', **settings: object) -> None:
    values = {"start": start, "ready": f"tcp:127.0.0.1:{PORT}", "probe": [PROBE], "timeout": 1.5, **settings}
    more = str(values.pop("more", ""))
    text = f"""\
sysroot = "{shop.top}"
os = "linux"
binaries = [{binaries}]
files = ["/etc/app/", "/etc/greeting"]
{more}
[directories]
"/var/lib/x" = {{}}
"/tmp" = {{ mode = "1777" }}
[build]
temporary = ["/sbin/tool"]
[check.service]
"""
    shop.write_targets(
        {"x.toml": text + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())}
    )


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if not isinstance(value, str):
        return str(value)
    text = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\u{ord(char):04x}" for char in value
    )
    return f'"{text}"'


def victim(shop: Workshop) -> dict[str, tuple[object, ...]]:
    return state_of(shop.folder.parent / "victim")


def calm(said: Said) -> Said:
    """Hold it against what every command keeps to, whether the root serves or not."""
    assert "Traceback" not in said.text, said.text
    assert said.code in (0, 1), said.text
    assert "\x1b" not in said.text
    assert "the victim's" not in said.text
    return said
