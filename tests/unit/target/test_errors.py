"""Everything that can be wrong in a target file: file, key, line, fact, and the next step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chrootbuild.command_names import RESERVED
from chrootbuild.errors import TargetError, UsageError
from chrootbuild.target import schema
from chrootbuild.target.reader import read_targets, select
from tests.support.target_project import error, project

X = "cannot use targets/x.toml"
UNTERMINATED = "missing ), unterminated subpattern at position 0"
MARKS = ".*+?()[]{}|^$"

# text of the file -> the error, and its hint (nothing: there is none)
WRONG: dict[str, tuple[str, str]] = {
    # unknown keys
    'binarys = ["sh"]': (f"{X}:1: binarys: there is no such key", "did you mean binaries?"),
    "[check]\n[check.servce]": (f"{X}:2: check.servce: there is no such key", "did you mean service?"),
    # a key that reads like the end of a message of msgspec's
    '"x` - at `$.check.run[0].env[...]" = 1\n[check]\nrun = [["a"]]': (
        f'{X}:1: "x` - at `$.check.run[0].env[...]": there is no such key',
        f"the keys here are {', '.join(sorted(schema.TargetFile.__struct_fields__))}",
    ),
    'zzz = ["sh"]': (
        f"{X}:1: zzz: there is no such key",
        f"the keys here are {', '.join(sorted(schema.TargetFile.__struct_fields__))}",
    ),
    '[accounts]\nusers = ["a"]\nbinaries = ["sh"]': (
        f"{X}:3: accounts.binaries: there is no such key",
        "binaries is no part of accounts: write it above the first [table] of the file",
    ),
    '[directories]\n"/tmp" = { mode = "1777" }\n"/var" = { mdoe = "0755" }': (
        f'{X}:3: directories."/var".mdoe: there is no such key',
        "did you mean mode?",
    ),
    'files = [\n  "/a",\n  { path = "/b", onwer = "u" },\n]': (
        f"{X}:3: files[1].onwer: there is no such key",
        "did you mean owner?",
    ),
    'check.run = [["x"], { argv = ["y"], stdot = "" }]': (
        f"{X}:1: check.run[1].stdot: there is no such key",
        "did you mean stdout?",
    ),
    # types
    'files = "/etc/x"': (
        f"{X}:1: files: it has to be a list, not a string",
        'put it in brackets: files = ["/etc/x"]',
    ),
    'host.wrapper = { "/usr/x" = "a b" }': (
        f'{X}:1: host.wrapper."/usr/x": it has to be a list, not a string',
        'put it in brackets: "/usr/x" = ["a b"]',
    ),
    'files = ["/a",\n 3]': (
        f"{X}:2: files[1]: it has to be a string or a table, not a whole number",
        "put it in quotes",
    ),
    "timezone = 2020-01-01": (f"{X}:1: timezone: it has to be a string, not a date", "put it in quotes"),
    'manual = "true"': (f"{X}:1: manual: it has to be true or false, not a string", "leave the quotes out"),
    "accounts = 1": (f"{X}:1: accounts: it has to be a table, not a whole number", ""),
    "[accounts]\nmin_uid = 1.5": (
        f"{X}:2: accounts.min_uid: it has to be a whole number, not a number",
        "",
    ),
    '[check]\nrun = ["date"]': (
        f"{X}:2: check.run[0]: it has to be a table or a list, not a string",
        'a command that is run in the root is a list of words: ["date", "+%Z"]',
    ),
    "check.run = [[]]": (
        f"{X}:1: check.run[0]: the list is empty",
        'write a command as a list of words: ["date", "+%Z"]',
    ),
    'check.run = [[" "]]': (f"{X}:1: check.run[0]: the name of the program is empty", ""),
    'check.prepare = [""]': (f"{X}:1: check.prepare[0]: the name of the program is empty", ""),
    'check.prepare = ["a\\u0000"]': (f"{X}:1: check.prepare[0]: it has a NUL character in it", ""),
    'check.prepare = [["a", "\\u0000"]]': (f"{X}:1: check.prepare[0][1]: it has a NUL character in it", ""),
    'os = "freebds"': (f'{X}:1: os: "freebds" is not known', "did you mean freebsd?"),
    'os = "plan9"': (f'{X}:1: os: "plan9" is not known', 'it is "linux" or "freebsd"'),
    '[text]\n"/x" = { mode = "0644" }': (f'{X}:2: text."/x": content is missing', "add content = ..."),
    "[accounts]\nmin_uid = -1": (f"{X}:2: accounts.min_uid: it has to be >= 0", ""),
    'check.service = { start = ["x"], timeout = 0 }': (
        f"{X}:1: check.service.timeout: it has to be > 0",
        "",
    ),
    'check.service = { start = ["x"], timeout = inf }': (
        f"{X}:1: check.service.timeout: it has to be <= 86400",
        "",
    ),
    "[check]\nlimits = { process = 1 }": (
        f"{X}:2: check.limits.process: there is no such key",
        "did you mean processes?",
    ),
    "check.limits = { processes = 0 }": (f"{X}:1: check.limits.processes: it has to be >= 1", ""),
    'check.limits = { memory = "2 GiB" }': (
        f'{X}:1: check.limits.memory: "2 GiB" is not a size',
        'write "2G"',
    ),
    'check.limits = { files = "much" }': (
        f'{X}:1: check.limits.files: "much" is not a size',
        'write bytes, or "64K", "256M", "2G", "1T"',
    ),
    "check.limits = { trace = 1 }": (
        f"{X}:1: check.limits.trace: it has to be a string, not a whole number",
        "put it in quotes",
    ),
    # modes
    '[directories]\n"/tmp" = { mode = 1777 }': (
        f'{X}:2: directories."/tmp".mode: a mode is octal text in quotes, not a number',
        'write it as mode = "0640"',
    ),
    'files = [{ path = "/x", mode = "888" }]': (
        f'{X}:1: files[0].mode: "888" is not a mode',
        'a mode is three or four octal digits in quotes: "0640", "1777"',
    ),
    'files = [{ path = "/x", mode = "rwx" }]': (
        f'{X}:1: files[0].mode: "rwx" is not a mode',
        'a mode is three or four octal digits in quotes: "0640", "1777"',
    ),
    # paths
    'files = ["etc/x"]': (f'{X}:1: files[0]: "etc/x" is not an absolute path', 'write "/etc/x"'),
    'files = ["/etc/../x"]': (f'{X}:1: files[0]: "/etc/../x" has "..", "." or "//" in it', 'write "/x"'),
    'files = ["/etc//x"]': (f'{X}:1: files[0]: "/etc//x" has "..", "." or "//" in it', 'write "/etc/x"'),
    'files = ["/"]': (f"{X}:1: files[0]: it is the root itself", "name something below it"),
    '[directories]\n"/tmp" = {}\n"/var/" = {}': (
        f'{X}:3: directories."/var/": it ends with a slash, which only files, seed and exclude know',
        'write "/var"',
    ),
    '[links]\n"/a" = "b"\n"c" = "d"': (f'{X}:3: links.c: "c" is not an absolute path', 'write "/c"'),
    'links = { "/a" = "" }': (f'{X}:1: links."/a": it is empty', ""),
    'links = { "/a/b" = "../a/./b" }': (f'{X}:1: links."/a/b": the link points to itself', ""),
    'binaries = ["bin/sh"]': (
        f'{X}:1: binaries[0]: "bin/sh" is neither a bare name nor an absolute path',
        'write "/bin/sh"',
    ),
    'binaries = ["sh",\n""]': (f"{X}:2: binaries[1]: it is empty", ""),
    'libraries = ["libx.so"]': (
        f'{X}:1: libraries[0]: "libx.so" is not an absolute path',
        'write "/libx.so"',
    ),
    'exclude = ["/a\\u0000b"]': (f"{X}:1: exclude[0]: it has a NUL character in it", ""),
    f'files = ["/{"a" * 256}"]': (f"{X}:1: files[0]: a name in it is longer than 255 characters", ""),
    'setuid = ["su"]': (f'{X}:1: setuid[0]: "su" is not an absolute path', 'write "/su"'),
    # names
    'include = ["tls.toml"]': (
        f'{X}:1: include[0]: "tls.toml" is not the name of an include',
        'write "tls"',
    ),
    'include = ["../x"]': (
        f'{X}:1: include[0]: "../x" is not the name of an include',
        'names have only A-Z a-z 0-9 _ -; "tls" is targets/common/tls.toml, or the one shipped',
    ),
    'timezone = "../etc/passwd"': (
        f'{X}:1: timezone: "../etc/passwd" is not a time zone',
        'write "host", or a zone as in /usr/share/zoneinfo: "Asia/Tokyo"',
    ),
    'files = [{ path = "/x", owner = "a:b" }]': (
        f'{X}:1: files[0].owner: "a:b" is not a user or group',
        "owner and group are two keys",
    ),
    'accounts.users = ["+@nis"]': (
        f'{X}:1: accounts.users[0]: "+@nis" is not a user or group',
        'a user or group is a name or a number: "www-data", "33"',
    ),
    'check.service = { start = ["x"], user = "a:b:c" }': (
        f'{X}:1: check.service.user: "a:b:c" is not a user',
        'write "nobody", or "nobody:nogroup"',
    ),
    'check.run = [{ argv = ["x"], env = { A = "1", "b c" = "2" } }]': (
        f'{X}:1: check.run[0].env."b c": "b c" is not a name of a variable',
        "names have only A-Z a-z 0-9 _, and no digit first",
    ),
    'check.service = { start = ["x"], env = { "A=B" = "2" } }': (
        f'{X}:1: check.service.env."A=B": "A=B" is not a name of a variable',
        "names have only A-Z a-z 0-9 _, and no digit first",
    ),
    'summary = """a\nb"""': (f"{X}:1: summary: it is more than one line", "write it in one line"),
    'root = "~/x"': (f"{X}:1: root: ~ is not expanded here", "write the whole path"),
    'sysroot = ""': (
        f"{X}:1: sysroot: it is empty",
        "write an absolute path, or one relative to the project",
    ),
    # devices
    'devices = ["/dev/null"]': (f"{X}:1: devices[0]: a device is named as in /dev", 'write "null"'),
    'devices = ["../sda"]': (
        f'{X}:1: devices[0]: "../sda" is not a name in /dev',
        'write "null", or "pts/0"',
    ),
    'devices = [{ name = "x", char = "10" }]': (
        f'{X}:1: devices[0].char: "10" is not a device number',
        'write MAJOR:MINOR in decimal: "10:229"',
    ),
    'devices = [{ name = "x", block = "4096:0" }]': (
        f'{X}:1: devices[0].block: "4096:0" is out of range',
        "a major number is at most 4095, a minor at most 1048575",
    ),
    'devices = [{ name = "x", char = "1:1048576" }]': (
        f'{X}:1: devices[0].char: "1:1048576" is out of range',
        "a major number is at most 4095, a minor at most 1048575",
    ),
    'devices = [{ name = "x", char = "1:1", block = "1:1" }]': (
        f"{X}:1: devices[0].block: a device is char or block, not both",
        "",
    ),
    # accounts
    '[accounts]\nextra = ["a:x:1:1::/:/bin/sh",\n "b:x:2"]': (
        f"{X}:3: accounts.extra[1]: the line has 3 fields, and has to have 7",
        "write it as name:x:uid:gid:gecos:home:shell",
    ),
    'os = "linux"\naccounts.extra = ["a:x:1:1:c:0:0::/:/bin/sh"]': (
        f"{X}:2: accounts.extra[0]: the line has 10 fields, and has to have 7",
        'write it as name:x:uid:gid:gecos:home:shell, or set format = "freebsd"',
    ),
    'accounts.extra = ["a:x:one:1::/:/bin/sh"]': (
        f'{X}:1: accounts.extra[0]: "one" is not an id',
        "write it as name:x:uid:gid:gecos:home:shell",
    ),
    'accounts.extra = [":x:1:1::/:/bin/sh"]': (
        f'{X}:1: accounts.extra[0]: "" is not a name',
        "write it as name:x:uid:gid:gecos:home:shell",
    ),
    'accounts.extra = ["a:x:1:1::/:/bin/sh\\nroot:x:0:0::/:/bin/sh"]': (
        f"{X}:1: accounts.extra[0]: it is more than one line",
        "write it in one line",
    ),
    'accounts.extra = ["a:x:1:1::/:", "a:x:2:2::/:"]': (
        f"{X}:1: accounts.extra[1]: there are two lines for a",
        "keep one of them",
    ),
    'accounts.extra_groups = ["a:x:1:u:v"]': (
        f"{X}:1: accounts.extra_groups[0]: the line has 5 fields, and has to have 4",
        "write it as name:x:gid:members",
    ),
    # commands
    "check.run = [{ argv = ['x'], stdout = '(' }]": (
        f'{X}:1: check.run[0].stdout: "(" is not a regular expression: {UNTERMINATED}',
        f"put a backslash before each of {MARKS} that is meant as it is, and the whole in single quotes",
    ),
    'check.service = { start = ["x"], stop_signal = "TREM" }': (
        f'{X}:1: check.service.stop_signal: "TREM" is not a signal',
        "did you mean TERM?",
    ),
    'check.service = { start = ["x"], ready = "tcp:8080" }': (
        f'{X}:1: check.service.ready: "tcp:8080" is not an address',
        'write "tcp:127.0.0.1:8080" or "tcp:[::1]:8080"',
    ),
    'check.service = { start = ["x"], ready = "udp:::1:53" }': (
        f'{X}:1: check.service.ready: "udp:::1:53" is not an address',
        'write "udp:127.0.0.1:8080" or "udp:[::1]:8080"',
    ),
    'check.service = { start = ["x"], ready = "tcp:127.0.0.1:65536" }': (
        f'{X}:1: check.service.ready: "tcp:127.0.0.1:65536" is not an address',
        'write "tcp:127.0.0.1:8080" or "tcp:[::1]:8080"',
    ),
    'check.service = { start = ["x"], ready = "unix:run/x" }': (
        f'{X}:1: check.service.ready: "unix:run/x" has no absolute path',
        'write "unix:/run/name", the path as it is in the root',
    ),
    'check.service = { start = ["x"], ready = "tpc:127.0.0.1:80" }': (
        f'{X}:1: check.service.ready: "tpc:127.0.0.1:80" is neither an address nor a command',
        "did you mean tcp?",
    ),
    '[check.service]\nready = "true"': (
        f"{X}:1: check.service: start is missing",
        'add start = ["/usr/sbin/named", "-f"]',
    ),
    # one path, two things
    '[links]\n"/etc/x" = "y"\n[text]\n"/etc/x" = ""': (
        f'{X}:4: text."/etc/x": two different things for /etc/x: links in line 2 speaks of it too',
        "keep one of them",
    ),
    '[directories]\n"/etc/x" = {}\n[text]\n"/etc/x" = ""': (
        f'{X}:4: text."/etc/x": two different things for /etc/x: directories in line 2 speaks of it too',
        "keep one of them",
    ),
    'files = ["/etc/hosts"]\n[text]\n"/etc/hosts" = ""': (
        f'{X}:3: text."/etc/hosts": two different things for /etc/hosts: files in line 1 speaks of it too',
        "keep one of them",
    ),
    'binaries = ["/bin/sh"]\nlinks = { "/bin/sh" = "dash" }': (
        f'{X}:2: links."/bin/sh": two different things for /bin/sh: binaries in line 1 speaks of it too',
        "keep one of them",
    ),
    'files = ["/etc/x",\n { path = "/etc/x", mode = "0600" }]': (
        f"{X}:2: files[1]: /etc/x stands twice, with different words (first in line 1)",
        "keep one of them",
    ),
    'devices = ["tty",\n\n { name = "tty", mode = "0600" }]': (
        f"{X}:3: devices[1]: tty stands twice, with different words (first in line 1)",
        "keep one of them",
    ),
    'files = ["/etc/passwd"]\n[accounts]\nmin_uid = 1000': (
        f"{X}:2: accounts: two different things for /etc/passwd: files in line 1 speaks of it too",
        "keep one of them",
    ),
    'timezone = "UTC"\nlinks = { "/etc/localtime" = "x" }': (
        f"{X}:1: timezone: two different things for /etc/localtime: links in line 2 speaks of it too",
        "keep one of them",
    ),
    'devices = ["null"]\ntext = { "/dev/null" = "" }': (
        f'{X}:2: text."/dev/null": two different things for /dev/null: devices in line 1 speaks of it too',
        "keep one of them",
    ),
    'directories = { "/.chrootbuild" = {} }': (
        f'{X}:1: directories."/.chrootbuild": /.chrootbuild is chrootbuild\'s own',
        "give it another name",
    ),
    'seed = ["/.chrootbuild/x"]': (
        f"{X}:1: seed[0]: /.chrootbuild is chrootbuild's own",
        "give it another name",
    ),
    'seed = ["/var/lib/x/"]\nfiles = ["/var/lib/x/"]': (
        f"{X}:1: seed[0]: two different things for /var/lib/x: files in line 2 speaks of it too",
        "keep one of them",
    ),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text.replace("\n", "; ")[:60])
def test_what_is_wrong(tmp_path: Path, text: str) -> None:
    message, hint = WRONG[text]
    assert error(tmp_path, text) == message + f"\nhint: {hint}" * bool(hint)


def test_a_regular_expression_with_more_digits_than_python_takes(tmp_path: Path) -> None:
    text = f"check.run = [{{ argv = ['x'], stdout = 'a{{{'1' * 5000}}}' }}]"
    assert error(tmp_path, text).startswith(f'{X}:1: check.run[0].stdout: "a{{111')


# text that is not TOML -> the error, and its hint
BROKEN: dict[str, tuple[str, str]] = {
    "\nroot = /opt/x": (
        "cannot read targets/x.toml:2: invalid value (column 8)",
        'put text in quotes: root = "/opt/x"',
    ),
    "manual = True": (
        "cannot read targets/x.toml:1: invalid value (column 10)",
        "write manual = true or manual = false",
    ),
    "mode = 0640": (
        "cannot read targets/x.toml:1: expected newline or end of document after a statement (column 9)",
        'put text in quotes: mode = "0640"',
    ),
    '[links]\n/a = "b"': (
        "cannot read targets/x.toml:2: invalid statement (column 1)",
        'put a key that is a path in quotes: "/a" = ...',
    ),
    "a = 1\nb = 2\na = 3\n": (
        "cannot read targets/x.toml:3: cannot overwrite a value (column 6)",
        "a key or table may stand only once in a file",
    ),
    "[a]\n[b]\n[a]": (
        "cannot read targets/x.toml:3: cannot declare ('a',) twice (column 3)",
        "a key or table may stand only once in a file",
    ),
    'files = [\n"/a",\n': ("cannot read targets/x.toml:2: invalid value (at the end of the file)", ""),
    "\ufeffroot = 1": (
        "cannot read targets/x.toml:1: invalid statement (column 1)",
        "save the file as UTF-8 without a byte order mark",
    ),
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text.replace("\n", "; "))
def test_what_is_not_toml(tmp_path: Path, text: str) -> None:
    message, hint = BROKEN[text]
    assert error(tmp_path, text) == message + f"\nhint: {hint}" * bool(hint)


def test_nested_too_deeply(tmp_path: Path) -> None:
    assert error(tmp_path, f"a = {'[' * 5000}") == "cannot read targets/x.toml: it is nested too deeply"


def test_a_key_without_end(tmp_path: Path) -> None:
    text = error(tmp_path, f"a = 1\nb{'.b' * 300_000} = 1")
    assert text == "cannot read targets/x.toml:2: a key has more than 1000 parts"
    assert "no such key" in error(tmp_path, f"b{'.b' * 900} = 1")


def test_a_number_too_long_for_python(tmp_path: Path) -> None:
    assert error(tmp_path, f"a = {'1' * 5000}").startswith("cannot read targets/x.toml: Exceeds the limit")


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    given = project(tmp_path, {})
    (tmp_path / "targets/x.toml").write_bytes(b'summary = "a"\n# \xe9\n')
    found = read_targets(given).failures["x"]
    assert str(found) == "cannot read targets/x.toml:2: it is not UTF-8\nhint: TOML files are UTF-8"


def test_what_is_not_a_file_is_not_opened_for_long(tmp_path: Path) -> None:
    given = project(tmp_path, {"ok.toml": ""})
    os.mkfifo(f"{given.targets}/fifo.toml")
    os.mkdir(f"{given.targets}/dir.toml")
    os.symlink("/", f"{given.targets}/link.toml")
    os.symlink("nowhere", f"{given.targets}/dangling.toml")
    found = read_targets(given)
    assert list(found.targets) == ["ok"]
    assert {name: str(failure) for name, failure in found.failures.items()} == {
        "dangling": "cannot read targets/dangling.toml: it leads nowhere",
        "dir": "cannot read targets/dir.toml: it is not a regular file",
        "fifo": "cannot read targets/fifo.toml: it is not a regular file",
        "link": "cannot read targets/link.toml: it is not a regular file",
    }


def test_a_file_that_is_far_too_large(tmp_path: Path) -> None:
    text = "# " + "x" * (1 << 20)
    assert error(tmp_path, text) == "cannot read targets/x.toml: it is larger than 1 MiB"


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_command_is_no_name_for_a_target(tmp_path: Path, name: str) -> None:
    failure = read_targets(project(tmp_path, {f"{name}.toml": ""})).failures[name]
    assert str(failure) == (
        f'cannot use targets/{name}.toml: "{name}" is a command, so no command line could mean the target\n'
        f"hint: rename it: targets/{name}-root.toml"
    )


def test_every_command_of_doit_is_reserved() -> None:
    from doit.doit_cmd import DoitMain

    assert {command.get_name() for command in DoitMain.DOIT_CMDS} <= RESERVED


@pytest.mark.parametrize(
    ("name", "better"),
    [("my site", "my-site"), ("a=b", "a-b"), ("ü", "target"), ("cvs.bak", "cvs-bak"), ("-.-", "target")],
)
def test_other_names_that_cannot_be(tmp_path: Path, name: str, better: str) -> None:
    failure = read_targets(project(tmp_path, {f"{name}.toml": ""})).failures[name]
    assert str(failure) == (
        f'cannot use targets/{name}.toml: "{name}" is no name for a target:'
        " it has more than A-Z a-z 0-9 _ -\n"
        f"hint: rename it: targets/{better}.toml"
    )


def test_a_name_that_would_be_an_option(tmp_path: Path) -> None:
    failure = read_targets(project(tmp_path, {"-n.toml": ""})).failures["-n"]
    assert isinstance(failure, TargetError)
    assert str(failure).endswith('"-n" would be taken for an option\nhint: rename it: targets/n.toml')


def test_names_that_no_terminal_can_show(tmp_path: Path) -> None:
    given = project(tmp_path, {"a\nb\x1b.toml": ""})
    os.close(os.open(f"{given.targets}/\udcff.toml".encode("utf-8", "surrogateescape"), os.O_CREAT, 0o644))
    found = read_targets(given)
    text = "\n".join(map(str, found.failures.values()))
    assert text.isascii()
    assert r'cannot use "targets/\uDCFF.toml": "\uDCFF" is no name for a target' in text
    with pytest.raises(UsageError, match=r"targets/ has "):
        select(found, ["\udcfe"])


def test_one_wrong_target_stops_no_other(tmp_path: Path) -> None:
    found = read_targets(project(tmp_path, {"a.toml": "x = 1", "b.toml": "", "c.toml": "["}))
    assert list(found.targets) == ["b"]
    assert list(found.failures) == ["a", "c"]
