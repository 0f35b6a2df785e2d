"""Specifications and files that the tests of accounts share."""

from __future__ import annotations

from collections.abc import Sequence

from chrootbuild.artifact import Origin
from chrootbuild.target.model import Accounts, Item

PASSWD = b"""\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash
bob:x:1001:100:Bob:/home/bob:/bin/zsh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = b"""\
root:x:0:
daemon:x:1:
tty:x:5:
www-data:x:33:alice
users:x:100:
staff:x:50:bob,carol,alice
nogroup:x:65534:
alice:x:1000:
"""
SHADOW = b"""\
root:$6$root$hash:19500:0:99999:7:::
daemon:*:19000:0:99999:7:::
alice:$6$alice$hash:19700:0:99999:7::20500:
bob:!$6$bob$hash:19700:0:99999:7:::
"""
MASTER = b"""\
# $FreeBSD$
root:$6$root$hash:0:0::0:0:Charlie &:/root:/bin/csh
toor:*:0:0::0:0:Bourne-again Superuser:/root:
daemon:*:1:1::0:0:Owner of many system processes:/root:/usr/sbin/nologin
alice:$6$alice$hash:1001:1001:staff:0:1900000000:Alice:/home/alice:/bin/sh
bob:*LOCKED*$6$bob$hash:1002:1002::0:0:Bob:/home/bob:/bin/sh
nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin
+:::::::::
"""


def items(values: Sequence[str], key: str) -> tuple[Item, ...]:
    return tuple(
        Item(value, Origin("targets/t.toml", f"accounts.{key}", line))
        for line, value in enumerate(values, 10)
    )


def spec(
    min_uid: int | None = None,
    *,
    users: Sequence[str] = (),
    groups: Sequence[str] = (),
    extra: Sequence[str] = (),
    extra_groups: Sequence[str] = (),
    passwords: Sequence[str] = (),
    freebsd: bool = False,
) -> Accounts:
    return Accounts(
        Origin("targets/t.toml", "accounts", 9),
        min_uid,
        items(users, "users"),
        items(groups, "groups"),
        items(extra, "extra"),
        items(extra_groups, "extra_groups"),
        "freebsd" if freebsd else "linux",
        items(passwords, "passwords"),
    )


def names(file: bytes | None) -> list[bytes]:
    """Return the first field of every line."""
    assert file is not None
    return [line.split(b":")[0] for line in file.splitlines()]
