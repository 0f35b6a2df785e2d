"""The line of each key: against TOML that is written together with its lines, and read by tomllib."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from chrootbuild.target.toml_lines import KeyPath, key_lines

# -- by example -------------------------------------------------------------------------------


def test_each_element_of_an_array_has_its_line() -> None:
    text = 'files = [\n  "/a",  # [ not a list\n  { path = "/b", mode = "0640" },\n\n  "/c" ]\n'
    assert key_lines(text) == {
        ("files",): 1,
        ("files", 0): 2,
        ("files", 1): 3,
        ("files", 1, "path"): 3,
        ("files", 1, "mode"): 3,
        ("files", 2): 5,
    }


def test_tables_dotted_keys_and_arrays_of_tables() -> None:
    text = (
        '[check]\nservice.start = ["x"]\n\n[[check.run]]\nargv = ["a"]\n'
        '[[check.run]]\nargv = ["b"]\nenv.A = ""\n'
    )
    assert key_lines(text) == {
        ("check",): 1,
        ("check", "service"): 2,
        ("check", "service", "start"): 2,
        ("check", "service", "start", 0): 2,
        ("check", "run"): 4,
        ("check", "run", 0): 4,
        ("check", "run", 0, "argv"): 5,
        ("check", "run", 0, "argv", 0): 5,
        ("check", "run", 1): 6,
        ("check", "run", 1, "argv"): 7,
        ("check", "run", 1, "argv", 0): 7,
        ("check", "run", 1, "env"): 8,
        ("check", "run", 1, "env", "A"): 8,
    }


def test_quoted_keys_are_read_as_toml_reads_them() -> None:
    text = '[text]\n"/etc/a.b" = "1"\n\'/etc/"c"\' = "2"\n"/etc/\\u00e4 = [" = "3"\n'
    assert {path[-1]: line for path, line in key_lines(text).items()} == {
        "text": 1,
        "/etc/a.b": 2,
        '/etc/"c"': 3,
        "/etc/ä = [": 4,
    }


def test_what_stands_in_a_multi_line_string_is_no_key() -> None:
    text = 'a = """\nb = 1\n[c]\n""\\""" # " """\nd = \'\'\'\n"""\'\'\'\'\'\ne = 3\n'
    assert tomllib.loads(text).keys() == {"a", "d", "e"}
    assert key_lines(text) == {("a",): 1, ("d",): 5, ("e",): 7}


def test_dates_and_numbers_with_dots_are_one_value() -> None:
    text = "a = [1.5, 1979-05-27 07:32:00.5,\n -inf]\nb = 07:32:00\n"
    assert key_lines(text) == {("a",): 1, ("a", 0): 1, ("a", 1): 1, ("a", 2): 2, ("b",): 3}


def test_lines_that_end_as_on_windows() -> None:
    text = 'a = """x\r\ny"""\r\nb = [\r\n1]\r\n'
    assert key_lines(text) == {("a",): 1, ("b",): 3, ("b", 0): 4}


def test_what_is_not_understood_gives_no_line() -> None:
    for text in ("a = [1", "a = = 1\nb = 2", 'a = "', "[a\nb = 1", "= 1"):
        assert key_lines(text) == {}


# -- by property ------------------------------------------------------------------------------

_KEYS = st.one_of(
    st.text("abcAB09_-", min_size=1, max_size=5),
    st.text(
        st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=32), min_size=0, max_size=6
    ),
)
_BLANKS = st.sampled_from(["", " ", "\t", "  "])
_NEWLINES = st.sampled_from(["\n", "\n\n", "  # a = [1]\n", " # \"\"\" '''\n\t\n", "\r\n"])
_SCALARS: st.SearchStrategy[tuple[str, object]] = st.sampled_from(
    [
        ("1", 1),
        ("-1.5e3", -1500.0),
        ("0x_a".replace("_", ""), 10),
        ("true", True),
        ('""', ""),
        ('"# [x] = {"', "# [x] = {"),
        ('"a\\"b\\\\"', 'a"b\\'),
        ("'a\\'", "a\\"),
        ("''''it''''", "'it'"),
        ('"""\nb = 1\n[c]\n"""', "b = 1\n[c]\n"),
        ('"""a\\\n   b"" c"""""', 'ab"" c""'),
        ("'''\n\"\"\"\n'''", '"""\n'),
    ]
)


@dataclass
class _Document:
    """TOML text as it grows, with what it says and where."""

    text: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def write(self, text: str) -> None:
        self.text += text

    def mark(self, path: KeyPath) -> None:
        self.lines[path] = self.text.count("\n") + 1


def _key(draw: st.DrawFn, key: str) -> str:
    bare = bool(key) and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    styles = ["bare"] * bare + ["basic"] + ["literal"] * ("'" not in key)
    style = draw(st.sampled_from(styles))
    if style == "bare":
        return key
    if style == "literal":
        return f"'{key}'"
    return '"' + "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in key) + '"'


def _value(draw: st.DrawFn, doc: _Document, path: KeyPath, depth: int) -> object:
    doc.mark(path)
    kind = draw(st.sampled_from(["scalar", "scalar", "array", "table"] if depth else ["scalar"]))
    if kind == "scalar":
        text, value = draw(_SCALARS)
        doc.write(text)
        return value
    if kind == "array":
        return _array(draw, doc, path, depth)
    table = {}
    doc.write("{")
    for index, key in enumerate(draw(st.lists(_KEYS, max_size=3, unique=True))):
        doc.write("," * (index > 0) + draw(_BLANKS) + _key(draw, key) + draw(_BLANKS) + "=" + draw(_BLANKS))
        table[key] = _value(draw, doc, (*path, key), depth - 1)
    doc.write(draw(_BLANKS) + "}")
    return table


def _array(draw: st.DrawFn, doc: _Document, path: KeyPath, depth: int) -> list[object]:
    array = []
    doc.write("[")
    for index in range(draw(st.integers(0, 3))):
        doc.write("," * (index > 0) + draw(st.one_of(_BLANKS, _NEWLINES)))
        array.append(_value(draw, doc, (*path, index), depth - 1))
        doc.write(draw(st.one_of(_BLANKS, _NEWLINES)))
    doc.write("," * (bool(array) and draw(st.booleans())) + draw(st.one_of(_BLANKS, _NEWLINES)) + "]")
    return array


def _pairs(draw: st.DrawFn, doc: _Document, path: KeyPath, taken: set[str]) -> dict[str, object]:
    table: dict[str, object] = {}
    for key in draw(st.lists(_KEYS, max_size=3, unique=True)):
        if key in taken:
            continue
        taken.add(key)
        doc.write(draw(_BLANKS))
        doc.mark((*path, key))
        if draw(st.booleans()):  # a dotted key
            inner = draw(_KEYS)
            doc.write(f"{_key(draw, key)} . {_key(draw, inner)} = ")
            table[key] = {inner: _value(draw, doc, (*path, key, inner), 2)}
        else:
            doc.write(f"{_key(draw, key)}{draw(_BLANKS)}={draw(_BLANKS)}")
            table[key] = _value(draw, doc, (*path, key), 2)
        doc.write(draw(_BLANKS) + draw(_NEWLINES))
    return table


@st.composite
def _documents(draw: st.DrawFn) -> tuple[str, dict[str, object], dict[KeyPath, int]]:
    doc = _Document()
    taken: set[str] = set()
    data = _pairs(draw, doc, (), taken)
    for key in draw(st.lists(_KEYS, max_size=3, unique=True)):
        if key in taken:
            continue
        taken.add(key)
        doc.write(draw(st.sampled_from(["", "\n", "# [x]\n"])))
        doc.mark((key,))
        if draw(st.booleans()):
            doc.write(f"[ {_key(draw, key)} ]\n")
            data[key] = _pairs(draw, doc, (key,), set())
            continue
        elements = []
        for index in range(draw(st.integers(1, 3))):
            doc.mark((key, index))
            doc.write(f"[[{_key(draw, key)}]]{draw(_NEWLINES)}")
            elements.append(_pairs(draw, doc, (key, index), set()))
        data[key] = elements
    return doc.text, data, doc.lines


@given(_documents())
def test_lines_of_generated_documents(document: tuple[str, dict[str, object], dict[KeyPath, int]]) -> None:
    text, data, lines = document
    assert tomllib.loads(text) == data  # what was written is what it means
    assert key_lines(text) == lines


@given(st.text(alphabet=st.sampled_from("ab=[]{}.,\"'\\#\n\r \t1-:é"), max_size=60))
def test_never_a_line_that_tomllib_knows_no_key_for(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        key_lines(text)
        return
    assert set(key_lines(text)) == set(_paths(data, ()))


def _paths(value: object, path: KeyPath) -> list[KeyPath]:
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path] * bool(path) + [found for key, inner in items for found in _paths(inner, (*path, key))]
