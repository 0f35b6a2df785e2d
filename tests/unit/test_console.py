"""Tables, and the words of a bar."""

from __future__ import annotations

import pytest

from chrootbuild.console import _fitting, error, table


def test_columns_are_aligned_and_the_last_is_not_filled() -> None:
    rows = [("replace", "/usr/lib/x", "content differs"), ("remove", "/y", "")]
    assert table(rows) == ["  replace  /usr/lib/x  content differs", "  remove   /y"]


def test_an_empty_column_is_left_out_and_a_long_cell_moves_its_own_line_alone() -> None:
    assert table([("note", "", "fact")]) == ["  note     fact"]
    assert table([]) == []
    long, short = table([("keep", "/" + "x" * 70, "a"), ("keep", "/y", "b")], indent="")
    assert long.endswith("x  a")
    assert short == f"keep     /y{' ' * 58}  b"


def test_nothing_in_a_cell_moves_the_cursor() -> None:
    assert table([("add", "a\x1b[2J\nb", "")]) == ["  add      a\\x1b[2J\\nb"]


def test_of_a_path_the_end_is_shown_and_of_words_the_start() -> None:
    assert _fitting("/usr/lib/libc.so.6", 12) == "...libc.so.6"
    assert _fitting("waiting until it is ready", 10) == "waiting..."
    assert _fitting("/usr", 3) == ""


def test_an_error_is_red_on_a_terminal_alone(capsys: pytest.CaptureFixture[str]) -> None:
    error("cannot \udcff")
    assert capsys.readouterr().err == "error: cannot \\udcff\n"
