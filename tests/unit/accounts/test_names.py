"""Names into numbers and back."""

from __future__ import annotations

import pytest

from chrootbuild.accounts.names import Names, UnknownNameError
from chrootbuild.accounts.select import Sources
from chrootbuild.artifact import Origin
from chrootbuild.errors import TargetError
from tests.support.accounts_samples import GROUP, MASTER, PASSWD, spec

ORIGIN = Origin("targets/t.toml", "directories./srv", 7)


def test_names_and_numbers() -> None:
    names = Names(Sources(PASSWD, GROUP))
    assert (names.uid("alice"), names.gid("staff"), names.group_of("bob")) == (1000, 50, 100)
    assert (names.uid("4242"), names.gid("0"), names.group_of("1001")) == (4242, 0, 100)
    assert (names.user_of(33), names.group_name(5)) == ("www-data", "tty")
    assert (names.user_of(4242), names.group_name(4242)) == (None, None)


def test_the_extra_lines_win() -> None:
    extra = ["alice:x:7:8:::", "new:x:9:8:::"]
    names = Names(Sources(PASSWD, GROUP), spec(extra=extra, extra_groups=["staff:x:8:", "more:x:100:"]))
    assert (names.uid("alice"), names.group_of("alice"), names.uid("new")) == (7, 8, 9)
    assert (names.gid("staff"), names.group_name(100), names.user_of(1000)) == (8, "more", None)


def test_master_passwd_is_taken_where_it_is_given() -> None:
    names = Names(Sources(PASSWD, GROUP, master=MASTER))
    assert (names.uid("toor"), names.uid("alice"), names.user_of(0)) == (0, 1001, "root")
    with pytest.raises(UnknownNameError, match=r"www-data in /etc/master\.passwd"):
        names.uid("www-data")


def test_an_unknown_name_gets_did_you_mean_and_its_place() -> None:
    names = Names(Sources(PASSWD, GROUP))
    with pytest.raises(UnknownNameError) as caught:
        names.gid("stuff", ORIGIN)
    assert str(caught.value) == (
        "cannot find the group stuff in /etc/group (targets/t.toml:7: directories./srv)\n"
        "hint: did you mean staff?"
    )
    with pytest.raises(UnknownNameError, match=r"goes into accounts\.extra$"):
        names.uid("zzz")
    with pytest.raises(UnknownNameError, match="the user 77 in"):
        names.group_of("77")


@pytest.mark.parametrize("number", ["4294967295", "4294967296", "9" * 5000])
def test_a_number_that_is_no_id_is_an_error(number: str) -> None:
    with pytest.raises(UnknownNameError, match="larger than 4294967294"):
        Names(Sources(PASSWD, GROUP)).uid(number)


def test_the_first_of_two_lines_wins_as_for_libc() -> None:
    names = Names(Sources(b"a:x:5:1:::\na:x:6:1:::\nb:x:5:1:::\n+::::::\n", b""))
    assert (names.uid("a"), names.user_of(5), names.user_of(6)) == (5, "a", None)


def test_damaged_lines_have_no_names_and_a_wrong_extra_line_is_an_error() -> None:
    with pytest.raises(UnknownNameError):
        Names(Sources(b"a:x:b\n", b"")).uid("a")
    with pytest.raises(TargetError, match=r"accounts\.extra"):
        Names(Sources(PASSWD, GROUP), spec(extra=["rubbish"]))


def test_names_that_are_no_utf8_go_there_and_back() -> None:
    names = Names(Sources(b"\xff\xfe:x:5:6:::\n", b"\xb9\xad:x:6:\n"))
    user, group = names.user_of(5), names.group_name(6)
    assert user is not None
    assert group is not None
    assert (names.uid(user), names.gid(group), names.group_of(user)) == (5, 6, 6)
