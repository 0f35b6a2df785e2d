"""Extended attributes that decide what is made next, or what an overlay shows."""

from __future__ import annotations

from collections.abc import Iterator

from chrootbuild.audit.facts import READ, WRITE, Entry, Facts, Rule
from chrootbuild.findings import Finding

DEFAULT = Rule(
    "default-acl",
    "error where it lets another than root write; else warning",
    "What is made in the directory takes its default ACL on: the next file, whoever makes it, is somebody else's.",
    "setfacl -k DIRECTORY, and look at what was made in it since",
)
ATTRIBUTE = Rule(
    "hidden-attribute",
    "error for those of overlayfs; else warning",
    "Attributes that only root sees: overlayfs takes its own for an order to show others, or to hide names.",
    "look at it (getfattr -d -m - FILE), then setfattr -x NAME FILE",
)


def default_acl(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Judge the default ACL of a directory that is not the daemon's own."""
    default = entry.attributes.default
    if default is None or (entry.free and entry.installed is None):
        return
    given = [(f"uid {uid}", bits) for uid, bits in default.users if uid not in facts.trusted]
    given += [(f"gid {gid}", bits) for gid, bits in default.groups if gid not in facts.trusted_groups]
    if entry.free:
        given = []  # a declared directory: its users are meant
    elif default.group & WRITE and entry.info.st_gid not in facts.trusted_groups:
        given.append((f"gid {entry.info.st_gid}", default.group))
    if default.others & WRITE:
        given.append(("everyone", default.others))
    writers = [who for who, bits in given if bits & WRITE]
    readers = [who for who, bits in given if bits & READ]
    if writers:
        yield DEFAULT.error(entry.path, f"what is made in it is writable by {' and '.join(writers[:5])}")
    elif readers:
        yield DEFAULT.warning(entry.path, f"what is made in it is readable by {' and '.join(readers[:5])}")


def hidden_attribute(entry: Entry, _facts: Facts) -> Iterator[Finding]:
    """Judge trusted.* and overlayfs's user.overlay.*; their values are not shown."""
    names = entry.attributes.more
    overlay = [name for name in names if ".overlay." in name]
    if overlay:
        yield ATTRIBUTE.error(entry.path, f"an overlay over the root obeys {', '.join(overlay[:5])}")
    elif names:
        yield ATTRIBUTE.warning(entry.path, f"it has {', '.join(names[:5])}")
