"""Dynamic string tokens as glibc replaces them."""

from __future__ import annotations

import pytest

from chrootbuild.rtld.search import expand, uses

VALUES = {"ORIGIN": ("/o",), "LIB": ("lib/t",), "PLATFORM": ("v3", "v2")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/plain", ("/plain",)),
        ("", ("",)),
        ("$ORIGIN/x", ("/o/x",)),
        ("${ORIGIN}x", ("${ORIGIN}x",)),  # glibc looks at what follows the brace as well
        ("${ORIGIN}/x", ("/o/x",)),
        ("$ORIGINx", ("$ORIGINx",)),
        ("$ORIGIN_", ("$ORIGIN_",)),
        ("$ORIGIN.", ("/o.",)),
        ("$ORIGIN/$LIB/${LIB}", ("/o/lib/t/lib/t",)),
        ("/x/$PLATFORM", ("/x/v3", "/x/v2")),
        ("$UNKNOWN/$", ("$UNKNOWN/$",)),
        ("${ORIGIN", ("${ORIGIN",)),
    ],
)
def test_expansion(text: str, expected: tuple[str, ...]) -> None:
    assert expand(text, VALUES) == expected


def test_a_token_without_a_value_gives_no_text() -> None:
    assert expand("/x/$PLATFORM", {"ORIGIN": ("/o",)}) == ()


def test_many_alternatives_are_bounded() -> None:
    assert len(expand("$PLATFORM/" * 40, VALUES)) <= 64


def test_use_of_a_token() -> None:
    assert [uses(text, "ORIGIN") for text in ("$ORIGIN/x", "${ORIGIN}", "$LIB", "$ORIGINS")] == [
        True,
        True,
        False,
        False,
    ]
