"""Any bytes for an account file: a clear error, or files that hold what they promise."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from chrootbuild.accounts.cap_mkdb import cap_mkdb
from chrootbuild.accounts.names import Names
from chrootbuild.accounts.pwd_mkdb import Database
from chrootbuild.accounts.render import render
from chrootbuild.accounts.select import Sources
from chrootbuild.errors import Failure, TargetError
from tests.support.account_databases import parse, users
from tests.support.accounts_samples import GROUP, MASTER, PASSWD, SHADOW, spec

_FIELD = st.one_of(
    st.sampled_from(
        [b"", b"x", b"*", b"0", b"1000", b"65534", b"alice", b"root", b"+", b"-b", b"#", b"$6$secret$"]
    ),
    st.binary(max_size=12),
)
_LINE = st.lists(_FIELD, max_size=12).map(b":".join)
_NEWLINE = st.sampled_from([b"\n", b"\r\n", b"\n\n"])


def _files(sample: bytes) -> st.SearchStrategy[bytes]:
    """Lines of fields, any bytes, and the sample with something in its middle."""
    lines = st.lists(st.tuples(_LINE, _NEWLINE).map(b"".join), max_size=12).map(b"".join)

    def broken(at: int, junk: bytes) -> bytes:
        return sample[: at % len(sample)] + junk + sample[at % len(sample) :]

    return st.one_of(
        lines, st.binary(max_size=80), st.builds(broken, st.integers(0, 999), st.binary(max_size=9))
    )


def is_plain(error: Failure) -> None:
    assert error.message.startswith("cannot ")
    assert str(error).replace("\n", "").isprintable()


_MIN_UID = st.sampled_from([None, 0, 1, 1000])


@settings(max_examples=300, deadline=None)
@given(
    _files(PASSWD),
    _files(GROUP),
    st.none() | _files(SHADOW),
    _MIN_UID,
    st.sampled_from([(), ("*",), ("root",)]),
)
def test_linux(
    passwd: bytes, group: bytes, shadow: bytes | None, min_uid: int | None, passwords: tuple[str, ...]
) -> None:
    sources = Sources(passwd, group, shadow=shadow)
    Names(sources)
    try:
        made = render(spec(min_uid, passwords=passwords), sources)
    except TargetError as error:
        is_plain(error)
        return
    kept = set()
    for row in made.passwd.split(b"\n")[:-1]:
        name, password, uid, gid, *rest = row.split(b":")
        assert name
        assert (password, len(rest)) == (b"x", 3)
        assert uid.isdigit()
        assert gid.isdigit()
        assert min_uid is not None
        assert int(uid) >= min_uid
        kept.add(name)
    for row in made.group.split(b"\n")[:-1]:
        _, password, gid, members = row.split(b":")
        assert password == b"x"
        assert gid.isdigit()
        assert set(members.split(b",")) - {b""} <= kept
    assert (made.shadow is None) == (
        not passwords or (passwords == ("root",) and b"root" not in kept) or not kept
    )
    for row in (made.shadow or b"").splitlines():
        fields = row.split(b":")
        assert len(fields) == 9
        assert fields[0] in kept
        if passwords == ("root",) and fields[0] != b"root":
            assert fields[1] in (b"*", b"!")


@settings(max_examples=300, deadline=None)
@given(_files(MASTER), _files(GROUP), _MIN_UID, st.booleans(), st.booleans())
def test_freebsd(master: bytes, group: bytes, min_uid: int | None, seven: bool, hashes: bool) -> None:
    sources = Sources(master if seven else b"", group, master=None if seven else master)
    Names(sources)
    try:
        made = render(spec(min_uid, passwords=["*"] if hashes else [], freebsd=True), sources)
    except TargetError as error:
        is_plain(error)
        return
    assert made.master is not None
    lines = made.master.splitlines(keepends=True) if b"\r" not in made.master else None
    insecure = users(Database(made.master, secure=False).render())
    secure = users(Database(made.master, secure=True).render())
    assert len(insecure) == len(secure) == made.master.count(b"\n")
    assert {record.password for record in insecure} <= {b"*"}
    assert made.passwd == b"".join(
        b":".join(
            (
                record.name,
                b"*",
                b"%d" % record.uid if record.fields & 4 else b"",
                b"%d" % record.gid if record.fields & 8 else b"",
                record.gecos,
                record.home,
                record.shell,
            )
        )
        + b"\n"
        for record in secure
    )
    if lines is not None and not hashes:
        assert {line.split(b":")[1] for line in lines} <= {b"*", b"*LOCKED*", b""}


def _or_failure(read: Callable[[bytes], object], data: bytes) -> None:
    try:
        read(data)
    except Failure as error:
        is_plain(error)


_FILES = [Database(MASTER, secure=True).render(), cap_mkdb(b"a:x:\n" * 3 + b"b|c:" + b"y" * 9000 + b":\n")]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(_FILES), st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=4)))
)
def test_a_database_with_some_bytes_changed(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    broken = bytearray(data)
    for at, junk in changes:
        at %= len(broken)
        broken[at : at + len(junk)] = junk
    _or_failure(parse, bytes(broken))
    _or_failure(users, bytes(broken))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(_FILES),
    st.lists(st.tuples(st.integers(0, 64), st.binary(min_size=2, max_size=2)), min_size=1),
)
def test_a_database_with_its_numbers_changed(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    """Header words and the slots at the head of the first pages: where a reader could go astray."""
    broken = bytearray(data)
    for word, junk in changes:
        at = 4 * word if word < 50 else 4096 * (word - 49) + 2 * (word % 7)
        at %= len(broken) - 2
        broken[at : at + 2] = junk
    _or_failure(parse, bytes(broken))
    _or_failure(users, bytes(broken))


@given(st.sampled_from(_FILES), st.integers(0, 1 << 20))
def test_a_database_that_is_cut_off_is_never_taken_for_a_smaller_one(data: bytes, length: int) -> None:
    cut = data[: length % len(data)]
    try:
        found = parse(cut)
    except Failure:
        return
    assert sorted(found) == sorted(parse(data))


@given(st.binary(max_size=600))
def test_any_bytes_for_a_database(data: bytes) -> None:
    _or_failure(parse, data)


_CAPABILITY = st.lists(
    st.one_of(
        st.sampled_from(
            [b":", b"|", b"\n", b"\\\n", b"\t", b"#", b"a", b"b", b"tc=a", b"tc=b", b"tc@", b":tc=a:", b"\0"]
        ),
        st.binary(max_size=4),
    ),
    max_size=40,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(_CAPABILITY)
def test_any_capability_file(text: bytes) -> None:
    try:
        made = cap_mkdb(text)
    except Failure as error:
        is_plain(error)
        return
    found = dict(parse(made))
    for data in found.values():
        assert data[:1] in (b"\0", b"\1", b"\2")
        if data[:1] == b"\2":
            assert found[data[1:]][:1] in (b"\0", b"\1", b"\2")
