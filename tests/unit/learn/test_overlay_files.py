from __future__ import annotations

from pathlib import Path

from chrootbuild.artifact import Artifact, Kind
from chrootbuild.learn.target_overlay import target_files
from chrootbuild.plan.make import plan
from chrootbuild.sysroot.reader import Sysroot
from tests.support.target_project import target
from tests.support.trace_sysroot import sysroot


def laid(base: Path, text: str) -> dict[str, Artifact]:
    """Return what is laid over a small sysroot for a target."""
    files: dict[str, str | bytes | None] = {"/etc/foo.conf": "x", "/var/lib/foo/": None, "/tmp/": None}
    top = sysroot(base / "sysroot", files).sysroot
    made = target(base, f'sysroot = "{top}"\nos = "linux"\n{text}')
    host = Sysroot(top)
    return {artifact.path: artifact for artifact in target_files(made, plan(made, host), host)}


def test_what_the_sysroot_has_is_not_laid_again(tmp_path: Path) -> None:
    assert laid(tmp_path, 'files = ["/etc/foo.conf"]\n[directories]\n"/var/lib/foo" = {}\n') == {}


def test_texts_links_and_directories_of_the_target(tmp_path: Path) -> None:
    found = laid(
        tmp_path,
        '[directories]\n"/var/lib/foo" = { mode = "0700" }\n"/srv/foo/data" = {}\n'
        '[links]\n"/srv/foo/link" = "/etc/foo.conf"\n[text]\n"/etc/foo.conf" = "mine"\n"/dev/own" = "no"\n',
    )
    assert found["/var/lib/foo"].mode == 0o700
    assert found["/srv/foo/data"].kind is Kind.DIRECTORY
    assert found["/srv/foo/link"].link == "/etc/foo.conf"
    assert found["/etc/foo.conf"].content == b"mine"
    assert "/dev/own" not in found


def test_account_lines_join_those_of_the_sysroot_and_their_homes_are_there(tmp_path: Path) -> None:
    extra = '["ct:x:4242:4243::/home/ct:/bin/sh", "foo:x:9:9::/nonexistent:/bin/sh"]'
    found = laid(tmp_path, f'[accounts]\nextra = {extra}\nextra_groups = ["ct:x:4243:"]\n')
    lines = found["/etc/passwd"].content.decode().splitlines()
    assert lines[:2] == ["ct:x:4242:4243::/home/ct:/bin/sh", "foo:x:9:9::/nonexistent:/bin/sh"]
    assert [line for line in lines if line.startswith("foo:")] == lines[1:2]
    assert any(line.startswith("www-data:") for line in lines)
    assert b"ct:x:4243:\n" in found["/etc/group"].content
    assert (found["/home/ct"].uid, found["/home/ct"].gid, found["/home/ct"].mode) == (4242, 4243, 0o755)
    assert "/nonexistent" not in found


def test_rendered_accounts_alone_do_not_hide_the_sysroot_s(tmp_path: Path) -> None:
    assert laid(tmp_path, '[accounts]\nusers = ["foo"]\n') == {}


def test_a_passwd_that_the_target_writes_itself_stands(tmp_path: Path) -> None:
    found = laid(tmp_path, '[text]\n"/etc/passwd" = "me:x:1:1::/:/bin/sh\\n"\n')
    assert found["/etc/passwd"].content == b"me:x:1:1::/:/bin/sh\n"
