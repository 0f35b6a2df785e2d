"""Words quoted for the host's files, read back by the programs that read them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.errors import Failure
from chrootbuild.hostside import quoting

WORDS = [
    *("plain", "", "two words", "it's", '"quoted"', "$HOME", "`id`", "a\\b", "100%", "\\", "-n", "*", "~"),
    *("a;b", "a#b", "#", "tab\there", "caf\u00e9", "x=y", "!", "a&b", "\\%", "%%"),
]


def sh_reads(command: str) -> list[str]:
    """Return the words that the shell makes of a command."""
    script = f'p() {{ for w in "$@"; do printf \'%s\\0\' "$w"; done; }}\np {command}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_the_shell_reads_every_word_back() -> None:
    assert sh_reads(quoting.sh_words(WORDS)) == WORDS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=12), max_size=4))
def test_the_shell_reads_any_words_back(words: list[str]) -> None:
    assert sh_reads(quoting.sh_words(words)) == words


def test_a_word_for_the_shell_has_no_double_quote_of_its_own() -> None:
    assert '"' not in quoting.sh("it's $x")


def test_a_plain_word_stays_as_it_is() -> None:
    assert quoting.sh("/usr/sbin/nginx") == "/usr/sbin/nginx"


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x1b[0m", "a\x7f"])
def test_no_line_of_a_file_holds_a_control_character(text: str) -> None:
    with pytest.raises(Failure, match="it has a control character"):
        quoting.plain(text, "/etc/fstab")


# -- crontab(5): what cron does to a line before the shell sees it; the real daemon is in integration/


def cron_reads(line: str) -> str:
    """Undo what cron undoes: a backslash before % goes, and an unescaped % ends the command."""
    out, at = "", 0
    while at < len(line) and line[at] != "%":
        at += line.startswith("\\%", at)
        out += line[at]
        at += 1
    return out


def test_a_percent_sign_reaches_the_program_that_cron_starts() -> None:
    words = ["/opt/100% x/it's", "%", "a%b%%"]
    assert sh_reads(cron_reads(quoting.cron_command(words))) == words


def test_a_backslash_in_a_crontab_is_refused() -> None:
    with pytest.raises(Failure, match="it has a backslash") as caught:
        quoting.cron_command(["/opt/a\\b"])
    assert "schedule systemd" in str(caught.value)


# -- fstab, as libmount reads it


@pytest.mark.skipif(shutil.which("findmnt") is None, reason="needs findmnt")
@pytest.mark.parametrize("path", ["/a b", "/a\tb", "/a\\b", "/a#b", "/caf\u00e9", '/it\'s "x"', "/a\\040b"])
def test_libmount_reads_every_path_of_fstab_back(tmp_path: Path, path: str) -> None:
    table = tmp_path / "fstab"
    table.write_text(f"proc {quoting.fstab_field(path)} proc defaults 0 0\n", "utf-8")
    done = subprocess.run(
        ["findmnt", "--tab-file", str(table), "--noheadings", "--json", "--output", "TARGET"],
        capture_output=True,
        check=True,
        text=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert json.loads(done.stdout)["filesystems"][0]["target"] == path


# -- apt's configuration


@pytest.mark.parametrize("word", [word for word in WORDS if word])
def test_a_hook_of_apt_means_the_same_to_the_shell_and_holds_no_double_quote(word: str) -> None:
    command = f"printf '%s' {quoting.sh(word)}"
    string = quoting.apt_string(command)
    assert string[0] == string[-1] == '"'
    assert '"' not in string[1:-1]
    done = subprocess.run(["sh", "-c", string[1:-1]], capture_output=True, check=True)
    assert done.stdout.decode() == word


# -- names of units


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="needs systemd-escape")
@pytest.mark.parametrize(
    "path", ["/", "/opt/r/dev/log", "//opt//r/", "/a b-c", "/.x", "/caf\u00e9:_", "/a\\b", "/x/.y"]
)
def test_a_unit_is_named_as_systemd_names_it(path: str) -> None:
    done = subprocess.run(["systemd-escape", "--path", path], capture_output=True, check=True, text=True)
    assert quoting.unit_name(path) == done.stdout.removesuffix("\n")


# -- jail.conf(5), by the rules of its lexer: \C is C, and $ begins a variable


@pytest.mark.parametrize("text", ["/opt/r", 'a"b', "a\\b", "$HOME ${x}", "it's"])
def test_a_string_of_jail_conf_has_no_variable_and_no_early_end(text: str) -> None:
    inside = quoting.jail_string(text)[1:-1]
    out, at = "", 0
    while at < len(inside):
        assert inside[at] not in '"$'
        at += inside[at] == "\\"
        out += inside[at]
        at += 1
    assert out == text
