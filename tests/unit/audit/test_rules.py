"""What the rules of audit read: ACLs, mount tables, permissions; and the documentation of every rule."""

from __future__ import annotations

import os
import struct

import pytest

from chrootbuild.audit.facts import EXECUTE, OTHERS, READ, WRITE, Entry, Person, can
from chrootbuild.audit.rules import RULES
from chrootbuild.audit.rules.permissions import in_program_place
from chrootbuild.system.rights.acl import Acl, Attributes, parse
from tests.support.places import REPOSITORY

DOCS = REPOSITORY / "docs/audit.md"
UNDEFINED = 0xFFFFFFFF


def value(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


FULL = value(
    (1, 7, UNDEFINED), (2, 6, 33), (4, 4, UNDEFINED), (8, 2, 50), (0x10, 6, UNDEFINED), (0x20, 0, UNDEFINED)
)


def test_an_acl_names_users_and_groups() -> None:
    assert parse(FULL) == Acl(((33, 6),), ((50, 2),), 4)


@pytest.mark.parametrize("length", range(len(FULL)))
def test_an_acl_that_is_cut_off_says_less(length: int) -> None:
    assert len(parse(FULL[:length]).users) <= 1


def entry(mode: int, uid: int = 0, gid: int = 0, acl: Acl | None = None) -> Entry:
    info = os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))
    return Entry("/x", info, None, None, free=False, reach=frozenset(), attributes=Attributes(acl or Acl()))


WEB = Person(33, frozenset({33, 50}), "web")


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "acl", "may"),
    [
        (0o644, 0, 0, None, "r"),
        (0o600, 0, 0, None, ""),
        (0o420, 0, 50, None, "w"),
        (0o604, 0, 50, None, ""),  # the group's bits count, not those of others
        (0o067, 33, 33, None, ""),  # the owner's bits count, not the group's
        (0o700, 33, 0, None, "rwx"),
        (0o660, 0, 0, Acl(((33, 6),), (), 0), "rw"),
        (0o640, 0, 0, Acl(((33, 6),), (), 0), "r"),  # the mask is where the group's bits are
        (0o606, 0, 0, Acl(((33, 0),), (), 0), ""),
        (0o660, 0, 0, Acl((), ((50, 6),), 0), "rw"),
        (0o670, 0, 0, Acl((), ((51, 6),), 7), ""),
        (0o670, 0, 50, Acl((), ((33, 1),), 4), "rx"),
        (0o660, 0, 50, Acl((), (), 0), ""),  # the group itself has nothing: the bits are the mask
    ],
)
def test_who_may_do_what(mode: int, uid: int, gid: int, acl: Acl | None, may: str) -> None:
    """The order of acl(5): owner, named user, the groups together, others."""
    made = entry(0o100000 | mode, uid, gid, acl)
    assert [bit for bit in (READ, WRITE, EXECUTE) if can(WEB, made, bit)] == [
        {"r": READ, "w": WRITE, "x": EXECUTE}[letter] for letter in may
    ]


def test_others_are_in_no_group_and_own_nothing() -> None:
    assert not can(OTHERS, entry(0o100770), READ)
    assert can(OTHERS, entry(0o100004), READ)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/bin", True),
        ("/usr/lib/x86_64-linux-gnu", True),
        ("/usr/local/libexec/x", True),
        ("/lib64", True),
        ("/var/lib/x", False),
        ("/usr/libs", False),
        ("/usr/share/bin", False),
        ("/etc", False),
    ],
)
def test_where_programs_and_libraries_are_searched(path: str, there: bool) -> None:
    assert in_program_place(path) is there


def test_every_rule_is_documented() -> None:
    """Each with its severities, its reason and its remedy, in the order of RULES."""
    text = DOCS.read_text()
    assert [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")] == [
        rule.id for rule in RULES
    ]
    for rule in RULES:
        section = text.partition(f"### {rule.id}\n")[2].partition("\n###")[0]
        assert rule.severities in section, rule.id
        assert rule.reason in section, rule.id
        assert rule.remedy in section, rule.id
