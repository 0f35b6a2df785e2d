"""Dynamic string tokens: $ORIGIN, $LIB, $PLATFORM and FreeBSD's, as ld.so(8) and rtld(1) replace them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["expand", "uses"]

# glibc takes $NAME only if no letter, digit or underscore follows.
_GNU = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM))(?![A-Za-z0-9_])")
_MOST = 64  # combinations of alternatives
_LONGEST = 4096  # characters: no path is longer, and a hostile file may have thousands of tokens


def uses(text: str, token: str) -> bool:
    """Return whether the text has this token, as glibc parses it."""
    return any(token in match.groups() for match in _GNU.finditer(text))


def expand(text: str, values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the text with glibc's tokens replaced, one per alternative value, best first.

    Empty for a token without a value, since glibc drops such an element, and for a text longer
    than a path can be.
    """
    if "$" not in text:
        return (text,)
    texts = [""]
    end = 0
    for match in _GNU.finditer(text):
        before = text[end : match.start()]
        choices = values.get(match[1] or match[2], ())
        texts = [head + before + choice for head in texts for choice in choices if len(head) < _LONGEST][
            :_MOST
        ]
        end = match.end()
    return tuple(head + text[end:] for head in texts)
