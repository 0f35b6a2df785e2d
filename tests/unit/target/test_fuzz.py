"""Whatever stands in a target file: a Target, or a TargetError that names the file; never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.errors import TargetError
from chrootbuild.target.reader import read_targets
from chrootbuild.target.schema import TargetFile
from tests.support.target_project import project

KEYS = [
    *TargetFile.__struct_fields__,
    *(
        "path",
        "owner",
        "group",
        "mode",
        "name",
        "char",
        "block",
        "content",
        "min_uid",
        "users",
        "groups",
        "extra",
    ),
    *(
        "extra_groups",
        "format",
        "passwords",
        "legacy",
        "temporary",
        "socket",
        "wrapper",
        "restart",
        "prepare",
        "run",
    ),
    *(
        "service",
        "argv",
        "stdout",
        "env",
        "start",
        "user",
        "ready",
        "probe",
        "stop_signal",
        "timeout",
        "limits",
        "processes",
        "ignore",
    ),
    *("/etc/passwd", "/tmp", "/", "relative", "a b", "", "\0", "ü"),
]
WORDS = [
    *(
        "/etc/passwd",
        "/tmp/",
        "/a/../b",
        "/etc/*.conf",
        "/[",
        "sh",
        "",
        " ",
        "host",
        "linux",
        "freebsd",
        "null",
    ),
    *(
        "1:3",
        "4096:1",
        "0640",
        "1777",
        "999",
        "root",
        "a:b",
        "*",
        "tcp:[::1]:1",
        "unix:/x",
        "tcp:",
        "TERM",
        "(",
    ),
    *("u:x:1:1::/:/bin/sh", "a:b", "a::", "g:x:1:", "x" * 300, "a\nb", "\0", "é", "tls", "loop", "../x"),
]


def check(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = read_targets(project(Path(folder), {**files, "other.toml": ""}))
    assert "other" in found.targets or 'root = "build' in files["x.toml"] or "other" in found.failures
    assert ("x" in found.targets) != ("x" in found.failures)
    for failure in found.failures.values():
        assert type(failure) is TargetError
        assert "targets/" in failure.message
        assert "\0" not in str(failure)
        assert "Expected" not in failure.message  # no words of the library


def toml(value: object) -> str:
    """Write a value as TOML: by tables in line, strings escaped in full."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml(key)} = {toml(inner)}' for key, inner in value.items())} }}"
    return repr(value)


TEXT = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.sampled_from(KEYS) | st.text(st.characters(codec="utf-8"), max_size=4)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
@settings(deadline=None)
def test_any_values_under_any_keys(data: dict[str, object]) -> None:
    check({"x.toml": "".join(f"{toml(key)} = {toml(value)}\n" for key, value in data.items())})


# Values of about the right shape reach deeper than any values do.
PATHS = st.sampled_from([word for word in WORDS if word.startswith("/")])
MODES = st.sampled_from(["0640", "1777", "999", "é"]) | st.integers(0, 2000)
ENTRY = st.fixed_dictionaries({"path": PATHS}, optional={"owner": TEXT, "mode": MODES})
NODE = st.fixed_dictionaries({"name": TEXT}, optional={"char": TEXT, "block": TEXT, "mode": MODES})
ARGV = st.lists(TEXT, max_size=2)
RUN = st.fixed_dictionaries({"argv": ARGV}, optional={"stdout": TEXT, "env": st.dictionaries(TEXT, TEXT)})
SERVICE = st.fixed_dictionaries(
    {},
    optional={
        "start": ARGV,
        "user": TEXT,
        "ready": TEXT,
        "probe": st.lists(TEXT | ARGV),
        "stop_signal": TEXT,
    }
    | {"timeout": st.floats() | st.integers()},
)
TARGET = st.fixed_dictionaries(
    {},
    optional={
        "summary": TEXT,
        "root": TEXT,
        "sysroot": TEXT,
        "os": TEXT,
        "include": st.lists(TEXT, max_size=2),
        "timezone": TEXT,
        "devices": st.lists(TEXT | NODE, max_size=2),
        "directories": st.dictionaries(PATHS, st.fixed_dictionaries({}, optional={"mode": MODES})),
        "text": st.dictionaries(
            PATHS, TEXT | st.fixed_dictionaries({"content": TEXT}, optional={"mode": MODES})
        ),
        "links": st.dictionaries(PATHS, TEXT),
        "accounts": st.fixed_dictionaries(
            {},
            optional={
                "extra": st.lists(TEXT),
                "extra_groups": st.lists(TEXT),
                "format": TEXT,
                "users": ARGV,
            },
        ),
        "host": st.fixed_dictionaries(
            {}, optional={"wrapper": st.dictionaries(PATHS, ARGV), "restart": TEXT}
        ),
        "check": st.fixed_dictionaries(
            {}, optional={"prepare": st.lists(TEXT | ARGV), "run": st.lists(ARGV | RUN), "service": SERVICE}
        ),
    }
    | {
        key: st.lists(TEXT, max_size=3)
        for key in ("binaries", "libraries", "exclude", "seed", "mounts", "setuid")
    }
    | {"files": st.lists(PATHS | ENTRY, max_size=3)},
)


@given(TARGET, TARGET, TARGET)
@settings(deadline=None)
def test_values_of_about_the_right_shape(
    data: dict[str, object], include: dict[str, object], learned: dict[str, object]
) -> None:
    def text(values: dict[str, object]) -> str:
        return "".join(
            f"{key} = {toml(value).replace('nan', '1').replace('inf', '2')}\n"
            for key, value in values.items()
        )

    own = {"include": ["loop"], **data}
    files = {"x.toml": text(own), "common/loop.toml": text({**include, "include": ["tls"]})}
    check({**files, "x.learned.toml": text({"files": learned.get("files", [])})})


@given(
    st.lists(
        st.sampled_from(
            [f"{key} = " for key in TargetFile.__struct_fields__]
            + [
                "[check]\n",
                "[check.service]\n",
                "[[files]]\n",
                "[accounts]\n",
                "[",
                "]",
                "{",
                "}",
                ", ",
                "\n",
                "# ",
            ]
            + [
                '"/etc/x"',
                "'",
                '"',
                '"""',
                "'''",
                "\\",
                "1",
                "true",
                "=",
                ".",
                "run",
                "path",
                "\r",
                "\t",
                "\ufeff",
            ]
            + ["2020-01-01", "-inf", "\0", "é"]
        ),
        max_size=20,
    ).map("".join)
    | st.text(st.characters(codec="utf-8"), max_size=40)
)
@settings(deadline=None)
def test_text_that_looks_like_toml(text: str) -> None:
    check({"x.toml": text})
