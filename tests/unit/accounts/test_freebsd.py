"""[accounts] with format "freebsd": master.passwd and passwd, pwd.db and spwd.db, login.conf.db."""

from __future__ import annotations

import pickle
import struct

import pytest

from chrootbuild.accounts.cap_mkdb import cap_mkdb
from chrootbuild.accounts.cap_mkdb import pairs as capability_pairs
from chrootbuild.accounts.db185.format import BIG_ENDIAN, LITTLE_ENDIAN
from chrootbuild.accounts.db185.reader import DamagedError
from chrootbuild.accounts.db185.writer import write
from chrootbuild.accounts.pwd_mkdb import Database, pairs
from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from chrootbuild.errors import Failure, TargetError
from tests.support.account_databases import Record, parse, users
from tests.support.accounts_samples import GROUP, MASTER, PASSWD, SHADOW, names, spec

BSD_GROUP = b"wheel:*:0:root,alice\nkmem:*:2:\nalice:*:1001:\nbob:*:1002:\n+:*::\n"
HOST = Sources(b"", BSD_GROUP, master=MASTER)


def rendered_master(made_from: Sources, **keys: object) -> bytes:
    master = render(spec(freebsd=True, **keys), made_from).master  # type: ignore[arg-type]
    assert master is not None
    return master


def test_ordinary_users_without_hashes_comments_and_nis_lines() -> None:
    made = render(spec(1000, freebsd=True), HOST)
    assert made.master == (
        b"alice:*:1001:1001:staff:0:1900000000:Alice:/home/alice:/bin/sh\n"
        b"bob:*LOCKED*:1002:1002::0:0:Bob:/home/bob:/bin/sh\n"
    )
    assert (
        made.passwd
        == b"alice:*:1001:1001:Alice:/home/alice:/bin/sh\nbob:*:1002:1002:Bob:/home/bob:/bin/sh\n"
    )
    assert made.group == b"wheel:*:0:alice\nalice:*:1001:\nbob:*:1002:\n"
    assert made.shadow is None


def test_min_uid_0_keeps_every_line_nobody_and_nis_lines_too() -> None:
    made = render(spec(0, freebsd=True), HOST)
    assert names(made.master) == [b"root", b"toor", b"daemon", b"alice", b"bob", b"nobody", b"+"]
    assert made.passwd.endswith(b"+:*:::::\n")
    assert made.group == BSD_GROUP
    assert b"$6$" not in made.passwd + (made.master or b"")


def test_only_the_users_named_have_their_hash() -> None:
    master = rendered_master(HOST, min_uid=0, passwords=["alice"])
    assert b"alice:$6$alice$hash:" in master
    assert master.count(b"$6$") == 1
    assert b"$6$alice" not in Database(master, secure=False).render()
    assert b"$6$alice" in Database(master, secure=True).render()


def test_a_star_means_every_hash() -> None:
    assert rendered_master(HOST, min_uid=0, passwords=["*"]) == MASTER.removeprefix(b"# $FreeBSD$\n")


def test_a_linux_passwd_gets_class_change_and_expire() -> None:
    made = render(spec(1000, freebsd=True), Sources(PASSWD, GROUP))
    assert made.master == (
        b"alice:*:1000:1000::0:0:Alice,,,:/home/alice:/bin/bash\nbob:*:1001:100::0:0:Bob:/home/bob:/bin/zsh\n"
    )
    assert made.group.splitlines()[0] == b"www-data:*:33:alice"


def test_the_hash_of_a_linux_user_comes_from_shadow() -> None:
    master = rendered_master(
        Sources(PASSWD, GROUP, shadow=SHADOW), users=["alice", "bob"], passwords=["alice"]
    )
    assert master.startswith(b"alice:$6$alice$hash:1000:")
    assert b"bob:*:" in master


def test_a_hash_asked_for_where_master_passwd_cannot_be_read_is_an_error() -> None:
    passwd = b"alice:*:1001:1001:Alice:/home/alice:/bin/sh\n"
    with pytest.raises(TargetError, match=r"/etc/master\.passwd cannot be read .*accounts\.passwords"):
        render(spec(users=["alice"], passwords=["alice"], freebsd=True), Sources(passwd, b""))


def test_extra_lines_of_seven_and_of_ten_fields() -> None:
    lines = ["ct:x:4242:4242::/home/ct:/bin/sh", "ten:$6$ten:7:7:staff:0:5:T:/:/bin/sh"]
    assert rendered_master(HOST, extra=lines, passwords=["ten"]) == (
        b"ct:*:4242:4242::0:0::/home/ct:/bin/sh\nten:$6$ten:7:7:staff:0:5:T:/:/bin/sh\n"
    )


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (b"eve:*:1:1::0:0:Eve:/\n", "/etc/master.passwd:9: it has 9 fields, not 10"),
        (b"eve:*:one:1::0:0:Eve:/:\n", "/etc/master.passwd:9: its uid is no number"),
        (b"eve:*:1:1::0:0:" + b"x" * 2022 + b":/:/bin/sh\n", "more than 2046"),
        (b"alice:*:1:1::0:0::/:/bin/sh\n", "the user alice twice"),
    ],
)
def test_a_line_that_pwd_mkdb_would_stop_at_is_an_error(line: bytes, fact: str) -> None:
    with pytest.raises(TargetError) as caught:
        render(spec(0, freebsd=True), Sources(b"", b"", master=MASTER + line))
    assert fact in str(caught.value)
    assert "targets/t.toml:9: accounts" in str(caught.value)


def test_a_line_of_2046_bytes_is_the_longest() -> None:
    line = b"eve:*:1:1::0:0:%s:/:/bin/sh"
    fits = line % (b"x" * (2046 - len(line) + 2))
    assert len(fits) == 2046
    assert rendered_master(Sources(b"", b"", master=fits + b"\n"), min_uid=0) == fits + b"\n"
    with pytest.raises(TargetError, match="2047 bytes"):
        rendered_master(Sources(b"", b"", master=fits + b"x\n"), min_uid=0)


def test_root_with_another_uid_is_an_error() -> None:
    with pytest.raises(TargetError, match=r"root's line \(/etc/master\.passwd:2;.*its uid is 5, not 0"):
        render(spec(0, freebsd=True), Sources(b"", b"", master=MASTER.replace(b"hash:0:0:", b"hash:5:0:")))


def test_the_same_line_twice_counts_once() -> None:
    twice = b"eve:*:1:1::0:0:Eve:/:\n" * 2
    assert names(rendered_master(Sources(b"", b"", master=twice), min_uid=0)) == [b"eve"]


# -- pwd.db and spwd.db ------------------------------------------------------------------------------


def test_the_layout_of_a_record() -> None:
    """Byte for byte as pwd_mkdb.c puts it together: strings with NUL, integers of 32 bits, big endian."""
    line = b"alice:$6$x:1001:1002:staff:7:1900000000:A:/h:/bin/sh\n"
    strings = b"staff\0A\0/h\0/bin/sh\0"
    numbers = struct.pack(">III", 1001, 1002, 7), struct.pack(">II", 1900000000, 0x3FF)
    secure = b"alice\0$6$x\0" + numbers[0] + strings + numbers[1]
    assert list(pairs(line, secure=True)) == [
        (b"\xffVERSION", b"\4"),
        (b"\x41alice", secure),
        (b"\x42\0\0\0\1", secure),
        (b"\x43\0\0\x03\xe9", secure),
    ]
    assert next(data for key, data in pairs(line, secure=False) if key == b"\x41alice") == (
        b"alice\0*\0" + numbers[0] + strings + numbers[1]
    )


def test_legacy_adds_records_in_the_byte_order_of_the_machine() -> None:
    line = b"alice:*:1001:1002::0:0:A:/h:\n"
    found = dict(pairs(line, secure=False, legacy=True, lorder=LITTLE_ENDIAN))
    assert found[b"\x31alice"] == found[b"\x32\1\0\0\0"] == found[b"\x33\xe9\x03\0\0"]
    assert found[b"\x31alice"][8:16] == struct.pack("<II", 1001, 1002)
    assert found[b"\x41alice"][8:16] == struct.pack(">II", 1001, 1002)


def test_nis_lines_have_keys_of_their_own() -> None:
    found = dict(pairs(b"root:*:0:0::0:0:::\n+@x:::::::::\n-y:::::::::\n", secure=True))
    assert found[b"\x44"] == b"\3"
    assert found[b"\x45\0\0\0\1"] == found[b"\x42\0\0\0\2"]
    assert found[b"\x45\0\0\0\2"] == found[b"\x42\0\0\0\3"]


@pytest.mark.parametrize(
    ("name", "bit"), [(b"+", 1), (b"+@group", 0), (b"-", 1), (b"-mallory", 1), (b"alice", 1)]
)
def test_which_names_count_as_a_field(name: bytes, bit: int) -> None:
    ids = b":5:5:" if name == b"alice" else b":::"
    data = dict(pairs(name + b":" + ids + b":::::\n", secure=True))[b"\x41" + name]
    assert data[-1] & 1 == bit


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("", 0),
        ("12abc", 12),
        (" 7", 7),
        ("-1", 0xFFFFFFFF),
        ("x", 0),
        ("4294967296", 0),
        ("9" * 30, 0xFFFFFFFF),
    ],
)
def test_times_are_read_as_atol_reads_them(text: str, value: int) -> None:
    (record,) = users(Database(f"a:*:1:1::{text}:{text}:::\n".encode(), secure=True).render())
    assert (record.change, record.expire) == (value, value)


def test_what_is_written_is_read_back_in_order() -> None:
    master = rendered_master(HOST, min_uid=0, passwords=["*"])
    for secure in (False, True):
        found = users(Database(master, secure).render())
        assert [record.name for record in found] == names(master)
        assert found[3] == Record(
            name=b"alice",
            password=b"$6$alice$hash" if secure else b"*",
            uid=1001,
            gid=1001,
            change=0,
            login_class=b"staff",
            gecos=b"Alice",
            home=b"/home/alice",
            shell=b"/bin/sh",
            expire=1900000000,
            fields=0x3FF,
        )
    assert b"".join(record.line() + b"\n" for record in found) == master


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("lorder", [BIG_ENDIAN, LITTLE_ENDIAN])
def test_every_form_of_the_file_is_read_back(secure: bool, legacy: bool, lorder: int) -> None:
    master = MASTER + b"open::7:7::0:0:::\n-mallory::::::::: \n+@admins:*:9::::::/home:/bin/sh\n"
    found = users(Database(master, secure, legacy, lorder).render())
    assert [record.name for record in found] == [name for name in names(master) if name[:1] != b"#"]
    assert [record.password for record in found if record.name == b"open"] == [b"" if secure else b"*"]
    assert (found[-1].uid, found[-1].gid, found[-1].fields) == (9, 0, 0x186)


def test_of_two_names_with_one_uid_the_first_is_found_by_it() -> None:
    assert dict(parse(Database(MASTER, secure=True).render()))[b"\x43\0\0\0\0"].startswith(b"root\0")


def test_no_account_at_all_is_a_database_too() -> None:
    assert users(Database(b"", secure=True).render()) == ()


def test_a_digest_changes_with_all_that_the_file_depends_on() -> None:
    recipes = [
        Database(MASTER, secure=False),
        Database(MASTER, secure=True),
        Database(MASTER, secure=True, legacy=True),
        Database(MASTER, secure=True, legacy=True, lorder=LITTLE_ENDIAN),
        Database(MASTER + b"#", secure=False),
    ]
    assert len({recipe.digest() for recipe in recipes}) == len(recipes)
    again: Database = pickle.loads(pickle.dumps(recipes[3]))
    assert again.digest() == recipes[3].digest()
    assert again.render() == recipes[3].render()


def test_a_wrong_master_passwd_is_a_clear_error() -> None:
    with pytest.raises(Failure, match="line 2, it has 1 field, not 10"):
        Database(b"#\nrubbish\n", secure=True).render()


def test_indexes_that_contradict_each_other_are_found() -> None:
    rows = dict(pairs(MASTER, secure=True))
    rows[b"\x41alice"] = rows[b"\x41root"]
    with pytest.raises(DamagedError, match="contradict"):
        users(write(rows.items()))


def test_a_file_without_version_4_is_named_so() -> None:
    with pytest.raises(DamagedError, match="no records of version 4"):
        users(write([(b"\x31root", b"x")]))


# -- login.conf.db -----------------------------------------------------------------------------------


def test_tc_is_expanded_and_every_name_leads_to_the_record() -> None:
    text = b"# c \\\n:x\nold|new:\\\n\t:a=1:\\\n\t:tc=base:b@:\n\nbase:\\\n\t:c#2:\nold:late:\n"
    assert list(capability_pairs(text)) == [
        (b"old|new", b"\0old|new:\t:a=1:\t:\t:c#2:b@:\0"),
        (b"old", b"\2old|new"),
        (b"new", b"\2old|new"),
        (b"base", b"\0base:\t:c#2:\0"),
        (b"old|new", b"\0old|new:\t:a=1:\t:\t:c#2:b@:\0"),
        (b"old", b"\2old|new"),
        (b"new", b"\2old|new"),
    ]


def test_a_name_that_tc_does_not_find_is_marked() -> None:
    assert list(capability_pairs(b"a:tc=gone:b:\nc:tc=a:\nd:x:tc=gone\n")) == [
        (b"a", b"\1a:tc=gone:b:\0"),
        (b"c", b"\1c:tc=gone:b:\0"),
        (b"d", b"\1d:x:tc=gone\0"),
    ]


def test_tc_at_takes_back_what_follows() -> None:
    assert next(capability_pairs(b"a:tc@:tc=b:\nb:x:\n")) == (b"a", b"\0a:tc@:tc=b:\0")


def test_tc_that_leads_back_to_itself_is_an_error() -> None:
    with pytest.raises(Failure, match="nested more than 32 deep"):
        cap_mkdb(b"a:tc=b:\nb:tc=a:\n")


def test_tc_that_doubles_at_every_step_is_an_error_and_no_hang() -> None:
    text = (
        b"".join(b"r%d:tc=r%d:tc=r%d:\n" % (n, n + 1, n + 1) for n in range(30))
        + b"r30:"
        + b"x" * 99
        + b":\n"
    )
    with pytest.raises(Failure, match="larger than"):
        cap_mkdb(text)


def test_login_conf_of_freebsd_10_gives_as_many_keys_and_pages_as_cap_mkdb() -> None:
    """Nine classes, one of them with a second name: eleven keys, and 16384 bytes."""
    default = (
        b"default:\\\n" + b"".join(b"\t:k%02d=unlimited:\\\n" % n for n in range(22)) + b"\t:umask=022:\n"
    )
    classes = b"standard xuser staff daemon news dialer root".split()
    text = default + b"".join(b"%s:\\\n\t:tc=default:\n" % name for name in classes)
    made = cap_mkdb(text + b"russian|Russian Users Accounts:\\\n\t:lang=ru_RU.KOI8-R:\\\n\t:tc=default:\n")
    assert len(parse(made)) == 11
    assert len(made) == 16384


def test_a_capability_record_that_names_another_two_hundred_thousand_times() -> None:
    found = dict(capability_pairs(b"e:y:\nr:" + b"tc=e:" * 200_000 + b"x:\n"))
    assert found[b"r"] == b"\0r:" + b"y:" * 200_000 + b"x:\0"


def test_capability_records_that_are_larger_together_than_any_file() -> None:
    """Three thousand records that each take in the same large one: from 1 MB of text 2.7 GB would come."""
    text = b"b:" + b"x" * 900_000 + b":\n" + b"".join(b"r%d:tc=b:\n" % number for number in range(3000))
    with pytest.raises(
        Failure, match="cannot expand the capability records: they are larger than 67108864 bytes"
    ):
        cap_mkdb(text)
