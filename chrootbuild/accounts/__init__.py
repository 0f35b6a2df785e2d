"""Account files: passwd, group, shadow, master.passwd, and FreeBSD's pwd.db and spwd.db.

Functions over bytes; no file is opened here.
"""

from __future__ import annotations

from chrootbuild.accounts.capabilities import cap_mkdb
from chrootbuild.accounts.names import Names, UnknownNameError
from chrootbuild.accounts.pwd_mkdb import Database
from chrootbuild.accounts.render import render
from chrootbuild.accounts.sources import Rendered, Sources

__all__ = [
    "Database",
    "Names",
    "Rendered",
    "Sources",
    "UnknownNameError",
    "cap_mkdb",
    "render",
]
