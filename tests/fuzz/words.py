"""Words that libFuzzer puts into its inputs, by parser: those that no chance finds."""

from __future__ import annotations

import struct

from chrootbuild.artifact import Kind
from chrootbuild.target.schema import TargetFile
from chrootbuild.trace.calls import SIGNATURES, words

__all__ = ["WORDS"]

_TOML = (
    *TargetFile.__struct_fields__,
    *words("path owner group mode name char block content min_uid users groups extra extra_groups format"),
    *words("passwords legacy temporary socket wrapper restart prepare run service argv stdout env start"),
    *words("user ready probe stop_signal timeout ignore limits processes linux freebsd root host null"),
    *words("tcp: udp: unix: file:"),
    *words('"/etc/x" [[ ]] """ \'\'\' \\u0000 0640 # 1e9 -inf nan 0xff 2020-01-01'),
    *(
        " = ",
        "= [",
        "{ ",
        " }",
        "` - at `$",
        "` - at `$.files[7]",
        "` - at `$.text[...]",
        "` - at `key` in `$",
    ),
)
_JSON = (
    *map(str, Kind),
    *words("format recipe root inode seeds artifacts operations record base gone before files installed"),
    *words("digest since header target out read absent seen owners listed missing inputs sources"),
    *words("directory put exchange pause unlink rmdir seed path form comment texts created"),
    *words('"/r" "HEADER" "OUT" [] {} null true 1e999 "/ \\ud800 \\u0000 NaN'),
)
_TRACE = (
    *SIGNATURES,
    *words("AT_FDCWD O_CREAT O_RDONLY O_PATH O_DIRECTORY CLONE_FS CLONE_THREAD ENOENT PROT_EXEC NAMI CALL"),
    *words('RET GIO STRU errno ERR# JUSTRETURN sun_path=" +++ exited --- SIGCHLD (deleted) sockaddr "/etc/'),
    *words("</ > \\0 /proc/self/fd/ /dev/ /run/x foo htons(53)"),
    *(" <unfinished ...>", "<... ", " resumed> ", ") = 3", ") = -1 ENOENT", ") = ?", " = 3 (0x3)", "[pid "),
    "-1 errno 2",
)
_UNIT = (
    *words("[Service] [Socket] ExecStart= User= Group= Type=oneshot Type=forking PIDFile= Environment="),
    *words("EnvironmentFile= ListenStream= RuntimeDirectory= StateDirectory= RuntimeDirectoryMode= %n %i"),
    *words(
        "/usr/sbin/p /etc/default/p /etc/p/p.conf p.service daemonize port= listen user= /tcp /udp $OPTS"
    ),
    *("\\\n", "${OPTS}", "d /run/p 0755 p p", "p:x:100:100::/:/bin/sh", "P:p\nF:usr/bin\nR:p\n\n"),
)
_ELF_TEXT = (
    *words(
        "FDO FreeBSD GNU $ORIGIN ${LIB} $PLATFORM libc.so.6 libc.so.7 libc.so pthread_cancel /lib:$ORIGIN"
    ),
    *words("/lib/ld-musl-x86_64.so.1 /libexec/ld-elf.so.1 /lib64/ld-linux-x86-64.so.2"),
)
_ELF_NUMBERS = tuple(
    struct.pack(order + form, value)
    for order in "<>"
    for form, values in (
        ("I", (1, 2, 3, 4, 0x407C0C0A, 0x6FFFFEF5, 0x6FFFFFFB)),
        ("Q", (1, 5, 10, 14, 15, 29, 6, 4, 0x6FFFFEFC, 0x7FFFFFFF, 0x10000, 1 << 63, (1 << 64) - 1)),
    )
    for value in values
)
_CACHE = (b"glibc-ld.so.cache1.1", b"ld.so-1.7.0\0", struct.pack("<I", 0xEAA42174), b"\0/lib/a\0")
_LIBMAP = ("include /etc/libmap.d/a.conf\n", "includedir /etc/libmap.d\n", "[/usr/bin/p]\n", "a b\n")
_SCRIPT = ("#!/usr/bin/env ", "-S", "--split-string=", "-u ", "a=b ", "'", '"')
_ACCOUNTS = ("root:x:0:0::/:/bin/sh", "+:::::::::", ":*:", "$6$a$b", "::", ":0:0:", ",", "tc=", ":tc@", "|")

_SETTINGS = (
    "extension=a.so\n",
    "LoadModule a_module /usr/lib/food/a.so\n",
    "user foo",
    "chown=foo:foo",
    "; ",
)


def _bytes(texts: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


WORDS: dict[str, tuple[bytes, ...]] = {
    **dict.fromkeys(("elf", "elf_closure"), _ELF_NUMBERS + _bytes(_ELF_TEXT)),
    "ld_cache": _CACHE,
    "ld_hints": (b"Ehnt", b"tnhE", b"/lib:/usr/lib\0"),
    "libmap_conf": _bytes(_LIBMAP),
    "shebang": _bytes(_SCRIPT),
    **dict.fromkeys(("accounts", "capabilities"), _bytes(_ACCOUNTS)),
    **dict.fromkeys(("traces", "proposals"), _bytes(_TRACE)),
    "configuration": _bytes(_SETTINGS),
    **dict.fromkeys(("target_file", "learned_file"), _bytes(_TOML)),
    **dict.fromkeys(("record", "journal", "plan", "unfinished", "installed"), _bytes(_JSON)),
    **dict.fromkeys(("new", "package_lists", "devfs_rules"), _bytes(_UNIT)),
}
