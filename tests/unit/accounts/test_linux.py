"""[accounts] with format "linux": who is kept, what the lines look like, where hashes go."""

from __future__ import annotations

import pytest

from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from chrootbuild.errors import TargetError
from tests.support.accounts_samples import GROUP, PASSWD, SHADOW, names, spec

HOST = Sources(PASSWD, GROUP, shadow=SHADOW)


def test_min_uid_keeps_ordinary_users_and_not_nobody() -> None:
    made = render(spec(1000), HOST)
    assert made.passwd == (
        b"alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\nbob:x:1001:100:Bob:/home/bob:/bin/zsh\n"
    )
    assert made.shadow is None
    assert made.master is None
    assert made.warnings == ()


def test_nobody_is_kept_by_name() -> None:
    assert names(render(spec(1000, users=["nobody"]), HOST).passwd) == [b"alice", b"bob", b"nobody"]


def test_min_uid_0_keeps_every_account() -> None:
    made = render(spec(0), HOST)
    assert made.passwd == PASSWD
    assert made.group == GROUP.replace(b"bob,carol,alice", b"bob,alice")


def test_without_min_uid_only_those_named_are_kept() -> None:
    made = render(spec(users=["www-data"]), HOST)
    assert made.passwd == b"www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
    assert made.group == b"www-data:x:33:\n"


def test_groups_are_the_primary_ones_and_those_that_list_a_kept_user_cut_to_kept_users() -> None:
    made = render(spec(users=["alice"]), HOST)
    assert made.group == b"www-data:x:33:alice\nstaff:x:50:alice\nalice:x:1000:\n"


def test_of_two_groups_with_one_gid_the_first_is_the_primary_one() -> None:
    host = Sources(PASSWD, b"first:x:1000:\nalice:x:1000:\n")
    assert names(render(spec(users=["alice"]), host).group) == [b"first"]


def test_an_extra_group_may_be_the_primary_one() -> None:
    made = render(spec(users=["bob"], extra_groups=["people:x:100:"]), HOST)
    assert made.group == b"staff:x:50:bob\npeople:x:100:\n"


def test_a_group_is_kept_by_name() -> None:
    assert names(render(spec(groups=["tty"]), HOST).group) == [b"tty"]


def test_nothing_asked_for_gives_empty_files() -> None:
    assert render(spec(), HOST).passwd == b""
    assert render(spec(), HOST).group == b""


def test_an_extra_line_stands_at_the_end_and_keeps_its_primary_group() -> None:
    made = render(
        spec(
            users=["alice"], extra=["ct:x:4242:100::/home/ct:/bin/sh"], extra_groups=["ct:x:4242:ct,ghost"]
        ),
        HOST,
    )
    assert made.passwd.splitlines()[-1] == b"ct:x:4242:100::/home/ct:/bin/sh"
    assert names(made.group) == [b"www-data", b"users", b"staff", b"alice", b"ct"]
    assert made.group.splitlines()[-1] == b"ct:x:4242:ct,ghost"


def test_an_extra_line_takes_the_place_of_the_hosts() -> None:
    made = render(spec(1000, extra=["alice:x:1000:1000::/srv:/bin/false"]), HOST)
    assert [line for line in made.passwd.splitlines() if line.startswith(b"alice:")] == [
        b"alice:x:1000:1000::/srv:/bin/false"
    ]


def test_a_user_named_may_be_an_extra_one() -> None:
    made = render(spec(users=["ct"], extra=["ct:x:4242:4242::/home/ct:/bin/sh"]), HOST)
    assert names(made.passwd) == [b"ct"]


def test_roots_line_comes_first() -> None:
    moved = b"".join(sorted(PASSWD.splitlines(keepends=True)))
    assert names(moved)[0] != b"root"
    assert names(render(spec(0), Sources(moved, GROUP)).passwd)[0] == b"root"


def test_the_same_extra_line_twice_counts_once() -> None:
    line = "ct:x:4242:4242::/home/ct:/bin/sh"
    assert names(render(spec(extra=[line, line]), HOST).passwd) == [b"ct"]


# -- passwords -----------------------------------------------------------------------------------


def test_a_hash_in_passwd_itself_never_goes_through() -> None:
    old = PASSWD.replace(b"alice:x:", b"alice:$1$old$hash:").replace(b"bob:x:", b"bob::")
    made = render(spec(0), Sources(old, GROUP.replace(b"staff:x:", b"staff:$1$group:")))
    assert made.passwd == PASSWD
    assert b"$1$" not in made.group


def test_an_extra_line_with_a_hash_has_x_in_passwd() -> None:
    made = render(spec(extra=["ct:$6$own$hash:4242:4242::/home/ct:/bin/sh"]), HOST)
    assert made.passwd == b"ct:x:4242:4242::/home/ct:/bin/sh\n"
    assert made.shadow is None


def test_the_user_named_has_the_hosts_line_and_all_others_a_locked_one() -> None:
    made = render(spec(0, passwords=["root"]), HOST)
    assert made.shadow is not None
    rows = dict(zip(names(made.shadow), made.shadow.splitlines(), strict=True))
    assert rows[b"root"] == b"root:$6$root$hash:19500:0:99999:7:::"
    assert rows[b"www-data"] == b"www-data:*:19000:0:99999:7:::"
    assert list(rows) == names(made.passwd)
    assert b"$6$alice" not in made.shadow
    assert b"$6$bob" not in made.shadow


def test_a_locked_or_expiring_account_stays_so_for_keys_too() -> None:
    """sshd takes "!" for locked and heeds the day of expiry, also where a key is used."""
    made = render(spec(1000, users=["root"], passwords=["root"]), HOST)
    assert made.shadow is not None
    assert b"bob:!:19000:0:99999:7:::\n" in made.shadow
    assert b"alice:*:19000:0:99999:7::20500:\n" in made.shadow


def test_a_star_means_every_account_kept() -> None:
    made = render(spec(1000, passwords=["*"], extra=["ct:x:4242:4242::/:/bin/sh"]), HOST)
    assert made.shadow == (
        b"alice:$6$alice$hash:19700:0:99999:7::20500:\n"
        b"bob:!$6$bob$hash:19700:0:99999:7:::\n"
        b"ct:*:19000:0:99999:7:::\n"
    )


def test_an_extra_user_named_in_passwords_has_the_hash_of_its_line() -> None:
    made = render(
        spec(extra=["ct:$6$own$hash:4242:4242::/:/bin/sh"], passwords=["ct"]), Sources(PASSWD, GROUP)
    )
    assert made.shadow == b"ct:$6$own$hash:19000:0:99999:7:::\n"


def test_an_old_system_without_shadow_has_the_hash_in_passwd() -> None:
    old = PASSWD.replace(b"alice:x:", b"alice:$1$old$hash:")
    made = render(spec(users=["alice"], passwords=["alice"]), Sources(old, GROUP))
    assert made.passwd.startswith(b"alice:x:")
    assert made.shadow == b"alice:$1$old$hash:19000:0:99999:7:::\n"


def test_an_empty_password_field_never_becomes_an_open_account() -> None:
    old = PASSWD.replace(b"alice:x:", b"alice::")
    made = render(spec(users=["alice"], passwords=["alice"]), Sources(old, GROUP, shadow=b""))
    assert made.shadow == b"alice:*:19000:0:99999:7:::\n"


def test_an_empty_hash_of_shadow_is_told() -> None:
    made = render(
        spec(users=["alice"], passwords=["alice"]), Sources(PASSWD, GROUP, shadow=b"alice::1:0:99999:7:::\n")
    )
    assert made.warnings == ("/etc/shadow: the password of alice is empty",)


def test_no_shadow_where_nobody_kept_is_named() -> None:
    assert render(spec(users=["bob"], passwords=["alice"]), HOST).shadow is None
    assert render(spec(passwords=["*"]), HOST).shadow is None


def test_a_hash_asked_for_where_shadow_cannot_be_read_is_an_error() -> None:
    with pytest.raises(TargetError) as caught:
        render(spec(users=["alice"], passwords=["alice"]), Sources(PASSWD, GROUP))
    assert str(caught.value) == (
        "cannot take the password of alice: /etc/shadow cannot be read "
        "(targets/t.toml:10: accounts.passwords)\n"
        "hint: build as root, or leave the user out of passwords"
    )


def test_a_damaged_shadow_line_locks_the_account_and_is_told() -> None:
    made = render(
        spec(users=["alice"], passwords=["alice"]), Sources(PASSWD, GROUP, shadow=b"alice:$6$cut\n")
    )
    assert made.shadow == b"alice:*:19000:0:99999:7:::\n"
    assert made.warnings == ()  # nothing on a line of two fields can be taken for a name
    made = render(
        spec(users=["alice"], passwords=["alice"]), Sources(PASSWD, GROUP, shadow=b"alice:$6$cut:1:2\n")
    )
    assert made.warnings == ("/etc/shadow:1: line of alice skipped: it has 4 fields, not 9",)


# -- what a host's file may hold -------------------------------------------------------------------


def test_comments_blank_lines_and_nis_lines_are_left_out() -> None:
    odd = (
        b"# comment\n\n   \t\n  # another:x:1000:1000:::\n"
        + PASSWD
        + b"+@admins::::::\n-mallory::::::\n+::::::\n"
    )
    made = render(spec(0), Sources(odd, b"#c\n\n" + GROUP + b"+:::\n+\n"))
    assert made.passwd == PASSWD
    assert b"+" not in made.group
    assert made.warnings == ()


def test_malformed_lines_are_skipped_and_told_without_their_content() -> None:
    odd = (
        PASSWD
        + b"$6$astrayhash\n"
        + b"short:x:1002:1002:secret words:/home\n"
        + b"letters:x:abc:1002:::\n"
        + b"negative:x:-5:1002:::\n"
        + b"huge:x:4294967295:1:::\n"
        + b":x:1002:1002:::\n"
        + b"nul\0:x:1002:1002:::\n"
        + b"long:x:1002:1002:::/bin/sh:more\n"
    )
    made = render(spec(1000), Sources(odd, GROUP + b"g:x:y:\ng:x\n"))
    assert names(made.passwd) == [b"alice", b"bob"]
    assert made.warnings == (
        "/etc/passwd:7: line skipped: it has 1 field, not 7",
        "/etc/passwd:8: line of short skipped: it has 6 fields, not 7",
        "/etc/passwd:9: line of letters skipped: its uid is no number from 0 to 4294967294",
        "/etc/passwd:10: line of negative skipped: its uid is no number from 0 to 4294967294",
        "/etc/passwd:11: line of huge skipped: its uid is no number from 0 to 4294967294",
        "/etc/passwd:12: line skipped: it has no name",
        "/etc/passwd:13: line of nul\\x00 skipped: it has a NUL byte",
        "/etc/passwd:14: line of long skipped: it has 8 fields, not 7",
        "/etc/group:9: line of g skipped: its gid is no number from 0 to 4294967294",
        "/etc/group:10: line skipped: it has 2 fields, not 4",
    )


def test_crlf_and_a_missing_last_newline() -> None:
    dos = PASSWD.replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    assert render(spec(0), Sources(dos, GROUP.replace(b"\n", b"\r\n"))).passwd == PASSWD


def test_a_gecos_in_any_encoding_is_kept_byte_for_byte() -> None:
    gecos = "廣瀬雄二 Jürgen".encode() + b" \xff\xfe \xb9\xad"
    odd = PASSWD.replace(b"Alice,,,", gecos)
    assert render(spec(0), Sources(odd, GROUP)).passwd == odd


def test_of_two_lines_with_one_name_the_first_is_the_account() -> None:
    odd = b"alice:x:500:500::/old:/bin/sh\n" + PASSWD
    assert names(render(spec(1000), Sources(odd, GROUP)).passwd) == [b"bob"]
    assert render(spec(users=["alice"]), Sources(odd, GROUP)).passwd == b"alice:x:500:500::/old:/bin/sh\n"


def test_two_names_with_one_uid_are_both_kept_in_order() -> None:
    odd = PASSWD + b"alias:x:1000:1000::/home/alice:/bin/sh\n"
    assert names(render(spec(1000), Sources(odd, GROUP)).passwd) == [b"alice", b"bob", b"alias"]


def test_spaces_around_group_members_are_no_part_of_the_name() -> None:
    made = render(spec(users=["alice"]), Sources(PASSWD, b"g:x:7: alice ,,bob\nalice:x:1000:\n"))
    assert made.group == b"g:x:7:alice\nalice:x:1000:\n"


# -- errors ------------------------------------------------------------------------------------------


def test_an_unknown_user_gets_did_you_mean() -> None:
    with pytest.raises(TargetError) as caught:
        render(spec(users=["alcie"]), HOST)
    assert str(caught.value) == (
        "cannot find the user alcie in /etc/passwd (targets/t.toml:10: accounts.users)\n"
        "hint: did you mean alice?"
    )


def test_an_unknown_group_gets_did_you_mean() -> None:
    with pytest.raises(TargetError, match=r"the group stafff in /etc/group .*accounts\.groups.*\n.*staff\?"):
        render(spec(groups=["stafff"]), HOST)


def test_an_unknown_name_in_passwords_is_an_error() -> None:
    with pytest.raises(TargetError, match=r"the user alcie: .*accounts\.passwords.*\n.*alice\?"):
        render(spec(0, passwords=["alcie"]), HOST)


def test_a_user_on_a_malformed_line_is_an_error_that_names_the_line() -> None:
    with pytest.raises(TargetError, match="line 7 of /etc/passwd is wrong, it has 6 fields, not 7"):
        render(spec(users=["eve"]), Sources(PASSWD + b"eve:x:1:1::/\n", GROUP))


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("ct:x:4242", "it has 3 fields, not 7"),
        ("ct:x:a:1:::", "its uid is no number"),
        ("ct:x:1:b:::", "its gid is no number"),
        (":x:1:1:::", "it has no name"),
        ("c/t:x:1:1:::", "its name starts with"),
        ("+ct:x:1:1:::", "its name starts with"),
        ("ct:x:1:1::/:/bin/sh\nroot2:x:0:0::/:/bin/sh", "it has 13 fields, not 7"),
        ("ct:x:1:1:a\nb:/:/bin/sh", "it has a control character"),
        ("ct:x:1:1::0:0::/:/bin/sh", "it has 10 fields, not 7"),
    ],
)
def test_a_wrong_extra_line_is_an_error_with_its_place(line: str, fact: str) -> None:
    with pytest.raises(TargetError) as caught:
        render(spec(extra=[line]), HOST)
    assert fact in caught.value.message
    assert "(targets/t.toml:10: accounts.extra)" in caught.value.message
    assert caught.value.hint == "the form is name:x:uid:gid:gecos:home:shell"


def test_a_wrong_extra_group_is_an_error_with_its_place() -> None:
    with pytest.raises(
        TargetError, match=r"it has 2 fields, not 4 \(targets/t.toml:10: accounts.extra_groups\)"
    ):
        render(spec(extra_groups=["g:x"]), HOST)


def test_two_extra_lines_of_one_name_that_differ_are_an_error() -> None:
    with pytest.raises(TargetError, match=r"the user ct twice: .*t\.toml:10.*t\.toml:11"):
        render(spec(extra=["ct:x:1:1:::", "ct:x:2:2:::"]), HOST)
