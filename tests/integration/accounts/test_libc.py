"""What a real libc, its programs and PAM make of the files rendered for a root."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.accounts.names import Names
from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from tests.support.accounts_samples import GROUP, PASSWD, SHADOW, names, spec


class _Passwd(ctypes.Structure):
    """struct passwd of glibc."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("gecos", ctypes.c_char_p),
        ("home", ctypes.c_char_p),
        ("shell", ctypes.c_char_p),
    ]


class _Group(ctypes.Structure):
    """struct group of glibc."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("password", ctypes.c_char_p),
        ("gid", ctypes.c_uint32),
        ("members", ctypes.POINTER(ctypes.c_char_p)),
    ]


_LIBC = ctypes.CDLL(None)
_LIBC.fopen.restype = _LIBC.fgetpwent.restype = _LIBC.fgetgrent.restype = ctypes.c_void_p
_LIBC.fgetpwent.argtypes = _LIBC.fgetgrent.argtypes = _LIBC.fclose.argtypes = [ctypes.c_void_p]


def passwd_of_libc(path: Path) -> list[tuple[bytes, ...]]:
    """Return every entry that fgetpwent(3) finds, as the fields of a line."""
    file = _LIBC.fopen(os.fsencode(path), b"r")
    found: list[tuple[bytes, ...]] = []
    while entry := _LIBC.fgetpwent(file):
        user = ctypes.cast(entry, ctypes.POINTER(_Passwd)).contents
        ids = (b"%d" % user.uid, b"%d" % user.gid)
        found.append((user.name, user.password, *ids, user.gecos, user.home, user.shell))
    _LIBC.fclose(file)
    return found


def group_of_libc(path: Path) -> list[tuple[bytes, ...]]:
    """Return every entry that fgetgrent(3) finds, as the fields of a line."""
    file = _LIBC.fopen(os.fsencode(path), b"r")
    found: list[tuple[bytes, ...]] = []
    while entry := _LIBC.fgetgrent(file):
        group = ctypes.cast(entry, ctypes.POINTER(_Group)).contents
        members: list[bytes] = []
        while group.members[len(members)]:
            members.append(group.members[len(members)])
        found.append((group.name, group.password, b"%d" % group.gid, b",".join(members)))
    _LIBC.fclose(file)
    return found


def fields(file: bytes) -> list[tuple[bytes, ...]]:
    return [tuple(line.split(b":")) for line in file.splitlines()]


def test_libc_reads_from_our_files_what_stands_in_them(tmp_path: Path) -> None:
    made = render(
        spec(0, extra=["ct:x:4242:100:Ünï:/h:/bin/sh"], extra_groups=["ct:x:4242:ct,bob"]),
        Sources(PASSWD, GROUP),
    )
    (tmp_path / "passwd").write_bytes(made.passwd)
    (tmp_path / "group").write_bytes(made.group)
    assert passwd_of_libc(tmp_path / "passwd") == fields(made.passwd)
    assert group_of_libc(tmp_path / "group") == fields(made.group)


_NAME = st.text("abcxyzü", min_size=1, max_size=4).map(str.encode)
_ID = st.integers(0, 2000).map(lambda number: b"%d" % number)
_TEXT = st.binary(max_size=6).map(lambda text: re.sub(rb"[:\n\r\0]", b"", text))
_USER = st.tuples(_NAME, st.just(b"x"), _ID, _ID, _TEXT, _TEXT, _TEXT).map(b":".join)
_ODD = st.sampled_from(
    [b"", b"#x:x:1:1:::", b"  ", b"+", b"+::::::", b"-a::::::", b"a:x", b"a:x:b:1:::", b":x:1:1:::"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(_USER, _USER, _ODD), max_size=12))
def test_min_uid_0_keeps_what_libc_sees_on_the_host(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    """But for NIS lines, which are no accounts."""
    file = tmp_path_factory.getbasetemp() / "passwd"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    seen = [entry for entry in passwd_of_libc(file) if entry[0][:1] not in (b"+", b"-", b"")]
    file.write_bytes(render(spec(0), Sources(file.read_bytes(), b"")).passwd)
    assert sorted(passwd_of_libc(file)) == sorted(seen)


def test_the_articles_awk_filter_gives_the_same_lines_but_for_nobody(tmp_path: Path) -> None:
    """``awk -F: '$3 >= 1000 {print}'``; it keeps nobody as well, we do so by name only."""
    host = PASSWD + b"".join(b"u%d:x:%d:%d:U:/home/u%d:/bin/sh\n" % (n, n, n, n) for n in range(990, 1010))
    file = tmp_path / "passwd"
    file.write_bytes(host)
    done = subprocess.run(["awk", "-F:", "$3 >= 1000 {print}", file], capture_output=True, check=True)
    made = render(spec(1000, users=["nobody"]), Sources(host, GROUP))
    assert made.passwd == done.stdout
    assert names(render(spec(1000), Sources(host, GROUP)).passwd) == [
        name for name in names(done.stdout) if name != b"nobody"
    ]


def test_the_articles_awk_filter_for_freebsd_gives_the_same_master_passwd(tmp_path: Path) -> None:
    host = b"# $FreeBSD$\nroot:*:0:0:Charlie &:/root:/bin/csh\n" + PASSWD.replace(b":x:", b":*:")
    file = tmp_path / "passwd"
    file.write_bytes(host)
    program = '$3 >= 1000{printf "%s:*:%s:%s::0:0:%s:%s:%s\\n",$1,$3,$4,$5,$6,$7}'
    done = subprocess.run(["awk", "-F:", program, file], capture_output=True, check=True)
    made = render(spec(1000, users=["nobody"], freebsd=True), Sources(host, GROUP))
    assert made.master == done.stdout


# -- inside a root -------------------------------------------------------------------------------------


def _put(root: Path, program: str) -> None:
    """Copy a program with what the dynamic linker says it loads."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [program, *re.findall(r"(/\S+) \(0x", listed)]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def _root(tmp_path: Path, made_from: Sources, **keys: object) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    made = render(spec(**keys), made_from)  # type: ignore[arg-type]
    (root / "etc/passwd").write_bytes(made.passwd)
    (root / "etc/group").write_bytes(made.group)
    if made.shadow is not None:
        (root / "etc/shadow").write_bytes(made.shadow)
    return root


def _inside(root: Path, *argv: str) -> str:
    done = subprocess.run(["chroot", str(root), *argv], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.root
def test_ls_and_id_show_names_inside_the_root(tmp_path: Path) -> None:
    extra = ["ct:x:4242:4242::/home/ct:/bin/sh"]
    groups = ["ct:x:4242:"]
    sources = Sources(PASSWD, GROUP)
    root = _root(tmp_path, sources, min_uid=1000, extra=extra, extra_groups=groups)
    resolve = Names(sources, spec(1000, extra=extra, extra_groups=groups))
    for program in ("/bin/ls", "/usr/bin/id"):
        _put(root, program)
    for name in ("alice", "ct"):
        (root / name).write_bytes(b"")
        os.chown(root / name, resolve.uid(name), resolve.gid(name))
    os.chown(root / "etc", resolve.uid("www-data"), resolve.gid("www-data"))
    listing = {
        line.split()[-1]: line.split()[2:4] for line in _inside(root, "/bin/ls", "-l", "/").splitlines()[1:]
    }
    assert listing["alice"] == ["alice", "alice"]
    assert listing["ct"] == ["ct", "ct"]
    assert listing["etc"] == ["33", "www-data"]  # the group lists alice, the user is not kept
    assert _inside(root, "/usr/bin/id", "alice") == (
        "uid=1000(alice) gid=1000(alice) groups=1000(alice),33(www-data),50(staff)\n"
    )
    assert (
        _inside(root, "/usr/bin/id", "bob") == "uid=1001(bob) gid=100(users) groups=100(users),50(staff)\n"
    )


@pytest.mark.root
@pytest.mark.skipif(not Path("/usr/sbin/unix_chkpwd").exists(), reason="needs pam_unix's helper")
def test_pam_unix_takes_every_account_kept_and_not_one_that_has_expired(tmp_path: Path) -> None:
    """Its helper's "chkexpiry" is what the account step of sshd, su and cron asks."""
    shadow = SHADOW.replace(b"::20500:", b"::10:")
    root = _root(
        tmp_path,
        Sources(PASSWD, GROUP, shadow=shadow),
        min_uid=1000,
        users=["root", "daemon"],
        passwords=["root"],
        extra=["ct:x:4242:100::/:/bin/sh"],
    )
    _put(root, "/usr/sbin/unix_chkpwd")

    def ask(name: str) -> int:
        argv = ["chroot", str(root), "/usr/sbin/unix_chkpwd", name, "chkexpiry"]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).returncode

    success, expired = 0, 13  # PAM_SUCCESS, PAM_ACCT_EXPIRED of _pam_types.h
    assert {name: ask(name) for name in ("root", "daemon", "bob", "ct", "alice")} == {
        "root": success,
        "daemon": success,
        "bob": success,
        "ct": success,
        "alice": expired,
    }
    (root / "etc/shadow").write_bytes(b"root:*:19000:0:99999:7:::\n")
    assert ask("bob") != success, "an account without a line would do as well"
