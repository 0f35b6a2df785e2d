"""watch follows every change of what a root is made from, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY
from tests.support.sysroot import write
from tests.support.watch_lab import Watching, eventually, watching
from tests.support.workshop import Workshop, bring_host_programs, library, program

pytestmark = [pytest.mark.root, pytest.mark.cc]

TARGET = """
sysroot = "{top}"
os = "linux"
include = ["extra"]
binaries = ["/bin/sh", "app"]
files = ["/etc/app.conf", "/etc/current", "/srv/www/"]

[accounts]
min_uid = 1000
users = ["svc"]
"""
PASSWD = "root:x:0:0::/root:/bin/sh\nsvc:x:99:99::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
LIBRARY = "usr/lib/libq.so.1"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sysroot: app needs libq, and looks for it in /opt/app/lib first, which is not there."""
    top = tmp_path_factory.mktemp("template") / "sysroot"
    top.mkdir()
    bring_host_programs(top, "/bin/sh")
    library(top / "usr/lib/libq.so.1.0", "libq.so.1", "one")
    (top / LIBRARY).symlink_to("libq.so.1.0")
    program(top / "usr/bin/app", {"q": top / LIBRARY}, "-Wl,--enable-new-dtags,-rpath,/opt/app/lib")
    files = {
        "/etc/app.conf": "one\n",
        "/etc/other.conf": "other\n",
        "/etc/current": "-> app.conf",
        "/srv/www/a": "a\n",
        "/srv/www/deep/b": "b\n",
        "/etc/passwd": PASSWD,
        "/etc/group": "svc:x:99:\nann:x:1000:\n",
        "/opt/": "",
    }
    write(top, files)
    return top


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Workshop:
    top = tmp_path / "sysroot"
    shutil.copytree(template, top, symlinks=True)
    shop = Workshop(tmp_path, top)
    shop.write_targets(
        {"x.toml": TARGET.format(top=top), "common/extra.toml": '[text]\n"/etc/motd" = "hello\\n"\n'}
    )
    return shop


@pytest.fixture
def watch(shop: Workshop) -> Iterator[Watching]:
    """watch, ready; at the end the root has to be as it was recorded, with nothing left to do."""
    with watching(shop.folder) as running:
        yield running
        if not running.ended():
            running.stop()
        assert shop.changes() == {}
        shop.run("verify", "x")


def install(new: Path, path: Path) -> None:
    """Replace a file as a package manager does: written under another name in its directory, renamed."""
    temporary = path.with_name(f"{path.name}.dpkg-new")
    shutil.copyfile(new, temporary)
    temporary.chmod(0o644)
    temporary.rename(path)


def replace(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(content)
    temporary.chmod(0o644)
    temporary.rename(path)


def same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def answer(root: Path) -> str:
    """Return what the program prints that runs in a root; nothing where there is none."""
    if not (root / "usr/bin/app").exists():
        return ""
    return subprocess.run(
        ["/usr/bin/app"], capture_output=True, text=True, preexec_fn=lambda: os.chroot(root)
    ).stdout


# -- what is followed ----------------------------------------------------------------------


@pytest.mark.usefixtures("watch")
def test_a_library_that_is_replaced(shop: Workshop) -> None:
    for _ in range(3):
        for name in ("two", "three"):
            install(_built(shop, name), shop.top / "usr/lib/libq.so.1.0")
            _eventually_answers(shop, name)


def _eventually_answers(shop: Workshop, word: str) -> None:
    eventually(word, lambda: answer(shop.root) == f"{word}\n")


def _eventually_holds(path: Path, content: str) -> None:
    eventually(f"{path}: {content}", lambda: _read(path) == content)


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _built(shop: Workshop, name: str) -> Path:
    path = shop.folder / name
    if not path.exists():
        library(path, "libq.so.1", name)
    return path


@pytest.mark.usefixtures("watch")
def test_a_soname_link_that_moves_and_the_old_file_goes(shop: Workshop) -> None:
    library(shop.top / "usr/lib/libq.so.1.1", "libq.so.1", "two")
    (shop.top / "usr/lib/new").symlink_to("libq.so.1.1")
    (shop.top / "usr/lib/new").rename(shop.top / LIBRARY)
    (shop.top / "usr/lib/libq.so.1.0").unlink()
    eventually("the new link", lambda: answer(shop.root) == "two\n")
    eventually("the old file goes", lambda: not (shop.root / "usr/lib/libq.so.1.0").exists())
    assert os.readlink(shop.root / LIBRARY) == "libq.so.1.1"


@pytest.mark.usefixtures("watch")
def test_a_library_that_turns_up_where_it_was_searched_first(shop: Workshop) -> None:
    library(shop.top / "opt/app/lib/libq.so.1", "libq.so.1", "found first")
    eventually("it is found first", lambda: answer(shop.root) == "found first\n")
    eventually("the other one goes", lambda: not (shop.root / LIBRARY).exists())
    shutil.rmtree(shop.top / "opt/app")
    eventually("it goes again", lambda: answer(shop.root) == "one\n")


@pytest.mark.usefixtures("watch")
def test_a_library_that_needs_another_one_now(shop: Workshop) -> None:
    library(shop.top / "usr/lib/libr.so.1", "libr.so.1", "r")
    flags = (str(shop.top / "usr/lib/libr.so.1"), "-Wl,--no-as-needed")
    library(shop.top / "usr/lib/libq.so.1.0", "libq.so.1", "needs r", *reversed(flags))
    eventually("the other one comes", (shop.root / "usr/lib/libr.so.1").exists)
    eventually("it runs", lambda: answer(shop.root) == "needs r\n")


@pytest.mark.usefixtures("watch")
def test_a_file_written_in_place(shop: Workshop) -> None:
    (shop.top / "etc/app.conf").write_text("two\n")
    eventually("the new content", lambda: (shop.root / "etc/app.conf").read_text() == "two\n")


@pytest.mark.usefixtures("watch")
def test_names_in_a_tree_come_and_go(shop: Workshop) -> None:
    (shop.top / "srv/www/deep/new").write_text("new\n")
    eventually("a new name", (shop.root / "srv/www/deep/new").exists)
    (shop.top / "srv/www/deep/new").unlink()
    eventually("it goes", lambda: not (shop.root / "srv/www/deep/new").exists())
    write(shop.top / "srv/www", {"/more/deeper/c": "c\n"})
    eventually(
        "a new directory",
        lambda: same(shop.top / "srv/www/more/deeper/c", shop.root / "srv/www/more/deeper/c"),
    )
    (shop.top / "srv/www/more/deeper/c").write_text("changed\n")
    eventually("a change in it", lambda: (shop.root / "srv/www/more/deeper/c").read_text() == "changed\n")


@pytest.mark.usefixtures("watch")
def test_a_link_flipped_between_files_of_one_time(shop: Workshop) -> None:
    for name in ("app.conf", "other.conf"):
        os.utime(shop.top / "etc" / name, (1, 1))
    (shop.top / "etc/new").symlink_to("other.conf")
    (shop.top / "etc/new").rename(shop.top / "etc/current")
    eventually("the other one", lambda: (shop.root / "etc/current").resolve().name == "other.conf")
    eventually("its content", lambda: same(shop.root / "etc/other.conf", shop.top / "etc/other.conf"))


@pytest.mark.usefixtures("watch")
def test_accounts(shop: Workshop) -> None:
    replace(shop.top / "etc/passwd", PASSWD + "bob:x:1001:1001::/home/bob:/bin/sh\n")
    eventually("a new user", lambda: "bob" in (shop.root / "etc/passwd").read_text())
    replace(shop.top / "etc/group", "svc:x:99:bob\nann:x:1000:\n")
    eventually("a new member", lambda: "svc:x:99:bob" in (shop.root / "etc/group").read_text())


@pytest.mark.usefixtures("watch")
def test_a_directory_that_is_removed_and_made_again(shop: Workshop) -> None:
    shutil.rmtree(shop.top / "srv/www/deep")
    eventually("it goes", lambda: not (shop.root / "srv/www/deep").exists())
    for content in ("again\n", "and again\n"):
        write(shop.top, {"/srv/www/deep/b": content})
        _eventually_holds(shop.root / "srv/www/deep/b", content)


@pytest.mark.usefixtures("watch")
def test_a_directory_another_one_takes_the_name_of(shop: Workshop) -> None:
    shutil.copytree(shop.top / "srv/www", shop.top / "srv/new")
    (shop.top / "srv/new/deep/b").write_text("new\n")
    (shop.top / "srv/www").rename(shop.top / "srv/old")
    (shop.top / "srv/new").rename(shop.top / "srv/www")
    eventually("the new one", lambda: _read(shop.root / "srv/www/deep/b") == "new\n")
    (shop.top / "srv/www/deep/b").write_text("watched\n")
    eventually("it is watched", lambda: _read(shop.root / "srv/www/deep/b") == "watched\n")
    (shop.top / "srv/old/deep/b").write_text("not any more\n")
    time.sleep(0.3)
    assert _read(shop.root / "srv/www/deep/b") == "watched\n"


def test_what_does_not_matter_is_no_reason(shop: Workshop, watch: Watching) -> None:
    (shop.top / "etc/unrelated").write_text("x")
    (shop.top / "usr/lib/unrelated.so").write_text("x")
    (shop.top / "usr/lib/unrelated.so").unlink()
    os.utime(shop.top / "etc/app.conf")
    (shop.top / "etc/app.conf").write_text("end\n")
    eventually("the end", lambda: _read(shop.root / "etc/app.conf") == "end\n")
    said = watch.stop()
    assert said.count("published") == 2, said  # the first build, and that of the end


# -- target files --------------------------------------------------------------------------


@pytest.mark.usefixtures("watch")
def test_a_target_file_and_its_include(shop: Workshop) -> None:
    shop.write_targets({"x.toml": TARGET.format(top=shop.top) + '[links]\n"/etc/here" = "app.conf"\n'})
    eventually("the link", (shop.root / "etc/here").is_symlink)
    shop.write_targets({"common/extra.toml": '[text]\n"/etc/motd" = "changed\\n"\n'})
    eventually("the text", lambda: _read(shop.root / "etc/motd") == "changed\n")
    shop.write_targets({"x.learned.toml": 'files = ["/etc/other.conf"]\n'})
    eventually("what was learned", (shop.root / "etc/other.conf").exists)


def test_a_broken_target_file_changes_nothing_and_is_told_once(shop: Workshop, watch: Watching) -> None:
    good = TARGET.format(top=shop.top)
    shop.write_targets({"x.toml": good + "[oops\n"})
    eventually("it is told", lambda: "error:" in watch.said())
    assert "the last good form of its target file stays in use" in watch.said()
    (shop.top / "etc/app.conf").write_text("goes on\n")
    eventually("the last good one works", lambda: _read(shop.root / "etc/app.conf") == "goes on\n")
    watch.send(signal.SIGHUP)
    watch.wait_for("READY=1", 2)
    shop.write_targets({"x.toml": good + '[text]\n"/etc/x" = "mended\\n"\n'})
    eventually("mended", lambda: _read(shop.root / "etc/x") == "mended\n")
    assert watch.said().count("error:") == 1


def test_a_target_that_cannot_be_satisfied_is_tried_again(shop: Workshop, watch: Watching) -> None:
    shop.write_targets({"x.toml": TARGET.format(top=shop.top).replace('"app"]', '"app", "/usr/bin/later"]')})
    eventually("it is told", lambda: "/usr/bin/later" in watch.said())
    write(shop.top, {"/usr/bin/later": "#!/bin/sh\n"})
    eventually("it is there", (shop.root / "usr/bin/later").exists)


def test_a_target_that_is_new_and_one_that_goes(shop: Workshop, watch: Watching) -> None:
    shop.write_targets({"y.toml": f'sysroot = "{shop.top}"\nos = "linux"\nfiles = ["/etc/app.conf"]\n'})
    other = shop.folder / "build/y/etc/app.conf"
    eventually("it is built", other.exists)
    (shop.top / "etc/app.conf").write_text("both\n")
    eventually("both", lambda: _read(other) == _read(shop.root / "etc/app.conf") == "both\n")
    (shop.folder / "targets/y.toml").unlink()
    eventually("it is told", lambda: "its target file is gone" in watch.said())
    assert other.exists()


def test_a_target_that_was_broken_from_the_start(shop: Workshop) -> None:
    shop.write_targets({"x.toml": "[oops\n", "y.toml": '[text]\n"/etc/y" = "y"\n'})
    with watching(shop.folder) as watch:
        assert (shop.folder / "build/y/etc/y").exists(), watch.said()
        shop.write_targets({"x.toml": TARGET.format(top=shop.top)})
        eventually("it is built", lambda: answer(shop.root) == "one\n")
        watch.stop()


# -- the process ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("shop")
def test_it_ends_with_success_and_says_so(watch: Watching, number: int) -> None:
    watch.stop(number)
    watch.wait_for("STOPPING=1")


def test_a_reload_looks_at_everything(shop: Workshop, watch: Watching) -> None:
    (shop.root / "etc/motd").unlink()
    watch.send(signal.SIGHUP)
    eventually("what drifted is repaired", lambda: _read(shop.root / "etc/motd") == "hello\n")
    watch.wait_for("READY=1", 2)
    assert watch.told.index("RELOADING=1") > watch.told.index("READY=1")
    assert any(line.startswith("MONOTONIC_USEC=") for line in watch.told)


def test_the_service_manager_is_told_over_an_abstract_socket_and_in_time(shop: Workshop) -> None:
    address = f"@chrootbuild-test-{os.getpid()}"
    with watching(shop.folder, address=address, env={"WATCHDOG_USEC": "400000"}) as watch:
        watch.wait_for("WATCHDOG=1", 3)
        assert any(line.startswith("STATUS=watching 1 target, ") for line in watch.told)


def _many(shop: Workshop, count: int) -> None:
    """Give the target a tree of so many directories."""
    for number in range(count):
        write(shop.top, {f"/srv/www/{number}/x": "x"})


def test_a_thousand_directories_take_a_handful_of_threads_and_one_descriptor(shop: Workshop) -> None:
    _many(shop, 1000)
    with watching(shop.folder) as watch:
        assert watch.threads() <= 6
        place = Path(f"/proc/{watch.process.pid}/fd")
        links = [os.readlink(place / name) for name in os.listdir(place)]
        assert links.count("anon_inode:inotify") == 1
        for number in (0, 999):
            (shop.top / f"srv/www/{number}/x").write_text("after\n")
            copy = shop.root / f"srv/www/{number}/x"
            eventually("it is refreshed", lambda copy=copy: _read(copy) == "after\n")  # type: ignore[misc]


# In a user namespace of its own: there a limit holds for that namespace alone.
LIMITED = """\
import ctypes, os, sys
ready, tell = os.pipe()
helper = os.fork()
if helper == 0:  # it stays outside, where every id can be mapped
    os.read(ready, 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{os.getppid()}/{kind}_map", "w") as file:
            file.write("0 0 65536")
    os._exit(0)
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
    sys.exit("no user namespace")
os.write(tell, b"u")
os.waitpid(helper, 0)
name, most, *argv = sys.argv[1:]
with open(f"/proc/sys/user/{name}", "w") as file:
    file.write(most)
os.execv(argv[0], argv)
"""


@pytest.mark.parametrize(
    ("name", "most", "fact"),
    [
        ("max_inotify_watches", "20", "fs.inotify.max_user_watches is reached"),
        ("max_inotify_instances", "0", "fs.inotify.max_user_instances is reached"),
    ],
)
def test_a_limit_of_the_system_is_said_and_the_sweep_goes_on(
    shop: Workshop, name: str, most: str, fact: str
) -> None:
    _many(shop, 50)
    sweep = "import chrootbuild.sync.watch as w; w._SWEEP = 1.0\n"
    main = f"{sweep}import sys; from chrootbuild.__main__ import main; sys.exit(main())"
    before = (sys.executable, "-c", LIMITED, name, most)
    with watching(shop.folder, before=before, program=("-c", main)) as watch:
        assert watch.said().count(fact) == 1, watch.said()
        assert "directories are not watched" in watch.said()
        (shop.top / "srv/www/49/x").write_text("after\n")
        eventually("it is found", lambda: _read(shop.root / "srv/www/49/x") == "after\n")
        assert watch.said().count(fact) == 1, watch.said()
        watch.stop()


@pytest.mark.usefixtures("shop")
def test_it_sleeps_while_nothing_happens(watch: Watching) -> None:
    time.sleep(1.5)
    before = watch.ticks()
    time.sleep(3)
    assert watch.ticks() - before <= 1


def test_events_that_the_kernel_dropped(shop: Workshop, watch: Watching) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch.send(signal.SIGSTOP)
    # One event each, and no two alike one after the other.
    for _ in range(limit // 2 + 10):
        os.rename(shop.top / "etc/other.conf", shop.top / "etc/other")
        os.rename(shop.top / "etc/other", shop.top / "etc/other.conf")
    (shop.top / "etc/app.conf").write_text("after the overflow\n")
    watch.send(signal.SIGCONT)
    eventually("it is found", lambda: _read(shop.root / "etc/app.conf") == "after the overflow\n")
    time.sleep(5)
    assert "events were lost" in watch.said(), (watch.said(), watch.told)


@pytest.mark.usefixtures("watch")
def test_another_build_in_between(shop: Workshop) -> None:
    shop.run("clean", "x")
    assert not (shop.root / "etc/motd").exists()
    (shop.top / "etc/app.conf").write_text("after\n")
    eventually("it is whole again", lambda: _read(shop.root / "etc/app.conf") == "after\n")
    assert _read(shop.root / "etc/motd") == "hello\n"


@pytest.mark.usefixtures("watch")
def test_the_stamp_follows_so_that_other_builds_are_quick(shop: Workshop) -> None:
    time.sleep(1.1)  # what was just written cannot be proven unchanged at once
    shop.run("build", "x")
    assert (shop.folder / ".chrootbuild/x.stamp").exists()
    (shop.top / "etc/app.conf").write_text("after\n")
    eventually("it is there", lambda: _read(shop.root / "etc/app.conf") == "after\n")
    eventually("the stamp is back", (shop.folder / ".chrootbuild/x.stamp").exists)


def test_a_status_line_on_a_terminal(shop: Workshop) -> None:
    shop.run("build", "x")
    # exec: a shell that stays (dash does) would get the SIGINT too, and its death be the status.
    argv = ["script", "-qfec", f"exec {sys.executable} -m chrootbuild watch --quiet 0.05", "/dev/null"]
    log = shop.folder / "terminal.log"
    with log.open("wb") as output:
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen(argv, cwd=shop.folder, env=env, stdin=subprocess.PIPE, stdout=output)
    assert process.stdin is not None
    with process.stdin:
        eventually("a status line", lambda: b"watching 1 target, " in log.read_bytes())
        (shop.top / "etc/app.conf").write_text("after\n")
        eventually("the last refresh", lambda: b"last refresh: x " in log.read_bytes())
        process.stdin.write(b"\3")  # Ctrl-C
        process.stdin.flush()
        assert process.wait(30) == 0
