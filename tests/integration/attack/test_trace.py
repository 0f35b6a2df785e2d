"""Hostile traces for learn --from: one error or a learned file within the rules, in bounded memory."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.limited import Said, run
from tests.support.sandbox import state_of
from tests.support.sysroot import write

pytestmark = pytest.mark.root

START = '7 execve("/bin/app", ["app"], 0x1 /* 3 vars */) = 0\n'
SECRETS = (
    *(
        "/etc/shadow",
        "/etc/shadow-",
        "/etc/gshadow",
        "/etc/passwd",
        "/etc/passwd-",
        "/etc/ssh/ssh_host_rsa_key",
    ),
    *(
        "/etc/ssl/private/x.key",
        "/root/.ssh/id_ed25519",
        "/home/u/.pgpass",
        "/etc/krb5.keytab",
        "/etc/ld.so.preload",
    ),
)


def opened(path: str, pid: int = 7) -> str:
    """Return a line of strace: a file is read."""
    return f'{pid} openat(AT_FDCWD, "{path}", O_RDONLY) = 3\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with target x, whose sysroot has secrets; a victim lies beside it."""
    write(
        tmp_path,
        {"victim/file": "the victim's\n", "sys/bin/app": "#!/bin/app\n", "sys/etc/greeting": "hello\n"},
    )
    write(tmp_path / "sys", dict.fromkeys(SECRETS, "secret\n"))
    write(tmp_path / "sys", {"etc/out": "-> ../../victim/file", "etc/far": f"-> {tmp_path}/victim/file"})
    for path in SECRETS:
        (tmp_path / "sys" / path[1:]).chmod(0o600)
    (tmp_path / "sys/etc/passwd").chmod(0o644)
    os.mkfifo(tmp_path / "sys/etc/fifo")
    (tmp_path / "sys/bin/app").write_bytes(b"\x7fELF")
    write(
        tmp_path / "p",
        {"targets/x.toml": f'sysroot = "{tmp_path}/sys"\nos = "linux"\nfiles = ["/bin/app"]\n'},
    )
    return tmp_path / "p"


def learn(project: Path, trace: Path, *, memory: int = 1 << 30) -> Said:
    """Run learn --from and see that nothing but the learned file was written."""
    outside = [project.parent / "victim", project.parent / "sys"]
    before = [state_of(place) for place in outside]
    said = run(project, "learn", "x", "--from", str(trace), memory=memory).decent()
    assert [state_of(place) for place in outside] == before
    assert {*os.listdir(project)} <= {"targets", ".chrootbuild"}
    assert {*os.listdir(project / "targets")} <= {"x.toml", "x.learned.toml"}
    assert "secret\n" not in said.text
    return said


def entries(project: Path) -> dict[str, object]:
    path = project / "targets/x.learned.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def _lines(*texts: str) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        for text in (START, *texts):
            yield text.encode("utf-8", "surrogateescape")

    return chunks


def _repeated(count: int, text: str) -> Callable[[], Iterator[bytes]]:
    """Return chunks with ``text`` for each of many numbers."""

    def chunks() -> Iterator[bytes]:
        yield START.encode()
        for first in range(0, count, 1000):
            yield "".join(
                text.replace("NUMBER", str(number)) for number in range(first, first + 1000)
            ).encode()

    return chunks


def _line_of(size: int, start: str, end: str) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        yield (START + start).encode()
        for _ in range(size >> 20):
            yield b"x" * (1 << 20)
        yield end.encode()

    return chunks


GOOD = opened("/etc/greeting")
TRACES: dict[str, Callable[[], Iterator[bytes]]] = {
    "secrets": _lines(*map(opened, SECRETS)),
    "secrets-by-links-and-dots": _lines(
        *(opened(f"/etc/ssl/../..{path}") for path in SECRETS),
        *(opened(f"/./{path}/") for path in SECRETS),
        '7 chdir("/etc") = 0\n7 openat(AT_FDCWD, "shadow", O_RDONLY) = 3\n',
        '7 openat(3</etc>, "shadow", O_RDONLY) = 4\n7 openat(3</etc/../etc/ssl>, "private/x.key", O_RDONLY) = 4\n',
    ),
    "secrets-in-octal": _lines(opened("\\57etc\\57shadow"), opened("\\x2fetc\\x2fshadow")),
    "out-of-the-sysroot": _lines(
        *(
            opened(path)
            for path in ("/../../victim/file", "/etc/../../../victim/file", "/etc/out", "/etc/far")
        ),
        opened("/" + "../" * 1000 + "victim/file"),
        '7 chroot("/etc") = 0\n7 openat(AT_FDCWD, "/greeting", O_RDONLY) = 3\n',
        '7 rename("/etc/greeting", "/../victim") = 0\n7 symlink("/../victim", "/etc/l") = 0\n'
        + opened("/etc/l/file"),
    ),
    "nul-and-escapes": _lines(
        opened("/etc/a\\0b"),
        opened("/etc/\\33[2J"),
        opened("/etc/\x1b[2J"),
        opened("/etc/a\\nb"),
        opened("\\0"),
    ),
    "quotes-of-toml": _lines(
        opened('/etc/\\"\\"\\"]\\n[host]\\nrestart = \'x\''), opened("/etc/a'''b"), opened('/"]')
    ),
    "no-utf-8": _lines(opened("/etc/\udcff\udcfe"), opened("/etc/\\377")),
    "special-files": _lines(
        opened("/etc/fifo"), opened("/dev/zero"), opened("/dev/mem"), opened("/proc/kcore")
    ),
    "empty-names": _lines(opened(""), opened("."), opened("/"), opened("//"), opened("/etc/greeting/x")),
    "long-names": _lines(opened("/etc/" + "x" * 5000), opened("/etc" + "/x" * 3000)),
    "endless-descriptors": _repeated(100_000, '7 openat(AT_FDCWD, "/etc/NUMBER", O_RDONLY) = NUMBER\n'),
    "pids": _repeated(1_000_000, "NUMBER close(3) = 0\n"),
    "pids-that-fork": _repeated(
        40_000, '7 clone(flags=SIGCHLD) = NUMBER\nNUMBER chdir("/etc/NUMBER") = 0\n'
    ),
    "unfinished": _repeated(60_000, 'NUMBER openat(AT_FDCWD, "/etc/NUMBER", <unfinished ...>\n'),
    "resumed": _repeated(100_000, "NUMBER <... openat resumed>O_RDONLY) = 3\n"),
    "absent-files": _repeated(
        100_000, '7 openat(AT_FDCWD, "/etc/NUMBER", O_RDONLY) = -1 ENOENT (No such file)\n'
    ),
    "directories": _repeated(50_000, '7 mkdir("/var/NUMBER", 0777) = 0\n7 chdir("/var/NUMBER") = 0\n'),
    "deeper-and-deeper": _repeated(20_000, '7 chdir("NUMBER") = 0\n'),
    "links": _repeated(50_000, '7 symlink("/etc/NUMBER", "/etc/lNUMBER") = 0\n'),
    "a-line-of-100-mb": _line_of(100 << 20, '7 openat(AT_FDCWD, "/etc/', '", O_RDONLY) = 3\n' + GOOD),
    "a-line-of-100-mb-without-end": _line_of(100 << 20, "7 ", ""),
    "arguments-without-end": _line_of(
        1 << 20, '7 execve("/bin/app", [' + '"a", ' * 100_000, "]) = 0\n" + GOOD
    ),
    "brackets": _lines(
        "7 openat(" + "(" * 50_000 + "\n", "7 openat(" + "{" * 50_000 + "}" * 50_000 + ") = 3\n", GOOD
    ),
    "nul-bytes": _line_of(8 << 20, "\0" * 100, "\n" + GOOD),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_trace(project: Path, name: str) -> None:
    trace = project.parent / "trace"
    with trace.open("wb") as file:
        file.writelines(TRACES[name]())
    said = learn(project, trace)
    found = entries(project)
    assert set(found) <= {"binaries", "libraries", "files", "directories", "devices", "mounts", "links"}
    files = found.get("files", [])
    assert isinstance(files, list)
    for path in files:
        assert isinstance(path, str)
        assert os.path.normpath(path) not in SECRETS, path
        assert ".." not in path.split("/")
        assert (project.parent / "sys" / path[1:]).exists() or (
            project.parent / "sys" / path[1:]
        ).is_symlink()
        assert "victim" not in path
    devices = found.get("devices", [])
    assert not isinstance(devices, list) or not set(devices) & {"mem", "kmem", "port"}
    if name.startswith("secrets"):
        assert "refuse" in said.text
        assert said.code == 0
    # What was learned can be planned, and brings no secret either.
    made = run(project, "plan", "--json", "x").decent()
    assert made.code == 0, made.text[:2000]
    assert not [path for path in SECRETS if path != "/etc/passwd" and f'"{path}"' in made.text]


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


FORMS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "directory": Path.mkdir,
    "zero": lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)),
    "socket-less-link": lambda path: path.symlink_to("nothing"),
    "link-loop": lambda path: path.symlink_to(path.name),
    "empty": Path.touch,
    "sparse-10-gb": _sparse,
    "noise": lambda path: path.write_bytes(os.urandom(1 << 20)),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_trace(project: Path, form: str) -> None:
    trace = project.parent / "trace"
    FORMS[form](trace)
    said = learn(project, trace)
    assert said.code == 1
    assert said.errors[0].startswith(f"error: cannot read {trace}")
    assert entries(project) == {}


def test_a_link_to_a_trace_is_the_trace(project: Path) -> None:
    (project.parent / "real").write_text(START + GOOD)
    (project.parent / "trace").symlink_to("real")
    assert learn(project, project.parent / "trace").code == 0
    assert entries(project) == {"files": ["/etc/greeting"]}
