"""One function for each parser of foreign bytes: it takes any bytes, and raises only what is a defect.

What a parser documents (Failure, CacheError, ...) is caught here; where there is a writer, what was
read has to come back from it. The names are those of the folders in tests/corpus.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from chrootbuild.accounts.cap_mkdb import cap_mkdb, pairs
from chrootbuild.accounts.damage import damaged_records, damaged_users
from chrootbuild.accounts.db185 import reader as db185_reader
from chrootbuild.accounts.names import Names
from chrootbuild.accounts.pwd_mkdb import Database
from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from chrootbuild.audit import listeners
from chrootbuild.audit.rules import believed, credentials, key_forms, roots, secrets
from chrootbuild.build.job import Job
from chrootbuild.check.ready import parse_ready
from chrootbuild.elf import reader
from chrootbuild.elf import shebang as script
from chrootbuild.elf.facts import Facts
from chrootbuild.elf.memo import Memo
from chrootbuild.elf.objects import Objects
from chrootbuild.errors import Failure, TargetError
from chrootbuild.hostside import installer
from chrootbuild.hostside.freebsd import ruleset
from chrootbuild.hostside.snippet import Owner
from chrootbuild.learn import render as learned
from chrootbuild.new.make import find
from chrootbuild.new.render import render as render_target
from chrootbuild.plan import cache
from chrootbuild.propose.model import Known, Proposal
from chrootbuild.propose.propose import missing, propose, touched
from chrootbuild.publish import publish
from chrootbuild.rtld import glibc_built_in
from chrootbuild.rtld import ld_cache as ldcache
from chrootbuild.rtld.freebsd_files import HintsError, default_hints, parse_hints, read_libmap, render_hints
from chrootbuild.rtld.resolver import Resolver
from chrootbuild.rtld.root_cache import render_cache
from chrootbuild.sandbox.output import cut_trace
from chrootbuild.state import stamp
from chrootbuild.state.record import from_json, in_pieces, read_record
from chrootbuild.sync import pending, rollback
from chrootbuild.sysroot.packages import files_of, named, owner_of
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.system.mounts import mounts_below, read_mounts
from chrootbuild.system.rights import acl
from chrootbuild.target.model import DeviceItem, Target
from chrootbuild.target.parse import parse
from chrootbuild.target.reader import read_targets
from chrootbuild.target.rules import Role, check_file
from chrootbuild.trace import kdump, strace, truss
from chrootbuild.trace.follow import follow
from chrootbuild.trace.open import detect
from tests.fuzz.scratch import (
    ORIGIN,
    a_target,
    empty_root,
    scratch,
    sysroot_with,
    the_project,
    traced_sysroot,
    with_state,
)
from tests.support.account_databases import parse as parse_database
from tests.support.account_databases import users
from tests.support.accounts_samples import GROUP, MASTER, spec
from tests.support.trace_sysroot import ELF

__all__ = ["TARGETS"]

_INTERPRETER = "/lib64/ld-linux-x86-64.so.2"
_READERS = (strace.parse, kdump.parse, truss.parse)


# -- ELF -----------------------------------------------------------------------------------


def elf(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        facts = reader.read(file.fileno(), len(data))
    memo, info = Memo(), os.stat(os.__file__)
    memo.put("/x", info, facts)
    assert memo.get("/x", info) in (facts, None)


def elf_memo(data: bytes) -> None:
    path = scratch() / "memo"
    path.write_bytes(data)
    memo, again = Memo.load(str(path)), Memo()
    for number, record in enumerate(memo._old.values()):
        facts = memo._decode(record)
        if facts is not None:
            again.put(f"/{number}", os.stat(os.__file__), facts)


def elf_closure(data: bytes) -> None:
    """What the linkers' search rules make of a file that is program, interpreter and library."""
    host = sysroot_with("closure", data, ("/usr/bin/p", "/lib/liba.so.1", _INTERPRETER), 0o755)
    for system in ("", "freebsd"):
        resolver = Resolver(host, system=system)
        resolver.classify("/usr/bin/p")
        for resolve in (resolver.program, resolver.library):
            with contextlib.suppress(Failure):
                render_cache(host, resolve("/usr/bin/p").cache)


def ld_cache(data: bytes) -> None:
    try:
        entries = ldcache.parse(data)
    except ldcache.CacheError:
        return
    assert set(ldcache.parse(ldcache.render(entries))) == set(entries)
    found = glibc_built_in.Cache(
        Objects(sysroot_with("cache", data, ("/etc/ld.so.cache",)), Memo()), Facts(bits=64, machine=62)
    )
    for entry in entries[:50]:
        found.paths(entry.soname, ("x86-64-v3", "x86-64-v2"))


def ld_hints(data: bytes) -> None:
    try:
        directories = parse_hints(data)
    except HintsError:
        return
    assert parse_hints(render_hints(directories)) == tuple(dict.fromkeys(directories))


def libmap_conf(data: bytes) -> None:
    lists = ("/etc/ld-elf.so.conf", "/usr/local/libdata/ldconfig/a")
    host = sysroot_with("libmap", data, ("/etc/libmap.conf", "/etc/libmap.d/a.conf", *lists))
    found = read_libmap(host, "/etc/libmap.conf")
    for path in ("/usr/bin/p", "/usr/lib/"):
        for name in ("a", "b"):
            found.find(path, name)
    default_hints(host)


def shebang(data: bytes) -> None:
    found = script.parse(data)
    if found is not None:
        script.places(found.program)


# -- accounts ------------------------------------------------------------------------------


def accounts(data: bytes) -> None:
    for sources in (
        Sources(data, GROUP, shadow=data),
        Sources(b"root:x:0:0::/:\n", data),
        Sources(b"", data, data),
    ):
        known = Names(sources)
        for name in ("root", "1"):
            with contextlib.suppress(TargetError):
                known.group_of(name)
        for min_uid, freebsd in ((0, False), (1000, False), (0, True)):
            _render(sources, min_uid, freebsd)
    list(secrets._lines(data))
    secrets._PUBLIC.search(data)


def _render(sources: Sources, min_uid: int, freebsd: bool) -> None:
    try:
        made = render(spec(min_uid, passwords=["*"], freebsd=freebsd), sources)
    except TargetError:
        return
    if made.master is not None:
        users(Database(made.master, secure=True).render())


def db185(data: bytes) -> None:
    for read in (parse_database, db185_reader.salvage, users):
        with contextlib.suppress(db185_reader.DamagedError):
            read(data)
    damaged_users(data, MASTER, secure=True)
    damaged_records(data, b"a|b:x:\n")
    list(secrets._database(data))


def audited(data: bytes) -> None:
    """What audit looks for in the files, attributes and sockets of a root."""
    key_forms.is_key(data[:4096], len(data), "privatekey")
    key_forms.holds_text_key(data)
    roots.roots_of(data, freebsd=True)
    roots.roots_of(roots.lines_of(data), freebsd=True)
    for path in ("/x/.htpasswd", "/x/.netrc", "/x/any"):
        credentials.known_by_content(data, path)
    for place, _, form in credentials._NAMED:
        place.match(os.fsdecode(data))
        form.search(data)
    believed.obeyed_by(os.fsdecode(data))
    believed._NO_LINE.match(data)
    believed._GRANT.search(data)
    acl.parse_default(data)
    with contextlib.suppress(EOFError, OSError):
        list(listeners.parse_dump(data))


def capabilities(data: bytes) -> None:
    try:
        made = cap_mkdb(data)
    except Failure:
        return
    first: dict[bytes, bytes] = {}
    for key, value in pairs(data):
        first.setdefault(key, value)
    assert dict(parse_database(made)) == first


# -- traces --------------------------------------------------------------------------------


def traces(data: bytes) -> None:
    with contextlib.suppress(Failure):
        detect(data)
    for read in _READERS:
        for _ in follow(read(data)):
            pass
    for _ in follow(strace.parse_files({1: data, 2: data}), cwd="/", root="/r"):
        pass
    list(cut_trace(data.splitlines(keepends=True)))


def proposals(data: bytes) -> None:
    host = Sysroot(traced_sysroot())
    for read in _READERS:
        events = list(follow(read(data)))
        touched(events, host)
        with contextlib.suppress(Failure):
            made = propose(events, host)
            learned.entries(learned.merge("", made.entries))
            missing(events, host, Known(), last_resort=True)


_READS = """\
1 execve("/usr/sbin/food", ["food", "-u", "foo"], 0x7f /* 2 vars */) = 0
1 open("/etc/passwd", O_RDONLY) = 3
1 open("/etc/food.conf", O_RDONLY) = 3
1 getdents64(3</etc/food.d>, 0x5 /* 4 entries */, 32768) = 48
1 open("/etc/food.d/a.ini", O_RDONLY) = 3
1 open("/usr/lib/food/a.so", O_RDONLY) = 3
"""


def configuration(data: bytes) -> None:
    """What a service's own files say of accounts and modules."""
    sysroot_with("configuration", ELF, ("/usr/sbin/food", "/usr/lib/food/a.so"), 0o755)
    sysroot_with("configuration", b"foo:x:105:110::/:/bin/sh\n", ("/etc/passwd", "/etc/group"))
    host = sysroot_with("configuration", data, ("/etc/food.conf", "/etc/food.d/a.ini"))
    propose(follow(strace.parse(_READS)), host)


def learned_file(data: bytes) -> None:
    try:
        text = data.decode()
        before = learned.entries(text)
    except (TargetError, UnicodeDecodeError):
        return
    merged = learned.merge(text, [Proposal("files", "/x", "p opens it"), Proposal("timezone", "UTC", "")])
    after = {(entry.key, entry.name) for entry in learned.entries(merged)}
    assert {(entry.key, entry.name) for entry in before} <= after


# -- target files --------------------------------------------------------------------------


def target_file(data: bytes) -> None:
    """The bytes as a target, as an include, and as what was learned."""
    try:
        parsed = parse(data.decode(), "/x.toml", "targets/x.toml")
    except (TargetError, UnicodeDecodeError):
        return
    for role in Role:
        with contextlib.suppress(TargetError), warnings.catch_warnings(action="ignore"):
            check_file(parsed, role)
    folder = Path(the_project().targets)
    for name in ("x.toml", "common/i.toml", "z.learned.toml"):
        (folder / name).write_bytes(data)
    (folder / "y.toml").write_text('include = ["i"]\n')
    (folder / "z.toml").write_text('summary = "z"\n')
    with warnings.catch_warnings(action="ignore"):  # of Python's, about a regular expression
        found = read_targets(the_project())
    assert {*found.targets, *found.failures} == {"x", "y", "z"}
    for failure in found.failures.values():
        assert str(failure).startswith("cannot ")
    for target in found.targets.values():
        service = target.check.service
        with contextlib.suppress(Failure):
            parse_ready(service.ready if service else "")


# -- the state folder ----------------------------------------------------------------------


def record(data: bytes) -> None:
    found = read_record(with_state("t.record", data), "t", "/r")
    if found is not None:
        assert from_json(json.loads(b"".join(in_pieces(found)))) == found


def journal(data: bytes) -> None:
    """Of a root with another inode: what is then done to a root is tested where roots are attacked."""
    with contextlib.suppress(Failure):
        publish.recover(with_state("t.journal", data), "t", empty_root())


def plan(data: bytes) -> None:
    """HEADER and OUT stand for what a plan has to begin with."""
    project = the_project()
    data = data.replace(b'"HEADER"', json.dumps(cache._header("t")).encode())
    with_state("t.plan", data.replace(b'"OUT"', json.dumps(project.out).encode()))
    cache.cached_plan(project, "t")
    cache.cached_plan(project, "t", {"/bin/sh"})


def stamps(data: bytes) -> None:
    """As it is; and the first byte says how much of the rest is text, behind the right header and length."""
    size = min(data[0], len(data) - 1) if data else 0
    head = stamp._header("/r")
    for content in (data, f"{len(head) + size:016x}".encode() + head + data[1:]):
        project = with_state("t.stamp", content)
        os.chmod(f"{project.state}/t.stamp", 0o600)  # else it is not believed
        stamp.is_fresh(project.state, "t")


def unfinished(data: bytes) -> None:
    """What a refresh has still to do, what it kept, and what it does not try again."""
    for name in ("t.pending", "t.kept", "t.held"):
        project = with_state(name, data)
    pending.read_pending(project, a_target())
    rollback._read(project, "t", empty_root())
    rollback.refuse_quarantined(cast(Job, SimpleNamespace(project=project, name="t", stale={})))


def installed(data: bytes) -> None:
    path = f"{with_state('installed/t.json', data).state}/installed/t.json"
    with contextlib.suppress(Failure):
        installer._remembered(path)
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(Failure):
        installer._find("/etc/fstab", text, "#", Owner("host t fstab", "/t"))


# -- the sysroot's own text ----------------------------------------------------------------

_SERVICE = ("/lib/systemd/system/p.service", "/etc/systemd/system/p.service.d/a.conf")
_ABOUT_P = (*_SERVICE, "/lib/systemd/system/p.socket", "/etc/default/p", "/etc/services", "/etc/passwd",
            "/etc/p/p.conf", "/usr/lib/tmpfiles.d/p.conf", "/var/lib/dpkg/info/p.list")  # fmt: skip


def new(data: bytes) -> None:
    """A first target file, from a system that says the same everywhere."""
    host = sysroot_with("new", data, _ABOUT_P)
    sysroot_with("new", ELF, ("/usr/sbin/p",), 0o755)
    try:
        found = find(host, "p")
    except Failure:
        return
    (Path(the_project().targets) / "x.toml").write_text(render_target(found), errors="backslashreplace")
    read_targets(the_project())


def package_lists(data: bytes) -> None:
    lists = ("/var/lib/dpkg/info/p.list", "/lib/apk/db/installed", "/var/lib/pacman/local/p-1-1/files")
    host = sysroot_with("packages", data, lists)
    owner_of(host, "/usr/bin/p")
    named(host, "p")
    files_of(host, "p")


def devfs_rules(data: bytes) -> None:
    host = sysroot_with("devfs", data, ("/etc/devfs.rules", "/etc/defaults/devfs.rules"))
    target = Target("t", "targets/t.toml", ORIGIN, "/r", devices=(DeviceItem("null", ORIGIN),))
    ruleset(target, "jail", host)


def kernel(data: bytes) -> None:
    """Mount points and ACLs: the kernel's form, the names and values of others."""
    text = data.decode("utf-8", "surrogateescape")
    for root in ("/", "/r"):
        mounts_below(read_mounts(text), root)
    acl.parse(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        *(elf, elf_memo, elf_closure, ld_cache, ld_hints, libmap_conf, shebang),
        *(accounts, db185, capabilities, audited),
        *(traces, proposals, configuration, learned_file),
        target_file,
        *(record, journal, plan, stamps, unfinished, installed),
        *(new, package_lists, devfs_rules, kernel),
    )
}
