"""What the host's side of a target says: the text, and what the shell makes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chrootbuild.errors import Failure
from chrootbuild.hostside import make as hostside
from chrootbuild.hostside.snippet import Form, Owner, Snippet, shown
from chrootbuild.hostside.syslog import daemon_of
from chrootbuild.sysroot.reader import Sysroot
from tests.support.hostside_project import ODD, make_project, make_sysroot, snippets, target_of

SERVICE = '[check.service]\nstart = ["/usr/sbin/httpd", "-D", "daemon off; $x"]\n'


def text_of(tmp_path: Path, text: str, *, freebsd: bool = False) -> str:
    """Put the keys of a root and a sysroot before the text of a target."""
    sysroot = tmp_path / "sysroot"
    if not sysroot.exists():
        make_sysroot(sysroot)
    system = 'os = "freebsd"\n' if freebsd else 'os = "linux"\n'
    return f'root = "/opt/chroot/web"\nsysroot = "{sysroot}"\n{system}{text}'


def make(
    tmp_path: Path, text: str, kind: str, *, freebsd: bool = False, host: str = ""
) -> tuple[Snippet, ...]:
    return snippets(tmp_path, text_of(tmp_path, text, freebsd=freebsd), kind, prefix=host)


def one(tmp_path: Path, text: str, kind: str, *, freebsd: bool = False) -> str:
    """Return the content of the only snippet."""
    (snippet,) = make(tmp_path, text, kind, freebsd=freebsd)
    return snippet.content


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("links", "host.links"),
        ("wrapper", "host.wrapper"),
        ("unit", r"\[check.service\]"),
        ("fstab", "mounts"),
        ("syslog", r"neither \[syslog\] socket nor"),
    ],
)
def test_a_target_that_asks_for_nothing_is_an_error_that_names_the_key(
    tmp_path: Path, kind: str, key: str
) -> None:
    with pytest.raises(Failure, match=f"cannot write .* for web: web.toml has (no )?{key}") as caught:
        make(tmp_path, "", kind)
    assert "hint: add it: " in str(caught.value)


@pytest.mark.parametrize(("kind", "freebsd"), [("devfs", False), ("jail", False), ("unit", True)])
def test_a_kind_of_the_other_system_is_refused(tmp_path: Path, kind: str, freebsd: bool) -> None:
    with pytest.raises(Failure, match=f"cannot write {kind} for web: it is .*'s, and this root is for "):
        make(tmp_path, SERVICE + '[host]\nlinks = { "/a" = "/b" }', kind, freebsd=freebsd)


def test_a_root_with_a_newline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="it has a control character"):
        snippets(tmp_path, 'root = "/opt/a\\nb"\nmounts = ["/proc"]', "fstab")


# -- links ------------------------------------------------------------------------------------


def test_a_link_leads_from_the_hosts_path_into_the_root(tmp_path: Path) -> None:
    text = '[host]\nlinks = { "/usr/local/apache" = "/usr/local/apache", "/a b" = "/c\'d" }'
    first, second = make(tmp_path, text, "links")
    assert first == Snippet("/usr/local/apache", "/opt/chroot/web/usr/local/apache", Form.LINK)
    owner = Owner("host web links", "/p")
    assert shown(first, owner) == "ln -s /opt/chroot/web/usr/local/apache /usr/local/apache\n"
    assert shown(second, owner) == "ln -s '/opt/chroot/web/c'\\''d' '/a b'\n"


# -- start scripts ----------------------------------------------------------------------------


def switch(tmp_path: Path, user: str, *, freebsd: bool = False) -> str:
    """Return what a start script tells chroot, between its name and the root."""
    keys = f'{SERVICE}user = "{user}"\n[host.wrapper]\n"/usr/sbin/x" = ["/usr/sbin/httpd"]\n'
    keys += '[accounts]\nextra = ["ct:x:4242:4243::/:/bin/sh"]\nextra_groups = ["ctx:x:777:ct"]\n'
    last = one(tmp_path, keys, "wrapper", freebsd=freebsd).splitlines()[-1]
    return last.partition('"$chroot"')[2].partition('"$root"')[0].strip()


@pytest.mark.parametrize(
    ("user", "options"),
    [
        ("root", ""),
        ("www", "--userspec=+80:+80 --groups=+80"),
        ("nobody:www", "--userspec=+65534:+80 --groups=+80"),
        ("4242:99", "--userspec=+4242:+99 --groups=+99"),
        ("ct", "--userspec=+4242:+4243 --groups=+4243"),
        ("1234:5678", "--userspec=+1234:+5678 --groups=+5678"),
        ("root:www", "--userspec=+0:+80 --groups=+80"),
    ],
)
def test_a_start_script_switches_by_number_to_the_group_alone(
    tmp_path: Path, user: str, options: str
) -> None:
    assert switch(tmp_path, user) == options


@pytest.mark.parametrize(
    ("user", "options"),
    [("www", "-u 80 -g 80 -G 80"), ("root", "-u 0 -g 0 -G 0"), ("ct", "-u 4242 -g 4243 -G 4243")],
)
def test_freebsds_chroot_is_always_told_its_groups(tmp_path: Path, user: str, options: str) -> None:
    assert switch(tmp_path, user, freebsd=True) == options


def test_a_user_that_nobody_knows_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"cannot find the user wwx .*check.service") as caught:
        switch(tmp_path, "wwx")
    assert "did you mean www?" in str(caught.value)


@pytest.mark.parametrize("freebsd", [False, True])
def test_a_start_script_is_good_sh_whatever_the_words(tmp_path: Path, freebsd: bool) -> None:
    root, word = ODD.replace('"', '\\"'), "it's \\\\ $x `id`"
    keys = f'{SERVICE}env = {{ A = "{word}" }}\n[host.wrapper]\n"/usr/sbin/x" = ["httpd", "{word}"]\n'
    base = text_of(tmp_path, keys, freebsd=freebsd).replace("/opt/chroot/web", f"/opt/{root}")
    (snippet,) = snippets(tmp_path / ODD.replace("`", ""), base, "wrapper")
    subprocess.run(["sh", "-n"], input=snippet.content, text=True, check=True)
    assert snippet.mode == 0o755


def test_a_start_script_says_that_the_root_was_not_built_and_how_to_build_it(tmp_path: Path) -> None:
    keys = '[host.wrapper]\n"/usr/sbin/x" = ["httpd"]\n'
    project = tmp_path / "it's"
    base = text_of(tmp_path, keys).replace("/opt/chroot/web", f"{tmp_path}/no root")
    script = tmp_path / "script"
    script.write_text(snippets(project, base, "wrapper")[0].content)
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, env={})
    assert done.returncode == 127
    first, second = done.stderr.splitlines()
    assert first == f"{script}: cannot start /usr/sbin/httpd: {tmp_path}/no root was not built"
    assert second.startswith("hint: chrootbuild -C ")
    assert second.endswith("/it'\\''s' build web")


def test_a_bare_name_is_looked_up_in_the_sysroot(tmp_path: Path) -> None:
    assert " /usr/bin/cvs " in one(tmp_path, '[host.wrapper]\n"/usr/sbin/x" = ["cvs"]', "wrapper")
    with pytest.raises(Failure, match="cannot find nosuch in the sysroot"):
        one(tmp_path, '[host.wrapper]\n"/usr/sbin/x" = ["nosuch"]', "wrapper")


# -- mounts -----------------------------------------------------------------------------------


def test_known_filesystems_have_lines_of_their_own_and_others_are_bound(tmp_path: Path) -> None:
    text = one(tmp_path, 'mounts = ["/proc", "/sys", "/dev/shm", "/srv/my data"]', "fstab")
    assert text.splitlines() == [
        "tmpfs /opt/chroot/web/dev/shm tmpfs nosuid,nodev,mode=1777,nofail 0 0",
        "proc /opt/chroot/web/proc proc ro,nosuid,nodev,noexec,nofail 0 0",
        "/srv/my\\040data /opt/chroot/web/srv/my\\040data none bind,nosuid,nodev,nofail 0 0",
        "sysfs /opt/chroot/web/sys sysfs ro,nosuid,nodev,noexec,nofail 0 0",
    ]


def test_the_hosts_whole_dev_is_not_mounted_into_a_root(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="a mount on /dev would show it every device of the host"):
        make(tmp_path, 'mounts = ["/dev", "/proc"]', "fstab")


def test_freebsds_mounts(tmp_path: Path) -> None:
    text = one(tmp_path, 'mounts = ["/dev", "/proc", "/dev/fd", "/usr/ports"]', "fstab", freebsd=True)
    assert text.splitlines() == [
        "fdesc /opt/chroot/web/dev/fd fdescfs rw 0 0",
        "proc /opt/chroot/web/proc procfs rw,nosuid,noexec 0 0",
        "/usr/ports /opt/chroot/web/usr/ports nullfs rw,nosuid 0 0",
    ]


# -- syslog -----------------------------------------------------------------------------------

SOCKET = "[syslog]\nsocket = true\n"


def host_with(tmp_path: Path, *paths: str) -> str:
    host = tmp_path / "host"
    host.mkdir(exist_ok=True)
    for path in paths:
        where = host / path[1:]
        where.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/system"):
            where.mkdir()
        else:
            where.touch()
    return str(host)


@pytest.mark.parametrize(
    ("paths", "daemon"),
    [
        (["/usr/sbin/rsyslogd", "/usr/lib/systemd/systemd-journald", "/run/systemd/system"], "rsyslog"),
        (["/usr/sbin/syslog-ng", "/run/systemd/system"], "syslog-ng"),
        (["/etc/sysconfig/syslog", "/run/systemd/system"], "journald"),
        (["/etc/sysconfig/syslog", "/usr/lib/systemd/systemd-journald"], "syslogd"),
        (["/usr/lib/systemd/systemd-journald"], "journald"),
    ],
)
def test_the_daemon_that_a_host_has_is_the_one_that_is_told(
    tmp_path: Path, paths: list[str], daemon: str
) -> None:
    assert daemon_of(Sysroot(host_with(tmp_path, *paths))) == daemon


def test_a_host_without_a_syslog_daemon_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot find a syslog daemon on this host"):
        make(tmp_path, SOCKET, "syslog", host=host_with(tmp_path))


def test_rsyslog_opens_a_socket_in_the_root(tmp_path: Path) -> None:
    (snippet,) = make(tmp_path, SOCKET, "syslog", host=host_with(tmp_path, "/usr/sbin/rsyslogd"))
    assert snippet.path == "/etc/rsyslog.d/chroot-web.conf"
    assert snippet.content == 'input(type="imuxsock" Socket="/opt/chroot/web/dev/log" CreatePath="on")\n'


def test_syslogds_options_of_the_article_are_added_to_what_they_were(tmp_path: Path) -> None:
    host = host_with(tmp_path, "/etc/sysconfig/syslog")
    Path(host, "etc/sysconfig/syslog").write_text('SYSLOGD_OPTIONS="-m 0"\n')
    (snippet,) = make(tmp_path, SOCKET, "syslog", host=host)
    assert (snippet.path, snippet.form) == ("/etc/sysconfig/syslog", Form.LINES)
    script = f'SYSLOGD_OPTIONS="-m 0"\n{snippet.content}echo $SYSLOGD_OPTIONS'
    done = subprocess.run(["sh", "-uc", script], capture_output=True, text=True, check=True)
    assert done.stdout == "-m 0 -a /opt/chroot/web/dev/log\n"


def test_freebsds_syslogd_keeps_its_flags_and_gets_a_socket(tmp_path: Path) -> None:
    text = one(tmp_path, SOCKET, "syslog", freebsd=True)
    # /etc/defaults/rc.conf, then two targets' lines in /etc/rc.conf
    script = f'syslogd_flags="-s"\n{text}{text.replace("web", "cvs")}echo $syslogd_flags'
    done = subprocess.run(["sh", "-uc", script], capture_output=True, text=True, check=True)
    assert done.stdout == "-s -l /opt/chroot/web/var/run/log -l /opt/chroot/cvs/var/run/log\n"


@pytest.mark.parametrize("freebsd", [False, True])
def test_syslogd_cannot_be_told_of_a_root_with_a_blank(tmp_path: Path, freebsd: bool) -> None:
    base = text_of(tmp_path, SOCKET, freebsd=freebsd).replace("/opt/chroot/web", "/opt/my root")
    with pytest.raises(Failure, match="they are split at blanks and quotes"):
        snippets(tmp_path, base, "syslog", prefix=host_with(tmp_path, "/etc/default/syslogd"))


def test_logs_that_the_daemon_writes_itself_are_rotated_as_their_owner(tmp_path: Path) -> None:
    keys = '[directories]\n"/var/log/web" = { owner = "www", group = "log" }\n"/var/logs" = {}\n'
    (snippet,) = make(tmp_path, keys, "syslog")
    assert snippet.path == "/etc/logrotate.d/chroot-web"
    assert '"/opt/chroot/web/var/log/web/*.log" {\n\tsu www log\n\tcopytruncate\n' in snippet.content
    assert "/var/logs" not in snippet.content


# -- FreeBSD: devfs and jail ------------------------------------------------------------------

DEVICES = 'devices = ["null", "urandom", "fd", "pts/0"]\n'


def rules_of(text: str) -> tuple[str, int]:
    name, _, number = text.splitlines()[0].strip("[]").partition("=")
    return name, int(number)


def test_devfs_rules_hide_all_and_show_what_the_target_names(tmp_path: Path) -> None:
    rules, fstab, rc_conf = make(tmp_path, DEVICES, "devfs", freebsd=True)
    name, number = rules_of(rules.content)
    assert name == "devfsrules_chroot_web"
    assert 1000 <= number < 65536
    assert rules.content.splitlines()[1:] == [
        "add include $devfsrules_hide_all",
        "add path null unhide",
        "add path urandom unhide",
        "add path fd unhide",
        "add path pts unhide",
        "add path pts/0 unhide",
        "add path fd unhide",
        "add path 'fd/*' unhide",
        "add path stdin unhide",
        "add path stdout unhide",
        "add path stderr unhide",
    ]
    assert fstab.content == "devfs /opt/chroot/web/dev devfs rw 0 0\n"
    assert rc_conf.content == (
        'devfs_set_rulesets="${devfs_set_rulesets} /opt/chroot/web/dev=devfsrules_chroot_web"\n'
    )
    assert {snippet.form for snippet in (rules, fstab, rc_conf)} == {Form.LINES}


def test_the_mode_of_a_device_is_a_rule_of_its_own(tmp_path: Path) -> None:
    keys = 'devices = [{ name = "fuse", char = "10:229", mode = "0666" }]'
    assert make(tmp_path, keys, "devfs", freebsd=True)[0].content.endswith(
        "add path fuse unhide\nadd path fuse mode 0666\n"
    )


def test_a_rulesets_name_is_a_shell_variable_and_differs_for_a_dash_and_an_underscore(
    tmp_path: Path,
) -> None:
    names = []
    for target in ("a-b", "a_b"):
        text = text_of(tmp_path, DEVICES, freebsd=True).replace("/opt/chroot/web", f"/opt/{target}")
        found = snippets(tmp_path / target, text, "devfs", name=target)
        name, number = rules_of(found[0].content)
        subprocess.run(
            ["sh", "-euc", f"eval {name}=\\$1; [ ${name} = {number} ]", "sh", str(number)], check=True
        )
        names.append(name)
    assert len(set(names)) == 2


def test_a_number_that_the_host_uses_for_another_ruleset_is_left_to_it(tmp_path: Path) -> None:
    host = host_with(tmp_path, "/etc/devfs.rules")
    name, number = rules_of(make(tmp_path, DEVICES, "devfs", freebsd=True, host=host)[0].content)
    Path(host, "etc/devfs.rules").write_text(f"[{name}={number}]\n")
    assert rules_of(make(tmp_path, DEVICES, "devfs", freebsd=True, host=host)[0].content) == (
        name,
        number,
    )
    Path(host, "etc/devfs.rules").write_text(f"[theirs={number}]\n")
    assert rules_of(make(tmp_path, DEVICES, "devfs", freebsd=True, host=host)[0].content) == (
        name,
        number + 1,
    )


def test_devfs_without_devices_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"cannot write devfs rules for web: web.toml has no devices"):
        make(tmp_path, "", "devfs", freebsd=True)


def test_a_jail_runs_the_service_in_the_background_as_its_user(tmp_path: Path) -> None:
    keys = DEVICES + 'binaries = ["/bin/sh"]\n' + SERVICE + 'user = "www"\n'
    rules, conf, rc_conf = make(tmp_path, keys, "jail", freebsd=True)
    name, number = rules_of(rules.content)
    assert name == "devfsrules_jail_web"
    assert conf.content.splitlines() == [
        '"web" {',
        '\tpath = "/opt/chroot/web";',
        '\thost.hostname = "web";',
        "\tip4 = inherit;",
        "\tip6 = inherit;",
        "\tmount.devfs;",
        f"\tdevfs_ruleset = {number};",
        '\texec.jail_user = "www";',
        "\texec.start = \"/usr/sbin/httpd -D 'daemon off; \\$x' &\";",
        "}",
    ]
    assert rc_conf.note == "service devfs restart\nservice jail start web"


def test_a_jail_without_a_shell_is_told_when_it_needs_one(tmp_path: Path) -> None:
    note = make(tmp_path, SERVICE, "jail", freebsd=True)[-1].note
    assert note.startswith('add "/bin/sh" to binaries')
    plain = SERVICE.replace("daemon off; $x", "x")
    assert make(tmp_path, plain, "jail", freebsd=True)[-1].note == "service jail start web"


def test_a_jail_without_a_service_persists(tmp_path: Path) -> None:
    conf, _ = make(tmp_path, "", "jail", freebsd=True)
    assert "\tpersist;\n" in conf.content
    assert "mount.devfs" not in conf.content


@pytest.mark.parametrize(("before", "after"), [("", ""), ("mail", "mail web")])
def test_an_empty_list_of_jails_which_means_all_stays_empty(tmp_path: Path, before: str, after: str) -> None:
    text = make(tmp_path, "", "jail", freebsd=True)[-1].content
    script = f'jail_list="{before}"\n{text}echo "$jail_enable:$jail_list"'
    done = subprocess.run(["sh", "-uc", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"YES:{after}\n"


def test_a_jail_is_never_named_by_a_number(tmp_path: Path) -> None:
    text = text_of(tmp_path, "", freebsd=True)
    assert snippets(tmp_path, text, "jail", name="42")[0].content.startswith('"chroot_42" {')


def test_every_kind_prints_what_it_would_install(tmp_path: Path) -> None:
    project = make_project(tmp_path, text_of(tmp_path, SERVICE))
    owner = hostside.owner(project, "web", "unit")
    (snippet,) = hostside.snippets("unit", target_of(project), project)
    first, second, *_ = shown(snippet, owner).splitlines()
    assert first == "# /etc/systemd/system/chroot-web.service"
    assert second.startswith(
        f"# Written by chrootbuild host web unit, {os.path.realpath(tmp_path)}/targets/web.toml."
    )
