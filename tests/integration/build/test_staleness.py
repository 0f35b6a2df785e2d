"""Each change of a source, of a target file or in the root: exactly what depends on it is built again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.sysroot import write
from tests.support.trees import tree
from tests.support.workshop import Workshop, bring_host_programs, library, program

pytestmark = [pytest.mark.root, pytest.mark.cc]

TARGET = """
sysroot = "{top}"
os = "linux"
include = ["extra"]
binaries = ["/bin/sh", "app", "cached", "/usr/bin/tool"]
files = ["/etc/app.conf", "/etc/current", "/srv/www/"]

[accounts]
min_uid = 1000
users = ["svc"]

[directories]
"/var/spool/app" = {{ mode = "0750", owner = "svc" }}

[links]
"/etc/declared" = "app.conf"

[text]
"/etc/hosts" = "127.0.0.1 localhost\\n"
"""
EXTRA = '[text]\n"/etc/motd" = "hello\\n"\n'
PASSWD = "root:x:0:0::/root:/bin/sh\nsvc:x:99:99::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sysroot: app finds libq by default, cached finds libr in ld.so.cache alone."""
    top = tmp_path_factory.mktemp("template") / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh", "/bin/ls")
    usr = top / "usr"
    library(usr / "lib/libq.so.1.0", "libq.so.1", "q")
    (usr / "lib/libq.so.1").symlink_to("libq.so.1.0")
    library(top / "opt/r1/libr.so.1", "libr.so.1", "r one")
    library(top / "opt/r2/libr.so.1", "libr.so.1", "r two")
    program(usr / "bin/app", {"q": usr / "lib/libq.so.1"}, "-Wl,--enable-new-dtags,-rpath,/opt/app/lib")
    program(usr / "bin/cached", {"r": top / "opt/r1/libr.so.1"})
    files = {
        "/etc/ld.so.conf": "/opt/r1\n",
        "/etc/app.conf": "one\n",
        "/etc/other.conf": "two\n",
        "/etc/current": "-> app.conf",
        "/srv/www/a": "a\n",
        "/srv/www/b": "b\n",
        "/srv/www/cgi": "#!/usr/bin/extra\n",
        "/usr/bin/tool": "#!/bin/sh\n",
        "/usr/bin/extra": "an interpreter\n",
        "/etc/passwd": PASSWD,
        "/etc/group": "svc:x:99:\nann:x:1000:\n",
    }
    write(top, files)
    (usr / "bin/extra").chmod(0o755)
    (top / "srv/www/cgi").chmod(0o644)
    subprocess.run(["ldconfig", "-r", str(top)], check=True, stderr=subprocess.DEVNULL)
    return top


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Workshop:
    """The template's sysroot and a project over it, built, with nothing left to do."""
    top = tmp_path / "sysroot"
    subprocess.run(["cp", "-a", str(template), str(top)], check=True)
    made = Workshop(tmp_path / "project", top)
    made.write_targets({"x.toml": TARGET.format(top=top), "common/extra.toml": EXTRA})
    made.settle()
    return made


def same_times(path: Path, change: Callable[[], object]) -> None:
    """Change a path and give it back the times that it had."""
    info = path.lstat()
    change()
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def relink(path: Path, text: str) -> None:
    """Give a link another text and its old times."""

    def change() -> None:
        path.unlink()
        path.symlink_to(text)

    same_times(path, change)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def substitute(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def target_file(shop: Workshop) -> Path:
    return shop.folder / "targets/x.toml"


# -- changes of sources and target files -------------------------------------------------------


def content(shop: Workshop) -> None:
    path = shop.top / "etc/app.conf"
    same_times(path, lambda: path.write_text("eno\n"))


def content_of_a_library(shop: Workshop) -> None:
    path = shop.top / "usr/lib/libq.so.1.0"
    same_times(path, lambda: library(path, "libq.so.1", "Q"))


def content_replaced(shop: Workshop) -> None:
    path, new = shop.top / "etc/app.conf", shop.top / "etc/new"
    shutil.copy2(path, new)
    same_times(new, lambda: new.write_text("eno\n"))
    new.rename(path)


def same_content_again(shop: Workshop) -> None:
    path, new = shop.top / "etc/app.conf", shop.top / "etc/new"
    shutil.copy2(path, new)
    new.rename(path)


def mode(shop: Workshop) -> None:
    (shop.top / "etc/app.conf").chmod(0o600)


def mode_that_a_program_does_not_keep(shop: Workshop) -> None:
    (shop.top / "usr/bin/app").chmod(0o6777)


def owner(shop: Workshop) -> None:
    os.chown(shop.top / "etc/app.conf", 99, 98)


def owner_that_a_program_does_not_keep(shop: Workshop) -> None:
    os.chown(shop.top / "usr/bin/app", 99, 98)


def mtime(shop: Workshop) -> None:
    os.utime(shop.top / "etc/app.conf", (1, 1))


def directory_mode(shop: Workshop) -> None:
    (shop.top / "srv/www").chmod(0o711)


def directory_owner(shop: Workshop) -> None:
    os.chown(shop.top / "srv/www", 99, 99)


def link_retargeted(shop: Workshop) -> None:
    app, other = shop.top / "etc/app.conf", shop.top / "etc/other.conf"
    info = app.stat()
    os.utime(other, ns=(info.st_atime_ns, info.st_mtime_ns))
    relink(shop.top / "etc/current", "other.conf")


def file_to_link(shop: Workshop) -> None:
    path = shop.top / "srv/www/a"
    path.unlink()
    path.symlink_to("b")


def link_to_file(shop: Workshop) -> None:
    path = shop.top / "etc/current"
    path.unlink()
    path.write_text("one\n")


def deleted_from_a_tree(shop: Workshop) -> None:
    (shop.top / "srv/www/b").unlink()


def added_to_a_tree(shop: Workshop) -> None:
    write(shop.top, {"/srv/www/deep/new": "x"})


def added_beside(shop: Workshop) -> None:
    write(shop.top, {"/etc/unrelated": "x", "/usr/lib/unrelated": "x", "/usr/bin/unrelated": "x"})


def soname_bump(shop: Workshop) -> None:
    lib = shop.top / "usr/lib"
    library(lib / "libq.so.1.1", "libq.so.1", "q one")
    relink(lib / "libq.so.1", "libq.so.1.1")
    (lib / "libq.so.1.0").unlink()


def shadowing_library(shop: Workshop) -> None:
    library(shop.top / "opt/app/lib/libq.so.1", "libq.so.1", "shadow")


def shadowing_program(shop: Workshop) -> None:
    local = shop.top / "usr/local/bin"
    local.mkdir(parents=True)
    shutil.copy2(shop.top / "usr/bin/app", local / "app")


def ld_so_cache(shop: Workshop) -> None:
    write(shop.top, {"/etc/ld.so.conf": "/opt/r2\n"})
    subprocess.run(["ldconfig", "-r", str(shop.top)], check=True, stderr=subprocess.DEVNULL)


def new_needed(shop: Workshop) -> None:
    lib = shop.top / "usr/lib"
    library(lib / "libs.so.1", "libs.so.1", "s")
    calls = {"q": lib / "libq.so.1", "s": lib / "libs.so.1"}
    program(shop.top / "usr/bin/app", calls, "-Wl,--enable-new-dtags,-rpath,/opt/app/lib")


def new_needed_of_a_library(shop: Workshop) -> None:
    lib = shop.top / "usr/lib"
    library(lib / "libs.so.1", "libs.so.1", "s")
    library(lib / "libq.so.1.0", "libq.so.1", "q", "-Wl,--no-as-needed", str(lib / "libs.so.1"))


def another_interpreter(shop: Workshop) -> None:
    (shop.top / "usr/bin/tool").write_text("#!/usr/bin/extra\n")


def data_to_script(shop: Workshop) -> None:
    (shop.top / "srv/www/cgi").chmod(0o755)


def data_to_program(shop: Workshop) -> None:
    shutil.copy2(shop.top / "bin/ls", shop.top / "srv/www/a")


def user_added(shop: Workshop) -> None:
    append(shop.top / "etc/passwd", "bob:x:1001:1000::/home/bob:/bin/sh\n")


def user_edited(shop: Workshop) -> None:
    path = shop.top / "etc/passwd"
    same_times(path, lambda: substitute(path, "/home/ann:/bin/sh", "/home/nna:/bin/sh"))


def user_renumbered(shop: Workshop) -> None:
    substitute(shop.top / "etc/passwd", "svc:x:99:", "svc:x:98:")


def user_that_is_not_kept(shop: Workshop) -> None:
    append(shop.top / "etc/passwd", "daemon:x:5:5::/:/bin/sh\n")
    substitute(shop.top / "etc/passwd", "/root:", "/toor:")


def group_member_added(shop: Workshop) -> None:
    substitute(shop.top / "etc/group", "svc:x:99:", "svc:x:99:ann")


def text_edited(shop: Workshop) -> None:
    substitute(target_file(shop), "localhost", "localghost")


def comment_added(shop: Workshop) -> None:
    append(target_file(shop), "# a comment\n")


def entry_added(shop: Workshop) -> None:
    substitute(target_file(shop), '"/etc/current",', '"/etc/current", "/etc/other.conf",')


def entry_removed(shop: Workshop) -> None:
    substitute(target_file(shop), '"/usr/bin/tool"', "")


def declared_link_edited(shop: Workshop) -> None:
    substitute(target_file(shop), '"/etc/declared" = "app.conf"', '"/etc/declared" = "hosts"')


def declared_mode_edited(shop: Workshop) -> None:
    substitute(target_file(shop), "0750", "0700")


def include_edited(shop: Workshop) -> None:
    substitute(shop.folder / "targets/common/extra.toml", "hello", "olleh")


LIB = "/usr/lib"
CHANGES: dict[Callable[[Workshop], None], Mapping[str, str]] = {
    content: {"/etc/app.conf": "replace  content differs from the host's"},
    content_of_a_library: {f"{LIB}/libq.so.1.0": "replace  content differs from the host's"},
    content_replaced: {"/etc/app.conf": "replace  content differs from the host's"},
    same_content_again: {},
    mode: {"/etc/app.conf": "replace  mode is 0600 now, not 0644"},
    mode_that_a_program_does_not_keep: {},
    owner: {"/etc/app.conf": "replace  owner is 99:98 now, not 0:0"},
    owner_that_a_program_does_not_keep: {},
    mtime: {"/etc/app.conf": "replace  modification time differs from the host's"},
    directory_mode: {"/srv/www": "replace  mode is 0711 now, not 0755"},
    directory_owner: {"/srv/www": "replace  owner is 99:99 now, not 0:0"},
    link_retargeted: {
        "/etc/current": "replace  link points to other.conf now",
        "/etc/other.conf": "install  link /etc/current points to it now",
    },
    file_to_link: {"/srv/www/a": "replace  was a file, is a link now"},
    link_to_file: {"/etc/current": "replace  was a link, is a file now"},
    deleted_from_a_tree: {"/srv/www/b": "remove  nothing needs it any more"},
    added_to_a_tree: {
        "/srv/www/deep": "install  files: /srv/www/",
        "/srv/www/deep/new": "install  files: /srv/www/",
    },
    added_beside: {},
    soname_bump: {
        f"{LIB}/libq.so.1": "replace  link points to libq.so.1.1 now",
        f"{LIB}/libq.so.1.1": f"install  link {LIB}/libq.so.1 points to it now",
        f"{LIB}/libq.so.1.0": "remove  nothing needs it any more",
    },
    shadowing_library: {
        "/opt/app": "install  /opt/app/lib lies in it",
        "/opt/app/lib": "install  /opt/app/lib/libq.so.1 lies in it",
        "/opt/app/lib/libq.so.1": "install  /usr/bin/app needs libq.so.1, found in RUNPATH /opt/app/lib",
        f"{LIB}/libq.so.1": "remove  nothing needs it any more",
        f"{LIB}/libq.so.1.0": "remove  nothing needs it any more",
    },
    shadowing_program: {
        "/usr/local": "install  /usr/local/bin lies in it",
        "/usr/local/bin": "install  /usr/local/bin/app lies in it",
        "/usr/local/bin/app": "install  binaries: app",
        "/usr/bin/app": "remove  nothing needs it any more",
    },
    ld_so_cache: {
        "/etc/ld.so.cache": "replace  the content to write differs",
        "/etc/ld.so.conf": "replace  the content to write differs",
        "/opt/r2": "install  /opt/r2/libr.so.1 lies in it",
        "/opt/r2/libr.so.1": "install  /usr/bin/cached needs libr.so.1, found in ld.so.cache",
        "/opt/r1": "remove  nothing needs it any more",
        "/opt/r1/libr.so.1": "remove  nothing needs it any more",
    },
    new_needed: {
        "/usr/bin/app": "replace  content differs from the host's",
        f"{LIB}/libs.so.1": r"install  /usr/bin/app needs libs.so.1, found in .*",
    },
    new_needed_of_a_library: {
        f"{LIB}/libq.so.1.0": "replace  content differs from the host's",
        f"{LIB}/libs.so.1": r"install  /usr/lib/libq.so.1(.0)? needs libs.so.1, found in .*",
    },
    another_interpreter: {
        "/usr/bin/tool": "replace  content differs from the host's",
        "/usr/bin/extra": "install  /usr/bin/tool has /usr/bin/extra as its interpreter",
    },
    data_to_script: {
        "/srv/www/cgi": "replace  mode is 0755 now, not 0644",
        "/usr/bin/extra": "install  /srv/www/cgi has /usr/bin/extra as its interpreter",
    },
    data_to_program: {
        "/srv/www/a": "replace  content differs from the host's",
        **dict.fromkeys(("libselinux", "libpcre2"), "install  .*"),
    },
    user_added: {"/etc/passwd": "replace  the content to write differs"},
    user_edited: {"/etc/passwd": "replace  the content to write differs"},
    user_renumbered: {
        "/etc/passwd": "replace  the content to write differs",
        "/var/spool/app": "replace  owner is 98:0 now, not 99:0",
    },
    user_that_is_not_kept: {},
    group_member_added: {"/etc/group": "replace  the content to write differs"},
    text_edited: {"/etc/hosts": "replace  the content to write differs"},
    comment_added: {},
    entry_added: {"/etc/other.conf": "install  files: /etc/other.conf"},
    entry_removed: {"/usr/bin/tool": "remove  nothing needs it any more"},
    declared_link_edited: {"/etc/declared": "replace  link points to hosts now"},
    declared_mode_edited: {"/var/spool/app": "replace  mode is 0700 now, not 0750"},
    include_edited: {"/etc/motd": "replace  the content to write differs"},
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_exactly_what_depends_on_a_change_is_built(
    shop: Workshop, change: Callable[[Workshop], None]
) -> None:
    change(shop)
    check_built(shop, CHANGES[change])


def check_built(shop: Workshop, expected: Mapping[str, str], recipe: int = 0) -> None:
    """Build, and compare what was said, what was built, and what was left alone."""
    before = inodes(shop.root)
    told = {path: f"{action}  {reason}" for path, (action, reason) in shop.changes().items()}
    done = shop.build(recipe=recipe)
    assert done == told
    if "libselinux" in expected:  # the libraries of this machine's ls
        expected = {"/srv/www/a": expected["/srv/www/a"]}
        assert all(reason.startswith("install  ") for path, reason in done.items() if path != "/srv/www/a")
        done = {path: reason for path, reason in done.items() if path == "/srv/www/a"}
    assert set(done) == set(expected)
    for path, reason in expected.items():
        assert re.fullmatch(reason, done[path]), done[path]
    after = inodes(shop.root)
    assert {path for path in before if before[path] != after.get(path)} <= set(told)
    check_done(shop)


def check_done(shop: Workshop) -> None:
    """There is nothing left to do, and the programs work."""
    assert shop.run("build", "x") == ""
    assert re.fullmatch(r"0 of \d+ to change", shop.run("plan", "x").splitlines()[-1])
    assert shop.run("verify", "x") == ""
    for name, said in (("app", "q|Q|shadow|q one|q\ns"), ("cached", "r one|r two")):
        out = subprocess.run(["chroot", str(shop.root), name], capture_output=True, text=True, check=True)
        assert re.fullmatch(said, out.stdout.strip())


def inodes(root: Path) -> dict[str, int]:
    """Return the inode of every file below a root."""
    return {
        "/" + str(path.relative_to(root)): path.lstat().st_ino
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_another_recipe_compares_everything_anew_and_copies_nothing(shop: Workshop) -> None:
    before = inodes(shop.root)
    assert shop.run("build", "x", recipe=98) == ""
    assert json.loads((shop.folder / ".chrootbuild/x.record").read_text())["recipe"] == 98
    os.utime(shop.root / "etc/app.conf", (5, 5))
    assert shop.build(recipe=99) == {
        "/etc/app.conf": "replace  modification time differs from what was installed"
    }
    del before["/etc/app.conf"]
    assert {path: inode for path, inode in inodes(shop.root).items() if path in before} == before
    assert shop.run("build", "x", recipe=99) == ""


def test_a_source_that_is_gone_changes_nothing_and_says_who_wants_it(shop: Workshop) -> None:
    before = tree(shop.root)
    (shop.top / "etc/app.conf").unlink()
    (shop.top / "srv/www/a").write_text("changed")
    said = shop.run("build", "x", code=3)
    assert "cannot read /etc/app.conf: No such file or directory (targets/x.toml:6: files)" in said
    assert tree(shop.root) == before


# -- changes in the root -----------------------------------------------------------------------


def edited(root: Path) -> None:
    path = root / "etc/app.conf"
    same_times(path, lambda: path.write_text("eno\n"))


def text_in_the_root_edited(root: Path) -> None:
    append(root / "etc/hosts", "1.2.3.4 evil\n")


def chmodded(root: Path) -> None:
    (root / "usr/bin/app").chmod(0o4755)


def chowned(root: Path) -> None:
    os.chown(root / "etc/app.conf", 99, 0)


def touched(root: Path) -> None:
    os.utime(root / "etc/app.conf", (5, 5))


def replaced_by_a_link(root: Path) -> None:
    path = root / "etc/app.conf"
    path.unlink()
    path.symlink_to("/etc/passwd")


def replaced_by_a_copy(root: Path) -> None:
    path, new = root / "etc/app.conf", root / "etc/new"
    shutil.copy2(path, new)
    new.rename(path)


def replaced_by_an_empty_directory(root: Path) -> None:
    (root / "etc/app.conf").unlink()
    (root / "etc/app.conf").mkdir()


def deleted(root: Path) -> None:
    (root / "usr/lib/libq.so.1.0").unlink()


def deleted_with_all_in_it(root: Path) -> None:
    shutil.rmtree(root / "srv/www")


def with_an_attribute(root: Path) -> None:
    os.setxattr(root / "usr/bin/app", "user.planted", b"x")


def with_capabilities(root: Path) -> None:
    # Version 2, CAP_SETUID permitted and effective: capabilities(7), struct vfs_cap_data.
    capability = (0x02000001).to_bytes(4, "little") + (1 << 7).to_bytes(4, "little") + bytes(12)
    os.setxattr(root / "usr/bin/app", "security.capability", capability)


def link_to_elsewhere(root: Path) -> None:
    relink(root / "usr/lib/libq.so.1", "/tmp/libevil.so")


def link_replaced_by_a_file(root: Path) -> None:
    path = root / "etc/current"
    path.unlink()
    path.write_text("one\n")


def directory_chmodded(root: Path) -> None:
    (root / "var/spool/app").chmod(0o777)


def directory_chowned(root: Path) -> None:
    os.chown(root / "srv", 99, 99)


def directory_replaced_by_a_link(root: Path) -> None:
    shutil.rmtree(root / "srv/www")
    (root / "srv/www").symlink_to("/etc")


def directory_replaced_by_a_file(root: Path) -> None:
    shutil.rmtree(root / "srv/www")
    (root / "srv/www").write_text("x")


WWW = {f"/srv/www/{name}": "install  absent in the root" for name in ("a", "b", "cgi")}
XATTR = "replace  extended attributes differ from what was installed: "
DRIFT: dict[Callable[[Path], None], Mapping[str, str]] = {
    edited: {"/etc/app.conf": "replace  content differs from what was installed"},
    text_in_the_root_edited: {"/etc/hosts": "replace  content differs from what was installed.*"},
    chmodded: {"/usr/bin/app": "replace  mode is 4755, not 0755"},
    chowned: {"/etc/app.conf": "replace  owner is 99:0, not 0:0"},
    touched: {"/etc/app.conf": "replace  modification time differs from what was installed"},
    replaced_by_a_link: {"/etc/app.conf": "replace  a link is in the place of a file"},
    replaced_by_a_copy: {},
    replaced_by_an_empty_directory: {"/etc/app.conf": "replace  a directory is in the place of a file"},
    deleted: {"/usr/lib/libq.so.1.0": "install  absent in the root"},
    deleted_with_all_in_it: {"/srv/www": "install  absent in the root", **WWW},
    with_an_attribute: {"/usr/bin/app": f"{XATTR}user.planted"},
    with_capabilities: {"/usr/bin/app": f"{XATTR}security.capability"},
    link_to_elsewhere: {"/usr/lib/libq.so.1": "replace  link points to /tmp/libevil.so, not to libq.so.1.0"},
    link_replaced_by_a_file: {"/etc/current": "replace  a file is in the place of a link"},
    directory_chmodded: {"/var/spool/app": "replace  mode is 0777, not 0750"},
    directory_chowned: {"/srv": "replace  owner is 99:99, not 0:0"},
    directory_replaced_by_a_link: {"/srv/www": "replace  a link is in the place of a directory", **WWW},
    directory_replaced_by_a_file: {"/srv/www": "replace  a file is in the place of a directory", **WWW},
}


@pytest.mark.parametrize("change", DRIFT, ids=lambda change: change.__name__)
def test_each_change_in_the_root_is_seen_and_repaired(
    shop: Workshop, change: Callable[[Path], None]
) -> None:
    before = tree(shop.root)
    change(shop.root)
    check_built(shop, DRIFT[change])
    assert tree(shop.root) == before


def test_what_is_not_ours_stays_and_is_no_change(shop: Workshop) -> None:
    write(shop.root, {"/etc/foreign": "x", "/var/spool/app/queue/1": "x", "/srv/www/upload": "x"})
    assert shop.run("build", "x") == ""
    (shop.top / "srv/www/a").write_text("changed\n")
    shop.build()
    assert (shop.root / "etc/foreign").read_text() == "x"
    assert (shop.root / "var/spool/app/queue/1").read_text() == "x"
    assert (shop.root / "srv/www/upload").read_text() == "x"
