"""Paths are walked as the kernel walks them, by each part of the program that walks them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chrootbuild.artifact import Artifact, Kind, Plan
from chrootbuild.compare.change import Change, Comparison
from chrootbuild.compare.explain import leads_to
from chrootbuild.errors import Failure
from chrootbuild.paths import MAX_LINKS, LinkLoopError, walk
from chrootbuild.plan.builder import PlanBuilder
from chrootbuild.publish.order import end_of
from chrootbuild.sysroot.lookup import Unreadable
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system import syscalls
from chrootbuild.system.rights.trust import _Judge

NAMES = ("a", "b", "c")
PLACES = [f"/{one}" for one in NAMES] + [f"/{one}/{two}" for one in NAMES for two in NAMES]

texts = st.tuples(
    st.sampled_from(["", "/"]), st.lists(st.sampled_from([*NAMES, "..", ".", ""]), min_size=1, max_size=4)
).map(lambda drawn: drawn[0] + "/".join(drawn[1]) or ".")
paths = texts.map(lambda text: "/" + text.lstrip("/"))
trees = st.dictionaries(st.sampled_from(PLACES), texts, max_size=6).map(
    lambda links: {path: text for path, text in sorted(links.items()) if os.path.dirname(path) not in links}
)


@contextlib.contextmanager
def laid(links: Mapping[str, str]) -> Iterator[Path]:
    """Make a tree with the links, and directories in all other places."""
    with tempfile.TemporaryDirectory() as folder:
        for path in PLACES:
            if path in links:
                os.symlink(links[path], folder + path)
            elif os.path.dirname(path) not in links:
                os.mkdir(folder + path)
        yield Path(os.path.realpath(folder))


def kernel(tree: Path, path: str, flags: int = 0) -> str:
    """Return where the kernel goes in a tree as if it were the root; raises OSError."""
    top = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    try:
        fd = syscalls.openat2(top, path, os.O_PATH | flags, syscalls.RESOLVE_IN_ROOT)
    finally:
        os.close(top)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")[len(str(tree)) :] or "/"
    finally:
        os.close(fd)


@settings(max_examples=200, deadline=None)
@given(trees, paths)
def test_as_the_kernel(links: dict[str, str], path: str) -> None:
    with laid(links) as tree:
        try:
            expected = kernel(tree, path)
        except OSError as error:
            assume(error.errno == errno.ELOOP)
            with pytest.raises(LinkLoopError):
                walk(path, links.get)
        else:
            assert walk(path, links.get) == expected


@settings(max_examples=100, deadline=None)
@given(trees, paths)
def test_a_link_at_the_end_is_left_alone(links: dict[str, str], path: str) -> None:
    assume(os.path.basename(path) in NAMES)
    with laid(links) as tree, contextlib.suppress(OSError):
        assert walk(path, links.get, last=False) == kernel(tree, path, os.O_NOFOLLOW)


def test_a_relative_path_begins_at_the_start() -> None:
    nothing: dict[str, str] = {}
    assert walk("../x", nothing.get, start="/a/b") == "/a/x"
    assert walk("/x", nothing.get, start="/a/b") == "/x"
    assert walk("", nothing.get, start="/a/b") == "/a/b"


def test_every_component_is_asked_for_once_in_its_turn() -> None:
    asked: list[str] = []
    links = {"/a": "b/c", "/b/c": "../d"}

    def readlink(path: str) -> str | None:
        asked.append(path)
        return links.get(path)

    assert walk("/a/./x//y", readlink) == "/d/x/y"
    assert asked == ["/a", "/b", "/b/c", "/d", "/d/x", "/d/x/y"]


def test_as_many_links_as_the_kernel_follows() -> None:
    chain = {f"/{number}": str(number + 1) for number in range(MAX_LINKS)}
    assert walk("/0", chain.get) == f"/{MAX_LINKS}"
    with pytest.raises(LinkLoopError) as caught:
        walk("/first", {**chain, "/first": "0"}.get)
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename == f"/{MAX_LINKS - 1}"


# -- those who walk ---------------------------------------------------------------------------


def plan_of(links: Mapping[str, str]) -> Plan:
    return Plan("x", "/r", {path: Artifact(path, Kind.LINK, link=text) for path, text in links.items()}, {})


def walked(links: Mapping[str, str], path: str) -> str:
    try:
        return walk(path, links.get)
    except LinkLoopError:
        assume(False)
        raise


@settings(deadline=None)
@given(trees, paths)
def test_the_reader_of_a_sysroot(links: dict[str, str], path: str) -> None:
    with laid(links) as tree:
        host = Sysroot(str(tree))
        try:
            canonical = host.canonical(path)
        except Unreadable as error:
            assume(error.errno == errno.ELOOP)
            with pytest.raises(LinkLoopError):
                walk(path, links.get)
        else:
            assert canonical == walk(path, links.get)


@settings(deadline=None)
@given(trees, paths)
def test_a_plan_with_links_of_the_target(links: dict[str, str], path: str) -> None:
    assume(os.path.basename(path) in NAMES)
    expected = walked(links, path)
    with tempfile.TemporaryDirectory() as folder:
        builder = PlanBuilder(Sysroot(folder))
        builder.declare(links)
        assert builder.where(path) == expected


@settings(deadline=None)
@given(trees, paths)
def test_a_plan_with_links_of_the_sysroot(links: dict[str, str], path: str) -> None:
    assume(os.path.basename(path) in NAMES)
    expected = walked(links, path)
    with laid(links) as tree:
        assert PlanBuilder(Sysroot(str(tree))).where(path) == expected


@given(trees, paths)
def test_the_end_of_a_planned_link(links: dict[str, str], path: str) -> None:
    changes = {
        path: Change(path, "install", "", artifact) for path, artifact in plan_of(links).artifacts.items()
    }
    assert end_of(Comparison(changes, {}, {}), path) == walked(links, path)


@given(trees, paths)
def test_what_a_path_is_in_the_root(links: dict[str, str], path: str) -> None:
    expected = walked(links, path)
    plan = plan_of(links)
    where = leads_to(plan, path, last=False)
    assert walk(where, links.get) == expected
    one_step = leads_to(plan, path)
    assert walk(one_step, links.get) == expected
    assert (one_step == where) == (where not in links) or links[where] in (".", "")


@dataclass(slots=True)
class Lenient(_Judge):
    """A judge who trusts everybody, and notes whom he was asked about."""

    def _fault(self, _here: str, _info: os.stat_result) -> tuple[str, str] | None:
        return None


@settings(deadline=None)
@given(trees, paths)
def test_everything_on_the_way_is_judged(links: dict[str, str], path: str) -> None:
    with laid({}) as tree:
        top = str(tree)
        for place, text in links.items():
            shutil.rmtree(f"{top}{place}")
            os.symlink(f"{top}{text}" if text.startswith("/") else text, f"{top}{place}")
        met: set[str] = {"/"}

        def readlink(where: str) -> str | None:
            is_link = stat.S_ISLNK(os.lstat(where).st_mode)
            met.add(where)
            return os.readlink(where) if is_link else None

        judge = Lenient(None, "the file", Failure)
        try:
            end = walk(top + path, readlink)
        except LinkLoopError:
            with pytest.raises(Failure, match="Too many levels"):
                judge.walk(top + path)
            return
        except FileNotFoundError:
            judge.walk(top + path)
        else:
            judge.walk(top + path)
            assert end == os.path.realpath(top + path, strict=True)
        assert judge.seen == met
