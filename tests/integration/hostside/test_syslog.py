"""The syslog snippets, read by the daemons: a message sent into the root's socket arrives on the host."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chrootbuild.hostside.installer import install
from chrootbuild.hostside.snippet import Owner, Snippet, whole
from tests.support.hostside_project import make_project, make_sysroot, public_folder, snippets

# A path that every one of these syntaxes has trouble with; it has to fit into sun_path.
ODD = 'it\'s 100% "q" $x [1]\\y'
OWNER = Owner("host web syslog", "/p/targets/web.toml")


def made(where: Path, daemon: str, root: Path, more: str = "") -> tuple[Snippet, ...]:
    """Return the snippets for a host that has a daemon."""
    host = where / "host"
    (host / "usr/sbin").mkdir(parents=True)
    if daemon == "journald":
        (host / "run/systemd/system").mkdir(parents=True)
    else:
        (host / f"usr/sbin/{daemon}").touch()
    quoted = str(root).replace("\\", "\\\\").replace('"', '\\"')
    sysroot = make_sysroot(where / "sysroot")
    text = f'root = "{quoted}"\nsysroot = "{sysroot}"\nos = "linux"\n[syslog]\nsocket = true\n{more}'
    return snippets(where, text, "syslog", prefix=str(host))


def send(path: Path, text: str) -> None:
    """Send a message as syslog(3) does, from the folder of the socket: its path may be long."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(path))
        client.send(f"<13>Nov 24 08:00:00 prog[12]: {text}".encode())


def wait_for(path: Path, text: str) -> str:
    """Wait until a file has a text, at most half a minute."""
    found = ""
    for _ in range(600):
        with contextlib.suppress(FileNotFoundError):
            found = path.read_text()
        if text in found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no {text!r} but {found!r}")


def wait_for_socket(path: Path) -> None:
    for _ in range(600):
        if path.is_socket():
            return
        time.sleep(0.05)
    raise AssertionError(f"there is no socket {path}")


@contextlib.contextmanager
def running(argv: list[str], env: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


# -- rsyslog ----------------------------------------------------------------------------------


Program = tuple[list[str], dict[str, str]]  # the start of a command, and its environment


def unpack(where: Path, *names: str) -> None:
    """Unpack packages of the distribution: only one syslog daemon can be installed at a time."""
    got = shutil.which("apt-get") and subprocess.run(
        ["apt-get", "download", *names], cwd=where, capture_output=True
    )
    if not got or got.returncode:
        must = "package" in os.environ.get("CHROOTBUILD_MUST_RUN", "").split(",")
        (pytest.fail if must else pytest.skip)(f"needs {names[0]}, and its package cannot be had")
    for package in where.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, where], check=True)


@pytest.fixture(scope="session")
def rsyslog(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return how to start rsyslogd: the installed one, else that of its package."""
    if program := shutil.which("rsyslogd", path="/usr/sbin:/sbin"):
        return [program], {}
    where = tmp_path_factory.mktemp("rsyslog")
    unpack(where, "rsyslog", "libestr0", "libfastjson4", "liblognorm5")
    (modules,) = where.glob("usr/lib/*/rsyslog")
    return [str(where / "usr/sbin/rsyslogd"), "-M", str(modules)], {"LD_LIBRARY_PATH": str(modules.parent)}


def rsyslog_conf(where: Path, snippet: Snippet) -> Path:
    conf = where / "rsyslog.conf"
    head = 'module(load="imuxsock" SysSock.Use="off")\n'
    conf.write_text(f'{head}{whole(snippet, OWNER)}action(type="omfile" file="{where}/log")\n')
    return conf


@pytest.mark.root
@pytest.mark.parametrize("name", ["root", ODD])
def test_rsyslog_hears_what_is_said_in_the_root(tmp_path: Path, rsyslog: Program, name: str) -> None:
    program, env = rsyslog
    with public_folder() as folder:
        root = folder / name  # CreatePath makes what is missing of it
        (snippet,) = made(tmp_path, "rsyslogd", root)
        conf = rsyslog_conf(folder, snippet)
        checked = subprocess.run([*program, "-N1", "-f", conf], env=env, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        with running([*program, "-n", "-i", f"{folder}/pid", "-f", str(conf)], env):
            wait_for_socket(root / "dev/log")
            send(root / "dev/log", "hello from inside")
            assert "prog[12]: hello from inside" in wait_for(folder / "log", "hello")


def test_rsyslog_would_refuse_what_is_wrong(tmp_path: Path, rsyslog: Program) -> None:
    program, env = rsyslog
    (snippet,) = made(tmp_path, "rsyslogd", tmp_path / "root")
    broken = Snippet(snippet.path, snippet.content.replace('log" ', "log "))
    conf = rsyslog_conf(tmp_path, broken)
    assert subprocess.run([*program, "-N1", "-f", conf], env=env, capture_output=True).returncode != 0


# -- syslog-ng --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def syslog_ng(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return how to start syslog-ng: the installed one, else that of its package."""
    if program := shutil.which("syslog-ng", path="/usr/sbin:/sbin"):
        return [program], {}
    where = tmp_path_factory.mktemp("syslog-ng")
    unpack(where, "syslog-ng-core", "libivykis0", "libnet1", "libpcre3", "libwrap0")
    (modules,) = (path.parent for path in where.glob("usr/lib/syslog-ng/*/libafsocket.so"))
    libraries = sorted({str(path.parent) for path in where.rglob("*.so.*")})
    program = str(where / "usr/sbin/syslog-ng")
    return [program, f"--module-path={modules}"], {"LD_LIBRARY_PATH": ":".join(libraries)}


def syslog_ng_conf(where: Path, snippet: Snippet, syslog_ng: Program) -> Path:
    program, env = syslog_ng
    done = subprocess.run([program[0], "--version"], capture_output=True, text=True, check=True, env=env)
    number = done.stdout.partition("Config version: ")[2].split()[0]
    conf = where / "syslog-ng.conf"
    text = whole(snippet, OWNER).replace("/var/log/chroot-web.log", f"{where}/log")
    conf.write_text(f"@version: {number}\n{text}")
    return conf


@pytest.mark.root
@pytest.mark.parametrize("name", ["root", ODD])
def test_syslog_ng_hears_what_is_said_in_the_root(tmp_path: Path, syslog_ng: Program, name: str) -> None:
    program, env = syslog_ng
    with public_folder() as folder:
        root = folder / name
        snippet, _ = made(tmp_path, "syslog-ng", root)
        conf = syslog_ng_conf(folder, snippet, syslog_ng)
        subprocess.run([*program, "--syntax-only", "-f", conf], check=True, env=env)
        state = ["-p", f"{folder}/pid", "-c", f"{folder}/ctl", "-R", f"{folder}/persist"]
        with running([*program, "-F", "--no-caps", "-f", str(conf), *state], env):
            wait_for_socket(root / "dev/log")
            assert os.stat(root / "dev").st_mode & 0o7777 == 0o755
            send(root / "dev/log", "hello from inside")
            assert "prog[12]: hello from inside" in wait_for(folder / "log", "hello")


# -- journald ---------------------------------------------------------------------------------


@pytest.mark.package("systemd")
@pytest.mark.parametrize("name", ["root", 'it\'s 100% "q" $x [1]'])
def test_systemd_takes_the_mount_of_journalds_socket(tmp_path: Path, name: str) -> None:
    with public_folder() as folder:
        temporary, mount = made(tmp_path, "journald", folder / name)
        unit = folder / os.path.basename(mount.path)
        unit.write_text(whole(mount, OWNER))
        where = subprocess.run(
            ["systemd-escape", "--path", "--suffix=mount", f"{folder}/{name}/dev/log"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert unit.name == where.stdout.removesuffix("\n")
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
        )
        assert done.stdout + done.stderr == ""
        conf = folder / "log.conf"
        conf.write_text(whole(temporary, OWNER))
        if os.getuid() == 0:
            (folder / name / "dev").mkdir(parents=True)
            subprocess.run(["systemd-tmpfiles", "--create", conf], check=True)
            assert (folder / name / "dev/log").is_file()


# -- logrotate --------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.package("logrotate")
@pytest.mark.parametrize("name", ["root", 'it\'s 100% "q" $x [1]*{a}?'])
def test_logrotate_turns_the_daemons_logs_as_their_owner_and_follows_none_of_its_links(
    tmp_path: Path, name: str
) -> None:
    with public_folder() as folder:
        logs = folder / name / "var/log/web"
        logs.mkdir(parents=True)
        logs.chmod(0o775)  # logrotate wants to become its owner then
        os.chown(logs, 65534, 65534)
        victim = folder / "victim"
        victim.write_text("secret\n")
        victim.chmod(0o600)
        logs.joinpath("a.log").write_text("line\n")
        os.chown(logs / "a.log", 65534, 65534)
        logs.joinpath("b.log").symlink_to(victim)
        more = '[directories]\n"/var/log/web" = { owner = "65534", group = "65534" }\n'
        (*_, snippet) = made(tmp_path, "rsyslogd", folder / name, more)
        conf = folder / "rotate.conf"
        conf.write_text(whole(snippet, OWNER))
        subprocess.run(
            ["logrotate", "--force", "--state", folder / "state", conf], check=True, capture_output=True
        )
        assert logs.joinpath("a.log").read_text() == ""
        assert logs.joinpath("a.log.1").read_text() == "line\n"
        assert victim.read_text() == "secret\n"
        assert not logs.joinpath("b.log.1").exists()


@pytest.mark.package("logrotate")
def test_logrotate_takes_the_rules_for_syslog_ngs_own_log(tmp_path: Path) -> None:
    _, rules = made(tmp_path, "syslog-ng", tmp_path / "root")
    conf = tmp_path / "rotate.conf"
    conf.write_text(whole(rules, OWNER))
    conf.chmod(0o644)
    done = subprocess.run(
        ["logrotate", "--debug", "--state", tmp_path / "state", conf], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "error" not in done.stderr
    assert 'rotating pattern: "/var/log/chroot-web.log"' in done.stderr


# -- fstab ------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.namespaces
@pytest.mark.parametrize("name", ["root", "it's 100% \\ #x"])
def test_mount_reads_the_lines_of_fstab_and_mounts_them(tmp_path: Path, name: str) -> None:
    root, fstab = tmp_path / name, tmp_path / "fstab"
    for path in ("proc", "sys", "dev/shm", "srv/d"):
        (root / path).mkdir(parents=True)
    Path("/srv").mkdir(exist_ok=True)
    quoted = str(root).replace("\\", "\\\\")
    text = f'root = "{quoted}"\nmounts = ["/proc", "/sys", "/dev/shm", "/etc"]\n'
    (root / "etc").mkdir()
    fstab.write_text("# theirs\n")
    project = make_project(tmp_path, text)
    found = snippets(tmp_path, text, "fstab")
    lines = Snippet("/fstab", found[0].content, found[0].form)
    install(project, [lines], OWNER, str(tmp_path))
    subprocess.run(["mount", "--fake", "--all", "--fstab", fstab], check=True)
    script = (
        'mount --all --fstab "$1" && findmnt --raw --noheadings --output FSTYPE,OPTIONS --target "$2/proc"'
    )
    script += ' && test -e "$2/etc/passwd" && test -e "$2/sys/kernel" && test -d "$2/proc/self"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", fstab, root], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kind, options = done.stdout.split()
    assert kind == "proc"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(","))
    assert list((root / "proc").iterdir()) == []
