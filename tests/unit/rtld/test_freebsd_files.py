"""ld-elf.so.hints and libmap.conf of FreeBSD."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chrootbuild.rtld.freebsd_files import HintsError, default_hints, parse_hints, read_libmap, render_hints
from chrootbuild.sysroot.reader import Sysroot

DIRECTORIES = st.lists(
    st.text(st.characters(blacklist_characters=":\0", blacklist_categories=["Cs"]), min_size=1, max_size=20),
    unique=True,
)


def test_the_bytes_are_those_of_ldconfig() -> None:
    text = b"/lib:/usr/lib"
    head = struct.pack("<4s5I", b"Ehnt", 1, 128, len(text) + 1, 0, len(text))
    assert render_hints(["/lib", "/usr/lib"]) == head + bytes(104) + text + b"\0"
    assert render_hints(["/lib"], little=False)[:8] == b"tnhE\0\0\0\1"


def test_repeated_directories_are_written_once_and_none_gives_a_single_nul() -> None:
    assert parse_hints(render_hints(["/a", "/b", "/a"])) == ("/a", "/b")
    assert render_hints([])[128:] == b"\0"
    assert parse_hints(render_hints([])) == ()


@given(directories=DIRECTORIES, little=st.booleans())
def test_what_is_written_is_read(directories: list[str], little: bool) -> None:
    assert parse_hints(render_hints(directories, little=little)) == tuple(directories)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:100], "it is cut off in its header"),
        (lambda data: b"x" + data[1:], "it does not start with the magic number"),
        (lambda data: data[:4] + b"\x02" + data[5:], "it has version 2"),
        (lambda data: data[:-1], "its list of directories lies outside the file"),
        (lambda data: data[:-1] + b"x", "its list of directories lies outside the file"),
        (lambda data: data[:8] + b"\xff" * 4 + data[12:], "its list of directories lies outside the file"),
    ],
)
def test_damaged_hints(change: object, words: str) -> None:
    assert callable(change)
    with pytest.raises(HintsError, match=words):
        parse_hints(change(render_hints(["/lib", "/usr/lib"])))


@given(data=st.binary(max_size=400), head=st.sampled_from([b"", render_hints(["/a"])[:24]]))
def test_any_bytes_are_read_or_refused(data: bytes, head: bytes) -> None:
    try:
        assert all(parse_hints(head + data))
    except HintsError as error:
        words = str(error)
    else:
        words = "it"
    assert words.startswith("it")


def put(root: Path, path: str, text: str) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_default_hints_are_those_that_exist_in_order(tmp_path: Path) -> None:
    for name in ("usr/lib", "lib", "usr/local/lib", "opt/a", "opt/b", "opt/32", "usr/lib32"):
        (tmp_path / name).mkdir(parents=True)
    put(tmp_path, "/usr/local/libdata/ldconfig/b", "/opt/b\nrelative\n/opt/none\n# /opt/a\n")
    put(tmp_path, "/usr/local/libdata/ldconfig32/c", "/opt/32\n")
    put(tmp_path, "/etc/ld-elf.so.conf", "/opt/a # too\n/lib\n")
    host = Sysroot(str(tmp_path))
    assert default_hints(host) == ("/lib", "/usr/lib", "/usr/local/lib", "/opt/b", "/opt/a")
    assert default_hints(host, compat32=True) == ("/usr/lib32", "/opt/32")


# -- libmap.conf -----------------------------------------------------------------------------


def mapped(root: Path, path: str, name: str) -> str:
    found = read_libmap(Sysroot(str(root)), "/etc/libmap.conf").find(path, name)
    return found[0] if found else ""


def test_lines_of_libmap(tmp_path: Path) -> None:
    put(
        tmp_path,
        "/etc/libmap.conf",
        "# comment\n  a.so   b.so # why\nc.so\nd.so e.so f.so\ng.so h.so\ng.so i.so\nj.so #k.so\n"
        "[bad\n[] # x\nl.so m.so\n",
    )
    names = ("a.so", "c.so", "d.so", "g.so", "j.so", "l.so")
    assert [mapped(tmp_path, "/bin/p", name) for name in names] == ["b.so", "", "", "i.so", "", "m.so"]


def test_constraints_exact_directory_and_name(tmp_path: Path) -> None:
    text = "x.so all.so\n[/bin/p]\nx.so exact.so\n[/sbin/]\nx.so below.so\n[ q ] # by name\nx.so name.so\n"
    put(tmp_path, "/etc/libmap.conf", text)
    assert [mapped(tmp_path, path, "x.so") for path in ("/bin/p", "/sbin/r", "/opt/q", "/opt/p")] == [
        "exact.so",
        "below.so",
        "name.so",
        "all.so",
    ]


def test_the_newest_constraint_that_fits_is_the_only_one_that_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path, "/etc/libmap.conf", "[/bin/]\nx.so one.so\n[p]\ny.so two.so\n")
    assert [mapped(tmp_path, "/bin/p", name) for name in ("x.so", "y.so")] == ["", "two.so"]


def test_includes_and_their_circles(tmp_path: Path) -> None:
    put(tmp_path, "/etc/libmap.conf", "include /etc/more.conf\nincludedir /etc/libmap.d\ninclude rel.conf\n")
    put(tmp_path, "/etc/more.conf", "include /etc/libmap.conf\na.so b.so\n")
    put(tmp_path, "/etc/libmap.d/1.conf", "c.so d.so\n")
    put(tmp_path, "/etc/libmap.d/2.txt", "c.so e.so\n")
    put(tmp_path, "/etc/libmap.d/3.conf/x", "a directory")
    found = read_libmap(Sysroot(str(tmp_path)), "/etc/libmap.conf")
    assert found.files == ["/etc/libmap.conf", "/etc/more.conf", "/etc/libmap.d/1.conf"]
    assert found.find("/bin/p", "a.so") == ("b.so", "/etc/more.conf")
    assert found.find("/bin/p", "c.so") == ("d.so", "/etc/libmap.d/1.conf")


def test_no_file_maps_nothing(tmp_path: Path) -> None:
    found = read_libmap(Sysroot(str(tmp_path)), "/etc/libmap.conf")
    assert (bool(found), found.find("/bin/p", "a.so")) == (False, None)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(
        st.sampled_from(
            ["a.so", "/etc/libmap.conf", "[", "]", "#", " ", "\n", "\0", "include", "includedir", "/etc"]
        )
    ).map("".join)
)
def test_any_text_is_read(tmp_path: Path, text: str) -> None:
    put(tmp_path, "/etc/libmap.conf", text)
    read_libmap(Sysroot(str(tmp_path)), "/etc/libmap.conf").find("/bin/p", "a.so")


def test_a_long_libmap_is_read_once(tmp_path: Path) -> None:
    """A megabyte of lines, and of constraints: to look through all before for each takes ten minutes."""
    put(tmp_path, "/etc/libmap.conf", "".join(f"a{number} b{number}\n" for number in range(50_000)))
    assert mapped(tmp_path, "/bin/p", "a49999") == "b49999"
    put(tmp_path, "/etc/libmap.conf", "".join(f"[p{number}]\na b{number}\n" for number in range(50_000)))
    assert mapped(tmp_path, "/bin/p7", "a") == "b7"
