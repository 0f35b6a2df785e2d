"""A small sysroot for the tests of traces, and the events of a trace text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from chrootbuild.propose.model import Proposals
from chrootbuild.sysroot.reader import Sysroot
from chrootbuild.trace.events import Access, Event
from chrootbuild.trace.follow import follow
from chrootbuild.trace.open import detect, parse
from tests.support.places import REPOSITORY

SAMPLES = REPOSITORY / "tests/samples/traces"
ELF = b"\x7fELF" + b"\0" * 60

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
    "foo:x:105:110:the foo daemon:/var/lib/foo:/usr/sbin/nologin\n"
    "bar:x:106:111::/nonexistent:/usr/sbin/nologin\n"
    "alice:x:1000:1000::/home/alice:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
)
GROUP = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nfoo:x:110:\nbar:x:111:\nfoodrop:x:112:\nalice:x:1000:\n"


def sysroot(base: Path, files: dict[str, str | bytes | None]) -> Sysroot:
    """Make a sysroot: a path ends in / for a directory, content "-> x" is a link, None an empty file."""
    for path, content in {"/etc/passwd": PASSWD, "/etc/group": GROUP, **files}.items():
        where = base / path.lstrip("/")
        where.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            where.mkdir(exist_ok=True)
        elif isinstance(content, str) and content.startswith("-> "):
            where.symlink_to(content[3:])
        else:
            where.write_bytes(content.encode() if isinstance(content, str) else content or b"")
            where.chmod(0o755 if content in (ELF, "#!/bin/sh\n") else 0o644)
    return Sysroot(str(base))


def events(text: str | bytes, **start: str) -> list[Event]:
    """Return what the processes of a trace text did."""
    return list(follow(parse(text, detect(text)), **start))


def sample(name: str) -> list[Event]:
    """Return the events of a sample."""
    return events((SAMPLES / name).read_bytes())


def shown(found: Iterable[Event]) -> list[tuple[str, str, str]]:
    """Return accesses as (deed, path, errno)."""
    return [(str(event.deed), event.path, event.errno) for event in found if isinstance(event, Access)]


def values(proposals: Proposals, key: str) -> list[str]:
    """Return the values proposed for a key."""
    return [entry.value for entry in proposals.entries if entry.key == key]


def refusals(proposals: Proposals) -> dict[str, str]:
    """Return what was refused, and why."""
    return {refusal.path: refusal.why for refusal in proposals.refused}
