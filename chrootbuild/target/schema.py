"""Schema of a target file: every key, its type and text pattern, checked by msgspec.

A field is None where its key is absent. Rules that need a parser or several
values (a regular expression, a line of accounts, two keys for one path) are
in targetrules.py and targetmerge.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

_PART = r"(?!\.{1,2}(?:/|\Z))[^/\0]{1,255}"  # one component: not "." or "..", NAME_MAX
_ABSOLUTE = rf"(?:/{_PART})+"
_USER = r"[^\s:,/\0+-][^\s:,/\0]*"  # passwd(5): no colon; a leading + or - means NIS

NAME = r"\A[A-Za-z0-9_-]+\Z"
PATH = rf"\A{_ABSOLUTE}\Z"
TREE = rf"\A{_ABSOLUTE}/?\Z"
PROGRAM = rf"\A(?:{_ABSOLUTE}|{_PART})\Z"
MODE = r"\A[0-7]{3,4}\Z"
DEVICE_NAME = rf"\A{_PART}(?:/{_PART})*\Z"
NUMBERS = r"\A[0-9]{1,10}:[0-9]{1,10}\Z"
USER = rf"\A{_USER}\Z"
USER_GROUP = rf"\A{_USER}(?::{_USER})?\Z"
PASSWORDS = rf"\A(?:\*|{_USER})\Z"
ZONE = r"\A[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*\Z"
ENV_NAME = r"\A[A-Za-z_][A-Za-z0-9_]*\Z"
FOLDER = r"\A[^~\0][^\0]*\Z"
LINE = r"\A[^\n\r\0]*\Z"
WORD = r"\A[^\0]*\Z"
SIZE = r"\A[1-9][0-9]{0,14}[KMGT]?\Z"
FILLED = r"\A[^\0]*[^\s\0][^\0]*\Z"  # not only blanks

_Name = Annotated[str, Meta(pattern=NAME)]
_Path = Annotated[str, Meta(pattern=PATH)]
_Tree = Annotated[str, Meta(pattern=TREE)]
_Program = Annotated[str, Meta(pattern=PROGRAM)]
_Mode = Annotated[str, Meta(pattern=MODE)]
_DeviceName = Annotated[str, Meta(pattern=DEVICE_NAME)]
_Numbers = Annotated[str, Meta(pattern=NUMBERS)]
_User = Annotated[str, Meta(pattern=USER)]
_UserGroup = Annotated[str, Meta(pattern=USER_GROUP)]
_Passwords = Annotated[str, Meta(pattern=PASSWORDS)]
_Zone = Annotated[str, Meta(pattern=ZONE)]
_Folder = Annotated[str, Meta(pattern=FOLDER)]
_Line = Annotated[str, Meta(pattern=LINE)]
_Filled = Annotated[str, Meta(pattern=FILLED)]
_Word = Annotated[str, Meta(pattern=WORD)]
# msgspec allows no union of list and str with pattern: targetrules.py checks those strings.
_Argv = Annotated[list[_Word], Meta(min_length=1)]
_Env = dict[Annotated[str, Meta(pattern=ENV_NAME)], _Word]
_LinkText = Annotated[str, Meta(pattern=FILLED, max_length=4095)]  # PATH_MAX less the NUL
_Id = Annotated[int, Meta(ge=0, le=4294967294)]  # (uid_t)-1 means "unchanged"
_Seconds = Annotated[float, Meta(gt=0, le=86400)]
_Size = Annotated[str, Meta(pattern=SIZE)]
_Tasks = Annotated[int, Meta(ge=1, le=4000000)]  # the kernel's PID_MAX_LIMIT is 4 Mi


class FileEntry(Struct, forbid_unknown_fields=True):
    """A table in ``files``."""

    path: _Tree
    owner: _User | None = None
    group: _User | None = None
    mode: _Mode | None = None


class Device(Struct, forbid_unknown_fields=True):
    """A table in ``devices``; ``char`` and ``block`` are "MAJOR:MINOR"."""

    name: _DeviceName
    char: _Numbers | None = None
    block: _Numbers | None = None
    owner: _User | None = None
    group: _User | None = None
    mode: _Mode | None = None


class Directory(Struct, forbid_unknown_fields=True):
    """A value in ``[directories]``."""

    owner: _User | None = None
    group: _User | None = None
    mode: _Mode | None = None


class TextEntry(Struct, forbid_unknown_fields=True):
    """A table in ``[text]``."""

    content: str
    owner: _User | None = None
    group: _User | None = None
    mode: _Mode | None = None


class Accounts(Struct, forbid_unknown_fields=True):
    """``[accounts]``."""

    min_uid: _Id | None = None
    users: list[_User] = []
    groups: list[_User] = []
    extra: list[_Line] = []
    extra_groups: list[_Line] = []
    format: Literal["linux", "freebsd"] | None = None
    passwords: list[_Passwords] = []
    legacy: bool | None = None


class Build(Struct, forbid_unknown_fields=True):
    """``[build]``."""

    temporary: list[_Program] = []


class Syslog(Struct, forbid_unknown_fields=True):
    """``[syslog]``."""

    socket: bool | None = None


class HostSide(Struct, forbid_unknown_fields=True):
    """``[host]``."""

    links: dict[_Path, _Path] = {}
    wrapper: dict[_Path, _Argv] = {}
    restart: _Filled | None = None


class Run(Struct, forbid_unknown_fields=True):
    """A table in ``check.run``."""

    argv: _Argv
    stdout: _Word | None = None
    env: _Env = {}


class Service(Struct, forbid_unknown_fields=True):
    """``[check.service]``; ``start`` may come from another file."""

    start: _Argv | None = None
    user: _UserGroup | None = None
    env: _Env = {}
    ready: _Filled | None = None
    probe: list[str | _Argv] = []
    stop_signal: str | None = None
    timeout: _Seconds | None = None


class Limits(Struct, forbid_unknown_fields=True):
    """``check.limits``; sizes are bytes, or with K, M, G, T those of 1,024."""

    processes: _Tasks | None = None
    memory: _Size | None = None
    files: _Size | None = None
    trace: _Size | None = None


class Check(Struct, forbid_unknown_fields=True):
    """``[check]``."""

    limits: Limits | None = None
    prepare: list[str | _Argv] = []
    run: list[_Argv | Run] = []
    service: Service | None = None


class Audit(Struct, forbid_unknown_fields=True):
    """``[audit]``."""

    ignore: dict[_Tree, _Filled] = {}


class TargetFile(Struct, forbid_unknown_fields=True):
    """One TOML file: a target, an include, or a learned file."""

    summary: _Line | None = None
    manual: bool | None = None
    root: _Folder | None = None
    sysroot: _Folder | None = None
    os: Literal["linux", "freebsd"] | None = None
    include: list[_Name] = []
    binaries: list[_Program] = []
    libraries: list[_Path] = []
    files: list[_Tree | FileEntry] = []
    exclude: list[_Tree] = []
    seed: list[_Tree] = []
    timezone: _Zone | None = None
    devices: list[_DeviceName | Device] = []
    mounts: list[_Path] = []
    setuid: list[_Path] = []
    accounts: Accounts | None = None
    directories: dict[_Path, Directory] = {}
    links: dict[_Path, _LinkText] = {}
    text: dict[_Path, str | TextEntry] = {}
    build: Build | None = None
    syslog: Syslog | None = None
    host: HostSide | None = None
    check: Check | None = None
    audit: Audit | None = None
