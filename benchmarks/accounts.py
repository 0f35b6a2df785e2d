"""Seconds for each account file of a root with 20,000 users: ``python -m benchmarks.accounts [USERS]``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from chrootbuild.accounts.damage import damaged_users
from chrootbuild.accounts.pwd_mkdb import Database
from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from chrootbuild.artifact import Origin
from chrootbuild.target.model import Accounts


def _seconds(work: Callable[[], object]) -> float:
    """Return the best of five runs."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    passwd = "".join(
        f"user{n}:x:{n}:{n}:User Number {n}:/home/user{n}:/bin/sh\n" for n in range(1000, 1000 + count)
    )
    group = "".join(f"user{n}:x:{n}:\n" for n in range(1000, 1000 + count))
    sources = Sources(passwd.encode(), group.encode())
    origin = Origin("benchmark", "accounts")
    linux = Accounts(origin, min_uid=1000)
    freebsd = Accounts(origin, min_uid=1000, format="freebsd")
    master = render(freebsd, sources).master
    assert master is not None
    recipe = Database(master, secure=True)
    file = recipe.render()
    assert damaged_users(file, master, secure=True) == ""
    print(f"{count} users, {len(file)} bytes of spwd.db")
    for what, work in (
        ("passwd and group, Linux", lambda: render(linux, sources)),
        ("master.passwd, passwd, group", lambda: render(freebsd, sources)),
        ("pwd.db", Database(master, secure=False).render),
        ("spwd.db", recipe.render),
        ("spwd.db, legacy", Database(master, secure=True, legacy=True).render),
        ("spwd.db read and checked", lambda: damaged_users(file, master, secure=True)),
        ("digest of spwd.db", recipe.digest),
    ):
        print(f"{_seconds(work):8.3f} s  {what}")


if __name__ == "__main__":
    main()
