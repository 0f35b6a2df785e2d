"""The text of targets/NAME.learned.toml."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chrootbuild.errors import TargetError
from chrootbuild.learn.learned_file import entries, merge, without
from chrootbuild.propose.model import KEYS, Proposal

FOUND = (
    Proposal("files", "/etc/mime.types", "food opens it"),
    Proposal("binaries", "/bin/sh", "food executes it"),
    Proposal("files", "/etc/hosts", "food opens it"),
    Proposal("timezone", "host", "food reads /etc/localtime"),
    Proposal("accounts.groups", "mail", "food switches to it"),
    Proposal("accounts.users", "foo", "food switches to it"),
    Proposal("directories", "/tmp", "food makes files in it", table=(("mode", "1777"),)),
    Proposal("directories", "/var/lib/foo", "food enters it"),
    Proposal("links", "/dev/stderr", "food opens it", text="/proc/self/fd/2"),
)
TEXT = """\
# Written by `chrootbuild learn`: what the service was seen to need. Read it, and commit it.

binaries = [
    "/bin/sh",  # food executes it
]

files = [
    "/etc/hosts",  # food opens it
    "/etc/mime.types",  # food opens it
]

timezone = "host"  # food reads /etc/localtime

[accounts]
users = [
    "foo",  # food switches to it
]
groups = [
    "mail",  # food switches to it
]

[directories]
"/tmp" = { mode = "1777" }  # food makes files in it
"/var/lib/foo" = {}  # food enters it

[links]
"/dev/stderr" = "/proc/self/fd/2"  # food opens it
"""


def test_the_whole_text() -> None:
    assert merge("", FOUND) == TEXT
    assert tomllib.loads(TEXT)["accounts"] == {"users": ["foo"], "groups": ["mail"]}


def test_a_second_run_changes_nothing() -> None:
    """Whatever the order, and whatever reason it finds then."""
    again = [Proposal(p.key, p.value, "bar opens it", table=p.table, text=p.text) for p in reversed(FOUND)]
    assert merge(TEXT, again) == TEXT
    assert merge(TEXT, ()) == TEXT


def test_new_entries_are_sorted_in() -> None:
    text = merge(
        TEXT, [Proposal("files", "/etc/host.x", "bar opens it"), Proposal("mounts", "/proc", "bar reads it")]
    )
    assert text == TEXT.replace(
        '    "/etc/hosts"', '    "/etc/host.x",  # bar opens it\n    "/etc/hosts"'
    ).replace("\n[accounts]", '\nmounts = [\n    "/proc",  # bar reads it\n]\n\n[accounts]')


def test_people_s_own_words_stay() -> None:
    """Comments behind an entry, lines above one, and the head of the file."""
    text = "# ours\n# two lines\n\n" + TEXT.partition("\n\n")[2].replace(
        '    "/etc/hosts",  # food opens it\n',
        '    # the list of\n    # names\n    "/etc/hosts",  # reviewed: "#1" ok\n',
    )
    assert merge(text, FOUND) == text
    assert merge(text, [Proposal("devices", "null", "x")]).startswith("# ours\n# two lines\n\nbinaries")


def test_another_layout_is_read_and_put_in_order() -> None:
    text = 'files = ["/b", "/a", { path = "/c", mode = "0640" }]\n[accounts]\nusers = ["x"]\n'
    put = merge(text, ())
    assert tomllib.loads(put) == {
        "files": ["/a", "/b", {"path": "/c", "mode": "0640"}],
        "accounts": {"users": ["x"]},
    }
    assert merge(put, ()) == put


def test_an_entry_for_a_directory_that_is_there_keeps_its_settings() -> None:
    text = merge("", [Proposal("directories", "/var/x", "a", table=(("mode", "0700"),))])
    assert merge(text, [Proposal("directories", "/var/x", "b")]) == text


def test_a_time_zone_that_was_chosen_stays() -> None:
    text = 'timezone = "Asia/Tokyo"\n'
    assert tomllib.loads(merge(text, [Proposal("timezone", "host", "x")])) == {"timezone": "Asia/Tokyo"}


def test_dropping_entries() -> None:
    text = without(TEXT, lambda entry: entry.key == "files" and entry.name == "/etc/hosts")
    assert text == TEXT.replace('    "/etc/hosts",  # food opens it\n', "")
    assert tomllib.loads(without(TEXT, lambda _: True)) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files = [", "cannot read x: "),
        ('exclude = ["/a"]\n', "cannot edit x: learn does not write the key exclude"),
        ("[accounts]\nmin_uid = 0\n", "cannot edit x: learn does not write the key accounts"),
        ('files = "/a"\n', "cannot edit x: learn does not write the key files"),
    ],
)
def test_what_is_not_ours_is_never_lost(text: str, message: str) -> None:
    with pytest.raises(TargetError) as error:
        merge(text, (), "x")
    assert error.value.message.startswith(message)
    assert error.value.hint


def test_a_reason_cannot_add_lines() -> None:
    """A program's name comes from a trace, which anybody may have written."""
    text = merge("", [Proposal("files", "/a", 'x\n[build]\ntemporary = ["/evil"]\r\u2028y' + "z" * 200)])
    assert tomllib.loads(text) == {"files": ["/a"]}
    assert len(text.splitlines()) == 5


_PATHS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).map(lambda text: f"/{text}")
_PROPOSALS = st.lists(
    st.builds(
        Proposal,
        st.sampled_from([key for key in KEYS if key not in ("timezone", "links")]),
        _PATHS,
        st.text(max_size=40),
    ),
    max_size=20,
)


@given(_PROPOSALS, _PROPOSALS)
def test_any_names_and_reasons_survive(first: list[Proposal], second: list[Proposal]) -> None:
    """Valid TOML with the same values, and stable."""
    text = merge(merge("", first), second)
    table = tomllib.loads(text)
    wanted = {(proposal.key, proposal.value) for proposal in [*first, *second]}
    assert {(entry.key, entry.name) for entry in entries(text)} == wanted
    assert set(table.get("files", [])) == {value for key, value in wanted if key == "files"}
    assert merge(text, [*second, *first]) == text


@pytest.mark.parametrize(
    "text",
    [
        f"files = [{'1' * 5000}]",  # Python refuses to make a number of so many digits,
        f"files = [0x{'f' * 5000}]",  # and to show one
        f"files = {'[' * 5000}",
    ],
)
def test_what_python_refuses_is_an_error_of_the_file(text: str) -> None:
    with pytest.raises(TargetError, match="cannot read the learned file: "):
        entries(text)


def test_accounts_that_are_no_lists_are_not_of_our_writing() -> None:
    with pytest.raises(TargetError, match="learn does not write the key accounts"):
        entries("accounts = { users = 5 }")


@pytest.mark.parametrize("key", ["users", "groups"])
def test_a_list_that_no_target_has_is_refused_and_not_lost(key: str) -> None:
    with pytest.raises(TargetError, match=f"learn does not write the key {key}"):
        entries(f'{key} = ["foo"]\n')
