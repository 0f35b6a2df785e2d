"""Which program wrote a text."""

from __future__ import annotations

import pytest

from chrootbuild.errors import Failure
from chrootbuild.trace.open import detect
from tests.support.trace_sysroot import SAMPLES


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_every_sample(path: object) -> None:
    name = str(path).rpartition("/")[2]
    tracer = "strace" if name.endswith(".strace") else name.partition("-")[0]
    with open(str(path), "rb") as file:
        assert detect(file.read(), name) == tracer


def test_a_trace_below_other_words() -> None:
    """The program's own output comes first, or between."""
    words = "Starting foo...\n" * 20
    assert detect(words + '[pid 12] openat(AT_FDCWD, "/a", O_RDONLY) = 3\n') == "strace"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("hello\nworld\n", "it is no text of strace, kdump or truss"),
        ("int main(void) { return f(1); }\n", "it is no text of strace, kdump or truss"),
    ],
)
def test_none(text: str, fact: str) -> None:
    with pytest.raises(Failure) as error:
        detect(text, "x.txt")
    assert error.value.message == f"cannot read x.txt: {fact}"
    assert "strace -f -y -o FILE" in error.value.hint


def test_a_binary_ktrace_out() -> None:
    """ktrace's own file: a header of numbers; kdump makes text of it."""
    data = b"\x1c\0\0\0\x03\0\0\0\x70\0\0\0date" + b"\0" * 60
    with pytest.raises(Failure, match="it is binary") as error:
        detect(data, "ktrace.out")
    assert "kdump" in error.value.hint
