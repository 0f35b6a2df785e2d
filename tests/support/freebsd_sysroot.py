"""A FreeBSD base in a folder: its programs and libraries made by clang and lld, its files in a base's words."""

from __future__ import annotations

from pathlib import Path

from tests.support.elf_maker import CrossTree
from tests.support.sysroot import write

INTERPRETER = "/libexec/ld-elf.so.1"
TARGETS = {
    "amd64": "x86_64-unknown-freebsd14",
    "i386": "i386-unknown-freebsd13",
    "arm64": "aarch64-unknown-freebsd14",
}
HASH = "$6$salt$Sml1ZQ9bUeVCHPuo0sJWS."
MASTER = f"""\
# $FreeBSD$
#
root:{HASH}root:0:0::0:0:Charlie &:/root:/bin/sh
toor:*:0:0::0:0:Bourne-again Superuser:/root:
daemon:*:1:1::0:0:Owner of many system processes:/root:/usr/sbin/nologin
www:*:80:80::0:0:World Wide Web Owner:/nonexistent:/usr/sbin/nologin
nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin
ann:{HASH}ann:1001:1001:staff:0:0:Ann Müller:/home/ann:/bin/sh
bob:*LOCKED*{HASH}bob:1002:1001::0:1900000000:Bob:/home/bob:/usr/local/bin/bash
+@team:*:::::::/home/team:
"""
PASSWD = "".join(
    ":".join([*line.split(":")[:1], "*", *line.split(":")[2:4], *line.split(":")[7:]]) + "\n"
    for line in MASTER.splitlines()
    if not line.startswith("#")
)
FILES = {
    "/etc/master.passwd": MASTER,
    "/etc/passwd": PASSWD,
    "/etc/group": "wheel:*:0:root,ann\ndaemon:*:1:\nwww:*:80:\nstaff:*:1001:\nnobody:*:65534:\n",
    "/etc/protocols": "tcp 6 TCP\n",
    "/etc/services": "cvspserver 2401/tcp\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/resolv.conf": "nameserver 192.0.2.1\n",
    "/etc/login.conf": "default:\\\n\t:path=/bin:\\\n\t:umask=022:\nstaff|Staff:\\\n\t:tc=default:\n",
    "/etc/localtime": "TZif2 Tokyo\n",  # a regular file, as tzsetup(8) leaves it
    "/etc/pam.d/sshd": "auth required pam_unix.so\n",
    "/etc/pam.d/README": "about this directory\n",
    "/usr/share/zoneinfo/Asia/Tokyo": "TZif2 Tokyo\n",
    "/usr/share/misc/termcap": "vt100|dec-vt100:\\\n\t:co#80:li#24:\nxterm|X terminal:\\\n\t:tc=vt100:\n",
    "/etc/termcap": "-> ../usr/share/misc/termcap",
    "/usr/share/locale/C.UTF-8/LC_CTYPE": "RuneMagi\n",
    "/usr/share/i18n/esdb/UTF/UTF-8.esdb": "UTF-8\n",
    "/usr/share/i18n/csmapper/mapper.dir": "646\n",
    "/dev/": "",
    "/tmp/": "",
    "/var/run/": "",
    "/var/tmp/": "",
}


def note(version: int) -> str:
    """Return the note that FreeBSD's start files put into a program, as assembler text."""
    return f"""
 .section .note.tag,"a",%note
 .p2align 2
 .long 8,4,1
 .asciz "FreeBSD"
 .long {version}
"""


def make_base(top: Path, machine: str = "amd64", *, version: int = 1400097) -> CrossTree:
    """Make a base of a machine, with cvs where the packages put it."""
    tree = CrossTree(
        top, interpreter=INTERPRETER, target=TARGETS[machine], note=note(version) if version else ""
    )
    top.parent.mkdir(parents=True, exist_ok=True)
    tree.lib(INTERPRETER, soname="ld-elf.so.1")
    tree.link("/usr/libexec/ld-elf.so.1", "../../libexec/ld-elf.so.1")
    tree.lib("/lib/libc.so.7")
    tree.lib("/lib/libedit.so.8", "libc.so.7")
    tree.lib("/lib/libmd.so.6", "libc.so.7")
    tree.lib("/lib/libcrypt.so.5", "libc.so.7")
    tree.lib("/lib/libz.so.6", "libc.so.7")
    tree.link("/usr/lib/libz.so", "../../lib/libz.so.6")
    tree.lib("/usr/lib/libgssapi.so.10", "libc.so.7")
    tree.lib("/usr/local/lib/libgnuregex.so.2", "libc.so.7")
    tree.lib("/usr/lib/pam_unix.so.6", "libcrypt.so.5", "libc.so.7")
    tree.link("/usr/lib/pam_unix.so", "pam_unix.so.6")
    tree.lib("/usr/lib/i18n/libUTF8.so.5", "libc.so.7")
    tree.program("/bin/sh", "libedit.so.8", "libc.so.7")
    tree.program("/bin/ls", "libc.so.7")
    tree.program("/bin/cat", "libc.so.7")
    tree.program("/bin/date", "libc.so.7")
    needs = ("libgnuregex.so.2", "libmd.so.6", "libcrypt.so.5", "libz.so.6", "libgssapi.so.10", "libc.so.7")
    tree.program("/usr/local/bin/cvs", *needs)
    tree.program("/usr/sbin/sshd", "libcrypt.so.5", "libc.so.7")
    write(top, FILES)
    for path, mode in (("etc/master.passwd", 0o600), ("tmp", 0o1777), ("var/tmp", 0o1777), ("dev", 0o555)):
        top.joinpath(path).chmod(mode)
    return tree
