from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chrootbuild.system import syscalls


def _names(directory: Path) -> int:
    return os.open(directory, os.O_PATH | os.O_DIRECTORY)


@pytest.mark.parametrize(
    ("resolve", "path", "error"),
    [
        (syscalls.RESOLVE_NO_SYMLINKS, "link", errno.ELOOP),
        (syscalls.RESOLVE_NO_SYMLINKS, "linked/file", errno.ELOOP),
        (syscalls.RESOLVE_BENEATH, "link", errno.EXDEV),
        (syscalls.RESOLVE_BENEATH, "../outside", errno.EXDEV),
        (syscalls.RESOLVE_BENEATH, "/etc/passwd", errno.EXDEV),
        (syscalls.RESOLVE_IN_ROOT, "link", errno.ENOENT),
        (syscalls.RESOLVE_NO_MAGICLINKS, f"/proc/{os.getpid()}/root/etc", errno.ELOOP),
    ],
)
def test_openat2_refuses_a_way_out(tmp_path: Path, resolve: int, path: str, error: int) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real/file").write_text("in")
    (tmp_path / "outside").write_text("out")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "linked").symlink_to("real")
    fd = _names(root)
    try:
        with pytest.raises(OSError, match=r".") as caught:
            syscalls.openat2(fd, path, os.O_RDONLY, resolve)
        assert (caught.value.errno, caught.value.filename) == (error, path)
        with os.fdopen(syscalls.openat2(fd, "real/file", os.O_RDONLY, resolve)) as file:
            assert file.read() == "in"
    finally:
        os.close(fd)


def test_openat2_makes_a_file_with_a_mode_that_programs_do_not_inherit(tmp_path: Path) -> None:
    fd = _names(tmp_path)
    made = syscalls.openat2(fd, "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, syscalls.RESOLVE_BENEATH, 0o640)
    assert not os.get_inheritable(made)
    os.close(made)
    os.close(fd)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_renameat2_exchanges_and_does_not_replace(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("b")
    fd = _names(tmp_path)
    try:
        syscalls.renameat2(fd, "a", fd, "b", syscalls.RENAME_EXCHANGE)
        assert (tmp_path / "a").read_text() == "b"
        assert (tmp_path / "b").is_dir()
        with pytest.raises(FileExistsError) as caught:
            syscalls.renameat2(fd, "a", fd, "b", syscalls.RENAME_NOREPLACE)
        assert (caught.value.filename, caught.value.filename2) == ("a", "b")
        with pytest.raises(FileNotFoundError):
            syscalls.renameat2(fd, "a", fd, "absent", syscalls.RENAME_EXCHANGE)
    finally:
        os.close(fd)


def test_syncfs(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    syscalls.syncfs(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.syncfs(fd)


@pytest.mark.parametrize("name", ["a\udcffb", "ü", " ", "\n"])
def test_names_are_bytes(tmp_path: Path, name: str) -> None:
    fd = _names(tmp_path)
    os.close(syscalls.openat2(fd, name, os.O_WRONLY | os.O_CREAT, syscalls.RESOLVE_BENEATH, 0o600))
    os.close(fd)
    assert os.listdir(tmp_path) == [name]


def test_a_null_byte_is_an_error_and_does_not_cut_the_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    fd = _names(tmp_path)
    with pytest.raises(ValueError, match="embedded null byte"):
        syscalls.openat2(fd, "a\0b", os.O_RDONLY, 0)
    with pytest.raises(ValueError, match="embedded null byte"):
        syscalls.renameat2(fd, "a\0b", fd, "c", 0)
    os.close(fd)


@pytest.mark.parametrize("name", ["openat2", "renameat2", "syncfs", "mount_setattr", "open_tree", "capset"])
def test_available_says_what_this_kernel_does(name: str) -> None:
    assert syscalls.available(name)


def test_errors_of_calls_without_privilege_name_what_they_were_about() -> None:
    with pytest.raises(OSError, match="/nowhere") as caught:
        syscalls.mount("tmpfs", "/nowhere", "tmpfs")
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)
    with pytest.raises(OSError, match="Invalid argument"):
        syscalls.prctl(syscalls.PR_CAPBSET_READ, 1000)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syscalls.setns(-1, syscalls.CLONE_NEWNS)


def test_importing_it_does_not_import_ctypes() -> None:
    code = "import sys, chrootbuild.system.syscalls; print('ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
