from __future__ import annotations

from pathlib import Path

import pytest

from chrootbuild.artifact import Artifact, Kind, Plan
from chrootbuild.learn.target_overlay import own_links, through
from chrootbuild.trace.events import Access, Deed
from tests.support.trace_sysroot import sysroot


def plan(**links: str) -> Plan:
    artifacts = {f"/{path}": Artifact(f"/{path}", Kind.LINK, link=text) for path, text in links.items()}
    return Plan("x", "/root", artifacts, {})


def test_only_links_that_the_sysroot_lacks_or_has_otherwise(tmp_path: Path) -> None:
    host = sysroot(tmp_path, {"/same": "-> usr", "/other": "-> usr", "/file": ""})
    links = own_links(plan(same="usr", other="opt", file="usr", new="usr"), host)
    assert links == {"/other": "opt", "/file": "usr", "/new": "usr"}


@pytest.mark.parametrize(
    ("path", "beyond"),
    [
        ("/srv/link", "/etc/greeting"),
        ("/srv/dir/x", "/opt/x"),
        ("/srv/dir", "/opt"),
        ("/srv/twice/x", "/opt/x"),
        ("/srv/linked", None),
        ("/srv", None),
        ("srv/link", None),
    ],
)
def test_the_path_beyond_a_link_is_asked_for_as_well(path: str, beyond: str | None) -> None:
    links = {"/srv/link": "/etc/greeting", "/srv/dir": "../opt/", "/srv/twice": "dir"}
    links["/srv/dir"] = "/opt"
    event = Access(1, "/bin/x", "open", Deed.READ, path, "ENOENT")
    paths = [one.path for one in through([event], links) if isinstance(one, Access)]
    assert paths == [path] + ([] if beyond is None else [beyond])


def test_a_link_to_itself_ends() -> None:
    event = Access(1, "/bin/x", "open", Deed.READ, "/a/x", "ELOOP")
    assert len(list(through([event], {"/a": "/a"}))) <= 2
