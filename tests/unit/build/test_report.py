"""Chains, tables and reasons as people read them."""

from __future__ import annotations

from chrootbuild.artifact import Artifact, Kind, Plan, Reason
from chrootbuild.build.report import all_chains, chains, why_text
from chrootbuild.compare.change import Change
from chrootbuild.compare.explain import explained, leads_to
from chrootbuild.console import table
from chrootbuild.text import printable

PROGRAM, SSL, CRYPTO = "/usr/sbin/nginx", "/lib/libssl.so.3", "/lib/libcrypto.so.3"


def plan(reasons: dict[str, tuple[Reason, ...]], links: dict[str, str] | None = None) -> Plan:
    links = links or {}
    artifacts = {
        path: Artifact(path, Kind.LINK, link=links[path]) if path in links else Artifact(path, Kind.FILE)
        for path in reasons
    }
    return Plan("nginx", "/srv/nginx", artifacts, reasons)


NGINX = plan(
    {
        PROGRAM: (Reason("binaries: nginx"),),
        SSL: (Reason("needs libssl.so.3, found in ld.so.cache", PROGRAM),),
        CRYPTO: (
            Reason("needs libcrypto.so.3, found in ld.so.cache", SSL),
            Reason("libraries: /lib/libcrypto.so.3"),
        ),
    }
)


def test_why_shows_every_chain_from_the_key_down() -> None:
    assert why_text(NGINX, CRYPTO) == (
        "binaries: nginx\n"
        "  /usr/sbin/nginx  needs libssl.so.3, found in ld.so.cache\n"
        "    /lib/libssl.so.3  needs libcrypto.so.3, found in ld.so.cache\n"
        "libraries: /lib/libcrypto.so.3\n"
    )


def test_a_chain_is_the_shortest_and_all_chains_are_the_same() -> None:
    loop = plan(
        {
            "/a": (Reason("binaries: a"), Reason("needs a", "/b")),
            "/b": (Reason("needs b", "/a"), Reason("needs b", "/c")),
            "/c": (Reason("needs c", "/b"),),
        }
    )
    assert chains(loop, "/b")[0] == ["binaries: a", "/a  needs b"]
    assert chains(loop, "/c") == [["binaries: a", "/a  needs b", "/b  needs c"]]
    assert all_chains(loop) == {path: chains(loop, path) for path in loop.reasons}


def test_nothing_printed_moves_a_cursor_or_fakes_a_line() -> None:
    assert printable("/etc/\x1b[2J\nremove") == "/etc/\\x1b[2J\\nremove"
    assert printable("/etc/日本") == "/etc/日本"
    assert printable("/etc/\udcff") == "/etc/\\udcff"


def test_a_table_is_aligned() -> None:
    rows = [("replace", "/usr/lib/x", "content differs"), ("remove", "/y", "")]
    assert table(rows) == ["  replace  /usr/lib/x  content differs", "  remove   /y"]


# -- why something is installed now ------------------------------------------------------------

LINKS = {"/lib": "usr/lib", "/usr/lib/libz.so.1": "libz.so.1.3.1", "/l": "/lib/libz.so.1"}
ZLIB = plan(
    {
        "/lib": (Reason("binaries: a"),),
        "/l": (Reason("files: /l"),),
        "/usr/lib/libz.so.1": (Reason("needs libz.so.1", "/a"),),
        "/usr/lib/libz.so.1.3.1": (Reason("needs libz.so.1", "/a"),),
        "/usr/lib/libq.so.1": (Reason("needs libq.so.1, found in ld.so.cache", "/a"),),
        "/etc/new": (Reason("files: /etc/new"),),
    },
    LINKS,
)


def test_leads_to_goes_by_the_links_of_the_plan() -> None:
    assert leads_to(ZLIB, "/lib/libz.so.1") == "/usr/lib/libz.so.1.3.1"
    assert leads_to(ZLIB, "/lib/libz.so.1", last=False) == "/usr/lib/libz.so.1"
    assert leads_to(ZLIB, "/l") == "/usr/lib/libz.so.1"
    assert leads_to(ZLIB, "lib/../x") == "/usr/x"
    assert leads_to(ZLIB, "/") == "/"


def test_what_is_new_in_a_root_says_what_brought_it() -> None:
    absent = {
        path: Change(path, "install", "absent in the root", artifact)
        for path, artifact in ZLIB.artifacts.items()
    }
    changes = {**absent, "/usr/lib/libz.so.1": Change("/usr/lib/libz.so.1", "replace", "link points to x")}
    made = explained(ZLIB, changes, {"/lib": object(), "/l": object(), "/usr/lib/libz.so.1": object()})
    assert {path: change.reason for path, change in made.items()} == {
        "/lib": "absent in the root",
        "/l": "absent in the root",
        "/usr/lib/libz.so.1": "link points to x",
        "/usr/lib/libz.so.1.3.1": "link /usr/lib/libz.so.1 points to it now",
        "/usr/lib/libq.so.1": "/a needs libq.so.1, found in ld.so.cache",
        "/etc/new": "files: /etc/new",
    }
    assert explained(ZLIB, absent, {}) == absent
